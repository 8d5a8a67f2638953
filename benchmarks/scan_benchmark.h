// The exact engine against a float32 scan at the memory's speed.
#pragma once

#include <string>

namespace vexact::bench {

struct ScanOptions {
  std::string only;      // cases whose name contains it
  size_t rounds = 20;    // counted rounds of each measurement
  std::string data_dir;  // where the sentence embeddings are
};

// Measures every case and prints its figures. Returns the process's exit status: 1 when an answer
// was wrong.
int RunScanBenchmark(const ScanOptions& options);

}  // namespace vexact::bench

// How the time of a search grows with rows, dimensions, k and batch.
#pragma once

#include <string>

namespace vexact::bench {

// Prints one table for each, on the sentence embeddings in `data_dir` where they are there and on
// synthetic vectors with a decaying spectrum otherwise and for what the sentences do not vary.
// Returns the process's exit status.
int RunGrowthBenchmark(const std::string& data_dir, size_t rounds);

}  // namespace vexact::bench

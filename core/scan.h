// The exact engine: certified bounds from 8-bit codes decide which rows are scored at all
// (docs/exactness.md).
#pragma once

#include <memory>

#include "core/code.h"
#include "core/engine.h"
#include "core/kernel/kernel.h"

namespace vexact {

// For tests: what the engine takes otherwise from the machine and from its own constants.
struct ScanTuning {
  const Kernel* kernel = nullptr;  // ActiveKernel()
  size_t candidate_limit = 0;      // candidates per thread and query before they are rescored; by k
  Term left_out = Term::kNone;
};

// A search reads the codes of every row and keeps those whose upper bound reaches tau, the k-th
// largest lower bound so far; these candidates are scored with the reference score in descending
// order of upper bound until no further one can enter the answer. The answer is therefore that of
// the reference engine, bit for bit.
//
// `workers` must outlive the engine.
std::unique_ptr<Engine> MakeScanEngine(Workers& workers, const ScanTuning& tuning = {});

}  // namespace vexact

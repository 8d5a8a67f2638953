// The exact engine: certified bounds from codes decide which rows are scored at all
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
  size_t pending_limit = 0;        // survivors per thread and query before they are judged; by k
  Term left_out = Term::kNone;
};

// A search
//   1. scores a few rows of a sample exactly: their k-th best is the first tau,
//   2. reads the first slab of every row and keeps those whose upper bound reaches tau,
//   3. reads the later slabs of what it kept, row by row, while their bound reaches tau,
//   4. scores what is left with the reference score, best bound first, which raises tau.
// Steps 2 to 4 take turns, block by block. Every row that is not scored has a certificate that it
// is not among the k best; the answer is that of the reference engine, bit for bit.
//
// `workers` must outlive the engine.
std::unique_ptr<Engine> MakeScanEngine(Workers& workers, const ScanTuning& tuning = {});

}  // namespace vexact

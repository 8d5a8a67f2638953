// The arithmetic that depends on the instruction set, behind one table of functions; one file per instruction set fills
// one table. Which table is used is decided once, in select.cpp.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace vexact {

struct Kernel {
  // "portable", "avx2", "avx512".
  std::string_view isa;

  // The reference dot product and squared distance of n components each (reference_score.h): bit for bit the same
  // in every table. Any alignment.
  double (*dot)(const float* a, const float* b, size_t n);
  double (*squared_l2)(const float* a, const float* b, size_t n);
};

// The best table that this CPU can run, or the one that the environment variable VEXACT_FORCE_ISA names, where this CPU
// can run it; chosen at the first call. Aborts with a message when VEXACT_FORCE_ISA names no table that can run here.
const Kernel& ActiveKernel();

// Every table that this CPU can run, portable first: for tests that compare them.
std::span<const Kernel* const> RunnableKernels();

}  // namespace vexact

// The arithmetic that depends on the instruction set, behind one table of functions; one file per
// instruction set fills one table. Which table is used is decided once, in select.cpp.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "absl/status/statusor.h"

namespace vexact {

struct Kernel {
  // "portable", "avx2", "avx512".
  std::string_view isa;

  // The reference dot product and squared distance of n components each (reference_score.h): bit
  // for bit the same in every table. Any alignment.
  double (*dot)(const float* a, const float* b, size_t n);
  double (*squared_l2)(const float* a, const float* b, size_t n);
};

// Every table that this CPU can run, portable first and the best last.
std::span<const Kernel* const> RunnableKernels();

// The best table, or with a name the one of that name. INVALID_ARGUMENT, with the names there are,
// when this CPU or this build does not have it.
absl::StatusOr<const Kernel*> SelectKernel(std::string_view isa = "");

// The table that the engine uses: SelectKernel of the environment variable VEXACT_FORCE_ISA at the
// first call. Aborts with the message when that names no table; a program checks it first with
// SelectKernel.
const Kernel& ActiveKernel();

}  // namespace vexact

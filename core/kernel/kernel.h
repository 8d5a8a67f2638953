// The arithmetic that depends on the instruction set, behind one table of functions; one file per
// instruction set fills one table. Which table is used is decided once, in select.cpp. Nothing here
// or below depends on a library, so that kernels can be built and tested for another machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace vexact {

// Rows whose first-slab codes are interleaved: bytes 4i..4i+3 of each 64-byte line are four
// consecutive dimensions of row i.
inline constexpr size_t kGroupRows = 16;
// Dimensions, and bytes, of each later slab: one cache line.
inline constexpr size_t kSlabWidth = 64;
// The first slab's width is a multiple of this: two lines a step.
inline constexpr size_t kFirstSlabStep = 8;

// What the filter reads (code.h says where the numbers come from). Row r of the input is row r % 16
// of group r / 16; its bound is
//     estimate + row_error_factor * row_error[r] + tail_factor * tail[r] + norm_factor * norm[r]
// and it survives unless the bound is less than
//     threshold + norm_threshold * norm[r] + square_threshold * norm[r]^2,
// all in float32; a comparison with NaN lets the row survive.
struct FilterInput {
  const uint8_t* codes = nullptr;  // groups x width x 16, 64-byte aligned
  size_t width = 0;                // bytes per row, a multiple of kFirstSlabStep
  const float* scale = nullptr;    // of each row, 64-byte aligned, as the next three
  const float* row_error = nullptr;
  const float* norm = nullptr;
  const float* tail = nullptr;  // null when the first slab holds all dimensions

  // The query: `width` digits in two planes, value = 128 * high + low, and 128 times each plane's
  // sum.
  const int8_t* high = nullptr;
  const int8_t* low = nullptr;
  int32_t high_offset = 0;
  int32_t low_offset = 0;
  float query_scale = 0;  // estimate = query_scale * scale[r] * sum_j c_j v_j

  float row_error_factor = 0;
  float tail_factor = 0;
  float norm_factor = 0;
  float threshold = 0;
  float norm_threshold = 0;
  float square_threshold = 0;
};

struct Survivor {
  uint32_t row = 0;  // within the filter's input
  float estimate = 0;
};

// The two planes' sums of products of one row's slab with a query's: sum_j u_j * digit_j, u_j = c_j
// + 128.
struct SlabProducts {
  int32_t high = 0;
  int32_t low = 0;
};

struct Kernel {
  // "portable", "avx2", "avx512vnni", "neon".
  std::string_view isa;

  // The largest magnitude that a digit of a query's high plane may have for this table's products
  // not to saturate; low digits are in [-64, 63] for all.
  int32_t max_digit;

  // The reference dot product and squared distance of n components each (reference_score.h): bit
  // for bit the same in every table. Any alignment.
  double (*dot)(const float* a, const float* b, size_t n);
  double (*squared_l2)(const float* a, const float* b, size_t n);

  // Writes the survivors among `groups` x 16 rows to `out`, in row order, and returns their number.
  // `out` has room for all.
  size_t (*filter)(const FilterInput& input, size_t groups, Survivor* out);

  // One row's later slab (kSlabWidth codes, 64-byte aligned) against the query's (kSlabWidth digits
  // a plane).
  SlabProducts (*slab_products)(const uint8_t* codes, const int8_t* high, const int8_t* low);
};

// Every table that this CPU can run, portable first and the best last.
std::span<const Kernel* const> RunnableKernels();

// The best table, or with a name the one of that name. Null when this CPU or this build does not
// have it; `error` then says so, with the names there are.
const Kernel* SelectKernel(std::string_view isa, std::string& error);

// The table that the engine uses: SelectKernel of the environment variable VEXACT_FORCE_ISA at the
// first call. Aborts with the message when that names no table; a program checks it first with
// SelectKernel.
const Kernel& ActiveKernel();

}  // namespace vexact

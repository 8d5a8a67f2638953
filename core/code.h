// 8-bit codes of rows and queries, and the certificate that bounds what they leave out
// (docs/exactness.md, section 2).
//
// A row x is kept as s c + e: c_j = round(x_j / s) in [-127, 127], s = max |x_j| / 127, e the
// residual. A query is scaled by a power of two so that its norm is in [1, 2) and kept as t v + f,
// v_j = 128 high_j + low_j. With P the dimensions read so far, T the rest and D = sum over P of c_j
// v_j, an exact integer,
//
//     <q, x> - t s D = <q_P - f_P, e_P> + <f_P, x_P> + <q_T, x_T>,  so by Cauchy-Schwarz
//     |<q, x> - t s D| <= (|q_P| + |f_P|) |e_P| + |f_P| |x| + |q_T| |x_T|.
//
// Every number below that enters the bound is rounded outward.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/kernel/kernel.h"
#include "core/layout.h"

namespace vexact {

// What the certificate knows of one row once a later slab has been read.
struct LevelBounds {
  float error = 0;  // >= |e_P|
  float tail = 0;   // >= |x_T|
};

// The columns that a segment keeps for its rows' codes, each 64-byte aligned, with room for
// `capacity` rows, a multiple of kGroupRows. Not owning.
struct CodeColumns {
  Layout layout;
  size_t capacity = 0;
  uint8_t* first_slab = nullptr;   // groups of [first_bytes / 4][16 rows][4 bytes]
  uint8_t* later_slabs = nullptr;  // [later_slabs][capacity][kSlabWidth]
  float* scale = nullptr;          // s
  float* norm = nullptr;           // >= |x|
  float* error = nullptr;  // >= |e_P| at level 0; infinite where the certificate does not apply
  float* tail = nullptr;   // >= |x_T| at level 0; null when there are no later slabs
  LevelBounds* later = nullptr;  // [capacity][later_slabs], of levels 1 and on

  const uint8_t* later_slab(size_t slab, size_t row) const {
    return later_slabs + (slab * capacity + row) * kSlabWidth;
  }
};

// Writes the codes and bounds of the kGroupRows rows from `first_row`, a multiple of kGroupRows,
// on. `rows` is kGroupRows x dimension, row-major; `dots` are the rows' reference dot products with
// themselves.
//
// A row whose norm is outside [2^-60, 2^60] (and not 0) is beyond the range for which the bound's
// float32 arithmetic is proved: its codes say zero and its error is infinite, so that it always
// survives and is judged by its reference score alone.
void EncodeGroup(const CodeColumns& columns, size_t first_row, const float* rows,
                 const double* dots);

// The terms of the certificate, to be left out one at a time by tests that prove each of them
// necessary.
enum class Term { kNone, kRowResidual, kQueryResidual, kTail, kRounding, kSquareRounding };

// A query for one layout and one kernel.
struct EncodedQuery {
  // Digits of all slabs one after another: first_bytes for the first, kSlabWidth for each later
  // one; zeros in between.
  std::vector<int8_t> high, low;
  // 128 times the sum of each slab's digits.
  std::vector<int32_t> high_offsets, low_offsets;
  float scale = 0;   // t
  int exponent = 0;  // the query times 2^-exponent has a norm in [1, 2); 0 for a zero query
  double norm = 0;   // of the scaled query: in [1, 2) up to rounding, or 0
  double dot = 0;    // Dot(q, q) of the query as it came

  // At each level, |<q, x> - estimate| <= error_factor * error + norm_factor * norm + tail_factor *
  // tail, whether it is evaluated in float32 by the filter or in float64; the proof is beside
  // EncodeQuery.
  struct Factors {
    float error = 0, norm = 0, tail = 0;
  };
  std::vector<Factors> factors;
};

// `query` has layout.dimension finite components and `dot` is its reference dot product with
// itself.
EncodedQuery EncodeQuery(std::span<const float> query, double dot, const Layout& layout,
                         const Kernel& kernel, Term left_out = Term::kNone);

// The filter's input for the rows of `columns` from `first_row` on, a multiple of kGroupRows; its
// threshold lets every row survive. Valid as long as both.
FilterInput MakeFilterInput(const CodeColumns& columns, size_t first_row,
                            const EncodedQuery& query);
FilterInput MakeFilterInput(const CodeColumns&, size_t, const EncodedQuery&&) = delete;

// The float32 nearest to `value` that is not below or not above it; finite for finite values where
// one exists.
float RoundUp(double value);
float RoundDown(double value);

}  // namespace vexact

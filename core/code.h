// Codes of rows and queries, and the certificate that bounds what they leave out
// (docs/exactness.md, sections 2 and 3).
//
// In the coordinates of a layout, a row z is kept as s c + e, e the residual, and a query p as
// t v + f. With P the coordinates read so far, T the rest and D = sum over P of c_j v_j, an exact
// integer (or a multiple of 1/2),
//
//     <p, z> - t s D = <p_P, e_P> + <f_P, s c_P> + <p_T, z_T>,  so by Cauchy-Schwarz
//     |<p, z> - t s D| <= |p_P| |e_P| + |f_P| |s c_P| + |p_T| |z_T|.
//
// |e_P| and |z_T| are kept with the row, and |s c_P| <= |z| + |e_P|; what is left is at most a
// number of the query times the row's scale, because scales are chosen so that |z| <= reach *
// scale. Every number below that enters the bound is rounded outward.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "core/kernel/kernel.h"
#include "core/layout.h"
#include "core/metric.h"

namespace vexact {

// The columns of some rows' codes, each 64-byte aligned, with room for `capacity` rows, a multiple
// of kGroupRows. Not owning. 16-bit numbers are the upper halves of float32.
struct CodeColumns {
  const Layout* layout = nullptr;
  size_t capacity = 0;
  uint8_t* first_slab = nullptr;  // groups of [first_bytes / 4][16 rows][4 bytes]
  uint8_t* sketch = nullptr;      // groups of [sketch_bytes / 4][16 rows][4 bytes]; null for none
  uint16_t* sketch_scale = nullptr;
  uint16_t* sketch_error = nullptr;
  uint16_t* scale = nullptr;  // s of the first slab
  uint16_t* error = nullptr;  // >= |e_P| at level 0; infinite where the certificate does not apply
  uint16_t* tail = nullptr;   // >= |z_T| at level 0; null when there are no later slabs
  float* norm = nullptr;      // |x| - |center|
  // <center, x - center> - |center| norm: how much of the row's length along the center the norm
  // does not tell. Null without a center.
  float* bend = nullptr;
  // Each row's numbers, then its later slabs, at Layout::later_at(row).
  uint8_t* later = nullptr;

  // The slab that level >= 1 reads. What it holds beyond slab_end is not the row's.
  const uint8_t* later_slab(size_t row, size_t level) const {
    return later + layout->later_at(row) + sizeof(uint16_t) * layout->later_numbers() +
           (level - 1) * kSlabWidth;
  }
  // The scale of the later slabs, then error and tail of each level from 1 on.
  const uint16_t* numbers(size_t row) const {
    return reinterpret_cast<const uint16_t*>(later + layout->later_at(row));
  }
  struct RowNumbers {
    float tail, norm, bend;
  };
  // The copies behind the levels' numbers. REQUIRES: later slabs.
  RowNumbers row_numbers(size_t row) const;
  // What the kernels read of the groups from `group` on. REQUIRES: for FirstCode::kSketch, that
  // there is one.
  FirstSlab first(FirstCode code, size_t group, bool with_norm, bool with_bend) const;
};

// Writes the codes and numbers of the kGroupRows rows from `first_row`, a multiple of kGroupRows,
// on. `rows` is kGroupRows x dimension, row-major; `dots` are the rows' reference dot products with
// themselves.
//
// A row whose distance from the center is outside [2^-40, 2^40] (and not 0) or beyond
// layout.longest is not coded: its error is infinite, so that it always survives and is judged by
// its reference score alone.
void EncodeGroup(const CodeColumns& columns, const Kernel& kernel, size_t first_row,
                 const float* rows, const double* dots);

// The terms of the certificate, to be left out one at a time by tests that prove each of them
// necessary.
enum class Term {
  kNone,
  kRowResidual,
  kQueryResidual,
  kTail,
  kRounding,
  kSquareRounding,
  kDefect,
  kProjection,
  kNormRounding,
};

// A query for one metric, one layout and one kernel. With lambda = 1 under L2 and else the number
// that leaves the least of q, and exact arithmetic,
//
//     <q, x> = <q, center> + lambda <center, x - center> + <q - lambda center, x - center>.
//
// What is coded is q - lambda center, scaled by 2^-exponent so that its norm is in [1, 2).
struct EncodedQuery {
  // False when that norm is outside [2^-40, 2^40] and not 0, or the center too short for float32
  // beside the query: every row survives.
  bool usable = true;
  int exponent = 0;
  std::vector<int8_t> first_high, first_low;  // padded_width digits
  std::vector<int8_t> sketch;                 // first_width digits, of the weighted coordinates
  std::vector<int8_t> later_high, later_low;  // kSlabWidth for each later slab
  int32_t first_high_sum = 0, first_low_sum = 0, sketch_sum = 0;
  std::vector<int32_t> later_high_sums, later_low_sums;  // by slab
  float first_scale = 0;  // t of the first slab: of digits 128 high + low
  float later_scale = 0;
  float sketch_scale = 0;

  // At each level, |<p, z> - estimate| <= constant * scale + error_factor * error + tail_factor *
  // tail, scale being the row's of the slab last read.
  struct Factors {
    float constant = 0, error = 0, tail = 0;
  };
  std::vector<Factors> factors;  // by level
  Factors coarse;                // of level 0 on the high digits alone
  Factors by_sketch;             // of level 0 by the sketch, with its error

  double norm = 0;            // |q|, unscaled
  double dot = 0;             // Dot(q, q)
  double lambda = 0;          // see above
  double center_product = 0;  // <q, center>
  double coded_norm = 0;      // |q - lambda center|, unscaled
};

// `query` has layout.dimension finite components and `dot` is its reference dot product with
// itself.
EncodedQuery EncodeQuery(std::span<const float> query, double dot, Metric metric,
                         const Layout& layout, const Kernel& kernel, Term left_out = Term::kNone);

// The float32 nearest to `value` that is not below or not above it; finite for finite values where
// one exists.
float RoundUp(double value);
float RoundDown(double value);

// The upper half of the least float32 that has no lower half and is not below `value` >= 0.
uint16_t HalfUp(double value);
inline float FromHalf(uint16_t half) { return std::bit_cast<float>(uint32_t{half} << 16); }

inline CodeColumns::RowNumbers CodeColumns::row_numbers(size_t row) const {
  const uint16_t* const at = numbers(row) + 1 + 2 * layout->later_slabs();
  RowNumbers copy{.tail = FromHalf(at[0]), .norm = 0, .bend = 0};
  std::memcpy(&copy.norm, at + 1, sizeof(copy.norm));
  std::memcpy(&copy.bend, at + 3, sizeof(copy.bend));
  return copy;
}

}  // namespace vexact

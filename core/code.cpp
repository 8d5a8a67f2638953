#include "core/code.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace vexact {
namespace {

constexpr double kLeastNorm = 0x1p-60;
constexpr double kGreatestNorm = 0x1p60;
constexpr int32_t kMaxCode = 127;
constexpr uint8_t kCodeOffset = 128;

// Covers the rounding of a float64 sum of up to 2^16 + 1 terms, its square root and the differences
// that went in: at most (2^16 + 4) 2^-53 < 2^-36 relative.
constexpr double kSumMargin = 1 + 0x1p-36;

// The largest magnitude. Magnitudes order as their bits do, and the integer maximum becomes a
// vector loop.
float LargestMagnitude(const float* x, size_t n) {
  uint32_t largest = 0;
  for (size_t j = 0; j < n; ++j) {
    largest = std::max(largest, std::bit_cast<uint32_t>(x[j]) & 0x7FFF'FFFFu);
  }
  return std::bit_cast<float>(largest);
}

// sum_j term(j) for begin <= j < end, in eight partial sums so that it becomes a vector loop.
template <typename Term>
double SumOver(size_t begin, size_t end, Term term) {
  constexpr size_t kParts = 8;
  double part[kParts] = {};
  size_t j = begin;
  for (; j + kParts <= end; j += kParts) {
    for (size_t i = 0; i < kParts; ++i) part[i] += term(j + i);
  }
  for (; j < end; ++j) part[0] += term(j);
  double sum = 0;
  for (const double p : part) sum += p;
  return sum;
}

// c_j = x_j / scale rounded to the nearest integer, by adding and removing 1.5 * 2^23, which leaves
// no fraction.
void Quantise(const float* x, size_t n, float scale, int8_t* codes) {
  constexpr float kShift = 0x1.8p23f;
  const float inverse = 1 / scale;
  for (size_t j = 0; j < n; ++j) {
    const float shifted = x[j] * inverse + kShift;
    const auto code =
        static_cast<int32_t>(std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(kShift));
    codes[j] = static_cast<int8_t>(std::clamp(code, -kMaxCode, kMaxCode));
  }
}

// Spreads one row's codes over its group's lines and its later slabs.
void StoreCodes(const CodeColumns& columns, size_t row, const int8_t* codes) {
  const Layout& layout = columns.layout;
  uint8_t* const group = columns.first_slab + row / kGroupRows * kGroupRows * layout.first_bytes();
  for (size_t j = 0; j < layout.first_bytes(); ++j) {
    const int8_t code = j < layout.first_width ? codes[j] : int8_t{0};
    group[j / 4 * 64 + row % kGroupRows * 4 + j % 4] = static_cast<uint8_t>(code + kCodeOffset);
  }
  for (size_t slab = 0; slab < layout.later_slabs(); ++slab) {
    uint8_t* const line = columns.later_slabs + (slab * columns.capacity + row) * kSlabWidth;
    const size_t begin = layout.level_end(slab);
    const size_t width = layout.level_end(slab + 1) - begin;
    for (size_t j = 0; j < kSlabWidth; ++j) {
      const int8_t code = j < width ? codes[begin + j] : int8_t{0};
      line[j] = static_cast<uint8_t>(code + kCodeOffset);
    }
  }
}

void StoreBounds(const CodeColumns& columns, size_t row, const float* x, const int8_t* codes) {
  const Layout& layout = columns.layout;
  // s c is exact in float64 (24 + 7 bits); the difference and its square round, which kSumMargin
  // covers.
  const double scale = columns.scale[row];
  const auto residual = [&](size_t j) {
    const double e = x[j] - scale * codes[j];
    return e * e;
  };
  const auto square = [&](size_t j) { return double{x[j]} * x[j]; };
  double tail = 0;
  for (size_t level = layout.levels(); level-- > 0;) {
    // From the last level down, so that a tail is a sum of later parts and not a difference.
    if (level + 1 < layout.levels()) {
      tail += SumOver(layout.level_end(level), layout.level_end(level + 1), square);
    }
    const float bound = RoundUp(std::sqrt(tail) * kSumMargin);
    if (level > 0) {
      columns.later[row * layout.later_slabs() + level - 1].tail = bound;
    } else if (columns.tail != nullptr) {
      columns.tail[row] = bound;
    }
  }
  double error = 0;
  for (size_t level = 0; level < layout.levels(); ++level) {
    error +=
        SumOver(level == 0 ? 0 : layout.level_end(level - 1), layout.level_end(level), residual);
    const float bound = RoundUp(std::sqrt(error) * kSumMargin);
    if (level > 0) {
      columns.later[row * layout.later_slabs() + level - 1].error = bound;
    } else {
      columns.error[row] = bound;
    }
  }
}

void EncodeRow(const CodeColumns& columns, size_t row, const float* x, double dot, int8_t* codes) {
  const Layout& layout = columns.layout;
  const double norm = std::sqrt(dot);
  const bool in_range = dot == 0 || (norm >= kLeastNorm && norm <= kGreatestNorm);
  if (dot == 0 || !in_range) {
    std::fill_n(codes, layout.dimension, int8_t{0});
    StoreCodes(columns, row, codes);
    const float error = in_range ? 0 : std::numeric_limits<float>::infinity();
    columns.scale[row] = 0;
    columns.norm[row] =
        in_range ? 0 : 1;  // any number that is safe in the bound: the error decides
    columns.error[row] = error;
    if (columns.tail != nullptr) columns.tail[row] = 0;
    for (size_t slab = 0; slab < layout.later_slabs(); ++slab) {
      columns.later[row * layout.later_slabs() + slab] = {.error = error, .tail = 0};
    }
    return;
  }
  columns.scale[row] = LargestMagnitude(x, layout.dimension) / kMaxCode;
  columns.norm[row] = RoundUp(norm * kSumMargin);
  Quantise(x, layout.dimension, columns.scale[row], codes);
  StoreCodes(columns, row, codes);
  StoreBounds(columns, row, x, codes);
}

// Digits of a query: value = 128 high + low with low in [-64, 63].
void SplitDigits(int32_t value, int8_t& high, int8_t& low) {
  const int32_t h = (value + 64) >> 7;
  high = static_cast<int8_t>(h);
  low = static_cast<int8_t>(value - 128 * h);
}

}  // namespace

FilterInput MakeFilterInput(const CodeColumns& columns, size_t first_row,
                            const EncodedQuery& query) {
  return {
      .codes = columns.first_slab + first_row * columns.layout.first_bytes(),
      .width = columns.layout.first_bytes(),
      .scale = columns.scale + first_row,
      .row_error = columns.error + first_row,
      .norm = columns.norm + first_row,
      .tail = columns.tail == nullptr ? nullptr : columns.tail + first_row,
      .high = query.high.data(),
      .low = query.low.data(),
      .high_offset = query.high_offsets[0],
      .low_offset = query.low_offsets[0],
      .query_scale = query.scale,
      .row_error_factor = query.factors[0].error,
      .tail_factor = query.factors[0].tail,
      .norm_factor = query.factors[0].norm,
      .threshold = -std::numeric_limits<float>::infinity(),
  };
}

float RoundUp(double value) {
  const auto nearest = static_cast<float>(value);
  if (nearest >= value) return nearest;
  return std::nextafter(nearest, std::numeric_limits<float>::infinity());
}

float RoundDown(double value) {
  const auto nearest = static_cast<float>(value);
  if (nearest <= value) return nearest;
  return std::nextafter(nearest, -std::numeric_limits<float>::infinity());
}

void EncodeGroup(const CodeColumns& columns, size_t first_row, const float* rows,
                 const double* dots) {
  std::vector<int8_t> codes(columns.layout.dimension);
  for (size_t i = 0; i < kGroupRows; ++i) {
    EncodeRow(columns, first_row + i, rows + i * columns.layout.dimension, dots[i], codes.data());
  }
}

// Why the factors suffice. Write u = 2^-24, N >= |x|, E >= |e_P|, X >= |x_T| for the stored numbers
// and eps = 2^-20 = 16 u.
//
// 1. The estimate. H = sum c high and L = sum c low are exact (|H| <= 127 * 127 * 65,536 < 2^31).
// Their conversions, the sum
//    128 H + L, the product t s and the last product round five times, at most four of them on one
//    path, so
//        |estimate - t s D| <= 4.01 u t s (128 |H| + |L|).
//    128 high = v - low and |low_j| <= 64, hence t |128 high| <= |t v| + 64 t sqrt(d) and |t v| <=
//    |q| + |f|; the codes have |s c_P| <= |x_P| + |e_P|. With R = |q| + |f| + 128 t sqrt(d) the
//    right side is at most 4.01 u R (N + E), and |estimate| itself is at most 1.01 R (N + E).
// 2. The bound. Three multiply-adds, fused or not, on numbers no larger than |estimate| + terms: at
// most
//    u (3.03 R (N + E) + 4 terms), where terms = error_factor E + norm_factor N + tail_factor X.
// 3. The threshold. Inner product: one number, rounded down. Cosine: needed = tau N with |tau|
// <= 2.02 |q| (Ranking::Threshold), one
//    product, and N exceeds |x| by at most 4 u: u (2.02 + 4.04) R N. L2: Ranking lowers its numbers
//    by 16 u of themselves, and three roundings on them need 4 u.
// 4. The reference score differs from the true one by at most (d / 16 + 6) 2^-53 |q| |x| < 2^-40 R
// N (for L2 see Ranking). Together: u (7.04 R (N + E) + 6.07 R N + 4 terms) + 2^-40 R N <= eps R (N
// + E) + eps terms. So each factor is multiplied by 1 + eps, and eps R is added to those of E and
// N.
//
// A factor is at least 2^-100, so that an infinite error gives an infinite bound and never NaN.
// Underflow of a product below 2^-149 is far below eps R N >= 2^-20 * 2^-60.
EncodedQuery EncodeQuery(std::span<const float> query, double dot, const Layout& layout,
                         const Kernel& kernel, Term left_out) {
  constexpr double kEpsilon = 0x1p-20;
  constexpr double kLeastFactor = 0x1p-100;
  EncodedQuery encoded;
  encoded.dot = dot;
  encoded.exponent = dot > 0 ? std::ilogb(std::sqrt(dot)) : 0;
  encoded.norm = std::ldexp(std::sqrt(dot), -encoded.exponent);
  const size_t digits = layout.first_bytes() + layout.later_slabs() * kSlabWidth;
  encoded.high.resize(digits);
  encoded.low.resize(digits);

  std::vector<double> scaled(query.size());
  for (size_t j = 0; j < query.size(); ++j) scaled[j] = std::ldexp(query[j], -encoded.exponent);
  const double largest =
      std::ldexp(LargestMagnitude(query.data(), query.size()), -encoded.exponent);
  const int32_t max_value = 128 * kernel.max_digit;
  encoded.scale = largest > 0 ? RoundUp(largest / max_value) : 1;
  const double scale = encoded.scale;

  double residual = 0;  // |f_P|^2
  double prefix = 0;    // |q_P|^2
  std::vector<double> residuals, prefixes;
  for (size_t level = 0; level < layout.levels(); ++level) {
    const size_t begin = level == 0 ? 0 : layout.level_end(level - 1);
    const size_t at = level == 0 ? 0 : layout.first_bytes() + (level - 1) * kSlabWidth;
    int32_t high_sum = 0;
    int32_t low_sum = 0;
    for (size_t j = begin; j < layout.level_end(level); ++j) {
      const auto value = static_cast<int32_t>(std::nearbyint(scaled[j] / scale));
      int8_t& high = encoded.high[at + j - begin];
      int8_t& low = encoded.low[at + j - begin];
      SplitDigits(std::clamp(value, -max_value, max_value), high, low);
      high_sum += high;
      low_sum += low;
      // t v is exact in float64 (24 + 15 bits).
      const double f = scaled[j] - scale * (128 * high + low);
      residual += f * f;
      prefix += scaled[j] * scaled[j];
    }
    encoded.high_offsets.push_back(128 * high_sum);
    encoded.low_offsets.push_back(128 * low_sum);
    residuals.push_back(std::sqrt(residual) * kSumMargin);
    prefixes.push_back(std::sqrt(prefix) * kSumMargin);
  }

  const double query_norm = prefixes.back();
  const double range = query_norm + residuals.back() +
                       128 * scale * std::sqrt(static_cast<double>(layout.dimension));
  const double rounding = left_out == Term::kRounding ? 0 : kEpsilon * range;
  const double spread = left_out == Term::kRounding ? 1 : 1 + kEpsilon;
  double tail = 0;  // |q_T|^2
  encoded.factors.resize(layout.levels());
  for (size_t level = layout.levels(); level-- > 0;) {
    if (level + 1 < layout.levels()) {
      tail += SumOver(layout.level_end(level), layout.level_end(level + 1),
                      [&](size_t j) { return scaled[j] * scaled[j]; });
    }
    const double f = left_out == Term::kQueryResidual ? 0 : residuals[level];
    const double e = left_out == Term::kRowResidual ? 0 : prefixes[level] + f;
    const double t = left_out == Term::kTail ? 0 : std::sqrt(tail) * kSumMargin;
    encoded.factors[level] = {
        .error = RoundUp(std::max(kLeastFactor, e * spread + rounding)),
        .norm = RoundUp(std::max(kLeastFactor, f * spread + rounding)),
        .tail = RoundUp(std::max(kLeastFactor, t * spread)),
    };
  }
  return encoded;
}

}  // namespace vexact

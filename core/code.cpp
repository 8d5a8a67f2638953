#include "core/code.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace vexact {
namespace {

constexpr double kLeastNorm = 0x1p-40;
constexpr double kGreatestNorm = 0x1p40;
constexpr int32_t kMaxCode = 127;
constexpr uint8_t kCodeOffset = 128;
constexpr int32_t kMaxSketchDigit = 127;

// Covers the rounding of a float64 sum of up to 2^16 + 1 terms, its square root and the differences
// that went in: at most (2^16 + 4) 2^-53 < 2^-36 relative.
constexpr double kSumMargin = 1 + 0x1p-36;

// A sketch's scale, in root mean squares of what it codes, is the best of these: the least squares
// of normal components ask for 0.335, tails and flat rows for more and less.
constexpr float kSketchScales[] = {0.3f, 0.345f, 0.4f};

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

double SumSquares(const float* x, size_t begin, size_t end) {
  return SumOver(begin, end, [&](size_t j) { return double{x[j]} * x[j]; });
}

// |(I - B^T B) z| from |z|^2 and |y|^2, y the computed B z, for a leading basis. With P = B^T B,
// |(I - P) z|^2 = |z|^2 - 2 |B z|^2 + |B^T B z|^2 <= |z|^2 - (1 - defect) |B z|^2, and |B z| >= |y|
// - projection_error |z|.
double Remainder(const Layout& layout, double z_squared, double y_squared) {
  const double widened = 1 + 1.25 * layout.defect + 2.25 * layout.projection_error + 0x1p-40;
  return std::sqrt(std::max(0.0, z_squared * widened - y_squared));
}

// c_j = x_j / scale rounded to the nearest integer, by adding and removing 1.5 * 2^23, which leaves
// no fraction.
void QuantiseBytes(const float* x, size_t n, float scale, int8_t* codes) {
  constexpr float kShift = 0x1.8p23f;
  const float inverse = 1 / scale;
  for (size_t j = 0; j < n; ++j) {
    const float shifted = x[j] * inverse + kShift;
    const auto code =
        static_cast<int32_t>(std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(kShift));
    codes[j] = static_cast<int8_t>(std::clamp(code, -kMaxCode, kMaxCode));
  }
}

// u_j - 7.5 for u_j = y_j / scale + 7.5 rounded and held to [0, 15].
float SketchValue(float y, float inverse) {
  constexpr float kShift = 0x1.8p23f;
  const float held = std::min(std::max(y * inverse + 7.5f, 0.0f), 15.0f);
  return held + kShift - kShift - 7.5f;
}

float SketchError(const float* y, size_t n, float scale) {
  constexpr size_t kParts = 8;
  const float inverse = 1 / scale;
  float part[kParts] = {};
  for (size_t j = 0; j < n; j += kParts) {
    for (size_t i = 0; i < kParts; ++i) {
      const float e = y[j + i] - scale * SketchValue(y[j + i], inverse);
      part[i] += e * e;
    }
  }
  float sum = 0;
  for (const float p : part) sum += p;
  return sum;
}

// One row on its way into the columns.
struct Row {
  size_t index;
  double length;      // |x - center|
  const float* lead;  // coordinates of the first slab
  const float* rest;  // those that the later slabs divide
  const double* inverse_weights;
};

uint16_t* Numbers(const CodeColumns& columns, size_t row) {
  return reinterpret_cast<uint16_t*>(columns.later + columns.layout->later_at(row));
}

class GroupWriter {
 public:
  GroupWriter(const CodeColumns& columns)
      : columns_(columns), layout_(*columns.layout), codes_(layout_.dimension) {}

  // A row that the certificate says nothing of (`error` infinite) or that is the center itself (0).
  void WriteUncoded(size_t row, float error) {
    Store(columns_.first_slab, layout_.first_bytes(), row, [](size_t) { return kCodeOffset; });
    columns_.scale[row] = 0;
    columns_.error[row] = HalfUp(error);
    if (layout_.has_sketch()) {
      Store(columns_.sketch, layout_.sketch_bytes(), row, [](size_t) { return uint8_t{0}; });
      columns_.sketch_scale[row] = 0;
      columns_.sketch_error[row] = HalfUp(error);
    }
    if (columns_.tail != nullptr) columns_.tail[row] = 0;
    const size_t later = layout_.later_slabs();
    if (later == 0) return;
    std::memset(Codes(row), kCodeOffset, layout_.dimension - layout_.later_begin());
    uint16_t* numbers = Numbers(columns_, row);
    *numbers++ = 0;
    for (size_t slab = 0; slab < later; ++slab) {
      *numbers++ = HalfUp(error);
      *numbers++ = 0;
    }
  }

  void Write(const Row& row) {
    // |e_P|^2 of the first slab, as far as the later slabs go on from it.
    const double first_error = WriteFirst(row);
    if (layout_.has_sketch()) WriteSketch(row);
    if (columns_.tail != nullptr) {
      const double tail =
          layout_.leading()
              ? Remainder(layout_, row.length * row.length,
                          SumSquares(row.lead, 0, layout_.first_width))
              : std::sqrt(SumSquares(row.rest, layout_.first_width, layout_.dimension));
      columns_.tail[row.index] = HalfUp(tail * kSumMargin);
    }
    if (layout_.later_slabs() > 0) WriteLater(row, first_error);
  }

 private:
  uint8_t* Codes(size_t row) const {
    return columns_.later + layout_.later_at(row) + sizeof(uint16_t) * layout_.later_numbers();
  }

  // Spreads a row's `n` bytes over its group's lines in `slab`; `bytes(j)` is the j-th.
  template <typename Bytes>
  void Store(uint8_t* slab, size_t n, size_t row, Bytes bytes) {
    uint8_t* line = slab + row / kGroupRows * kGroupRows * n + row % kGroupRows * 4;
    for (size_t j = 0; j < n; j += 4, line += 64) {
      for (size_t i = 0; i < 4; ++i) line[i] = bytes(j + i);
    }
  }

  uint16_t ByteScale(const float* x, size_t begin, size_t end, double length) const {
    const double least = length / layout_.byte_reach();
    return HalfUp(std::max<double>(LargestMagnitude(x + begin, end - begin) / kMaxCode, least));
  }

  double ResidualSquares(const float* x, size_t begin, size_t end, double scale) const {
    // s c is exact in float64 (8 + 7 bits); the difference and its square round, which kSumMargin
    // covers.
    return SumOver(begin, end, [&](size_t j) {
      const double e = x[j] - scale * codes_[j];
      return e * e;
    });
  }

  double WriteFirst(const Row& row) {
    // Coordinates that go on in the later slabs share one scale with these.
    const size_t end = layout_.leading() ? layout_.first_width : layout_.dimension;
    const uint16_t half = ByteScale(row.lead, 0, end, row.length);
    const float scale = FromHalf(half);
    QuantiseBytes(row.lead, layout_.first_width, scale, codes_.data());
    Store(columns_.first_slab, layout_.first_bytes(), row.index, [&](size_t j) {
      return static_cast<uint8_t>((j < layout_.first_width ? codes_[j] : 0) + kCodeOffset);
    });
    const double error = ResidualSquares(row.lead, 0, layout_.first_width, scale);
    columns_.scale[row.index] = half;
    columns_.error[row.index] = HalfUp(std::sqrt(error) * kSumMargin);
    return layout_.leading() ? 0 : error;
  }

  void WriteSketch(const Row& row) {
    const size_t n = layout_.first_width;
    weighted_.resize(n);
    for (size_t j = 0; j < n; ++j) {
      weighted_[j] = static_cast<float>(row.lead[j] * row.inverse_weights[j]);
    }
    const double norm = std::sqrt(SumSquares(weighted_.data(), 0, n));
    const double rms = norm / std::sqrt(static_cast<double>(n));
    const double least = row.length / layout_.sketch_reach;
    uint16_t half = 0;
    float best = std::numeric_limits<float>::infinity();
    for (const float factor : kSketchScales) {
      const uint16_t candidate = HalfUp(std::max(factor * rms, least));
      if (candidate == half) continue;
      const float error = SketchError(weighted_.data(), n, FromHalf(candidate));
      if (half != 0 && !(error < best)) continue;
      half = candidate;
      best = error;
    }
    const float scale = FromHalf(half);
    const float inverse = 1 / scale;
    values_.resize(n);
    for (size_t j = 0; j < n; ++j) values_[j] = SketchValue(weighted_[j], inverse);
    Store(columns_.sketch, layout_.sketch_bytes(), row.index, [&](size_t j) {
      const size_t at = j / 4 * 8 + j % 4;
      const auto code = [&](size_t i) { return static_cast<unsigned>(values_[i] + 7.5f); };
      return static_cast<uint8_t>(code(at) | code(at + 4) << 4);
    });
    // w s (u - 7.5) is exact in float64 (24 + 8 + 5 bits).
    const double error = SumOver(0, n, [&](size_t j) {
      const double e =
          (row.lead[j] - double{layout_.weights[j]} * scale * values_[j]) * row.inverse_weights[j];
      return e * e;
    });
    columns_.sketch_scale[row.index] = half;
    columns_.sketch_error[row.index] = HalfUp(std::sqrt(error) * kSumMargin);
  }

  void WriteLater(const Row& row, double error) {
    const size_t begin = layout_.later_begin();
    const size_t later = layout_.later_slabs();
    const uint16_t half = begin > 0 ? columns_.scale[row.index]
                                    : ByteScale(row.rest, 0, layout_.dimension, row.length);
    const float scale = FromHalf(half);
    QuantiseBytes(row.rest + begin, layout_.dimension - begin, scale, codes_.data() + begin);
    uint8_t* const to = Codes(row.index);
    for (size_t j = begin; j < layout_.dimension; ++j) {
      to[j - begin] = static_cast<uint8_t>(codes_[j] + kCodeOffset);
    }
    uint16_t* const numbers = Numbers(columns_, row.index);
    numbers[0] = half;
    for (size_t level = 1; level <= later; ++level) {
      error += ResidualSquares(row.rest, layout_.slab_begin(level), layout_.slab_end(level), scale);
      numbers[2 * level - 1] = HalfUp(std::sqrt(error) * kSumMargin);
    }
    // From the last level down, so that a tail is a sum of later parts and not a difference.
    double tail = 0;
    for (size_t level = later; level >= 1; --level) {
      numbers[2 * level] = HalfUp(std::sqrt(tail) * kSumMargin);
      tail += SumSquares(row.rest, layout_.slab_begin(level), layout_.slab_end(level));
    }
  }

  const CodeColumns& columns_;
  const Layout& layout_;
  std::vector<int8_t> codes_;
  std::vector<float> weighted_, values_;
};

// |x| - |center| and the bend (code.h), from sums that do not cancel: with g = <center, x - center>
// and c = |x - center|^2, |x|^2 - |center|^2 = 2 g + c.
void StoreNorm(const CodeColumns& columns, size_t row, double norm, double g, double c) {
  if (columns.bend == nullptr) {
    columns.norm[row] = static_cast<float>(norm);
    return;
  }
  const double sum = norm + columns.layout->center_norm;
  const auto stored = static_cast<float>(sum == 0 ? 0 : (2 * g + c) / sum);
  columns.norm[row] = stored;
  columns.bend[row] = static_cast<float>((double{stored} * stored - c) / 2);
}

// The copies for CodeColumns::row_numbers, once everything else of the row is written.
void CopyRowNumbers(const CodeColumns& columns, size_t row) {
  const size_t later = columns.layout->later_slabs();
  if (later == 0) return;
  uint16_t* const to = Numbers(columns, row) + 1 + 2 * later;
  const float bend = columns.bend == nullptr ? 0 : columns.bend[row];
  to[0] = columns.tail[row];
  std::memcpy(to + 1, columns.norm + row, sizeof(float));
  std::memcpy(to + 3, &bend, sizeof(float));
}

// Digits of a query: value = 128 high + low with low in [-64, 63].
void SplitDigits(int32_t value, int8_t& high, int8_t& low) {
  const int32_t h = (value + 64) >> 7;
  high = static_cast<int8_t>(h);
  low = static_cast<int8_t>(value - 128 * h);
}

// The digits of some coordinates, and what they leave.
struct Digits {
  float scale = 1;
  std::vector<int32_t> values;

  Digits(std::span<const double> x, int32_t max_value) : values(x.size()) {
    double largest = 0;
    for (const double v : x) largest = std::max(largest, std::abs(v));
    if (largest > 0) scale = RoundUp(std::max(largest / max_value, 0x1p-100));
    for (size_t j = 0; j < x.size(); ++j) {
      const auto value = static_cast<int32_t>(std::nearbyint(x[j] / scale));
      values[j] = std::clamp(value, -max_value, max_value);
    }
  }
};

}  // namespace

FirstSlab CodeColumns::first(FirstCode code, size_t group, bool with_norm, bool with_bend) const {
  const bool bytes = code == FirstCode::kByte;
  return FirstSlab{.code = code,
                   .width = layout->padded_width(),
                   .codes = bytes ? first_slab : sketch,
                   .scale = bytes ? scale : sketch_scale,
                   .error = bytes ? error : sketch_error,
                   .tail = tail,
                   .bend = with_bend ? bend : nullptr,
                   .norm = with_norm ? norm : nullptr}
      .FromGroup(group);
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

uint16_t HalfUp(double value) {
  const auto bits = std::bit_cast<uint32_t>(RoundUp(value));
  return static_cast<uint16_t>((bits >> 16) + ((bits & 0xFFFF) != 0 ? 1 : 0));
}

void EncodeGroup(const CodeColumns& columns, const Kernel& kernel, size_t first_row,
                 const float* rows, const double* dots) {
  const Layout& layout = *columns.layout;
  const size_t d = layout.dimension;
  std::vector<float> centered;
  double squares[kGroupRows];   // |x - center|^2
  double products[kGroupRows];  // <center, x - center>
  const float* z = rows;
  if (layout.center.empty()) {
    std::copy(dots, dots + kGroupRows, squares);
    std::fill(products, products + kGroupRows, 0.0);
  } else {
    centered.resize(kGroupRows * d);
    for (size_t i = 0; i < kGroupRows; ++i) {
      const float* x = rows + i * d;
      const float* mu = layout.center.data();
      squares[i] = SumOver(0, d, [&](size_t j) {
        const double difference = double{x[j]} - mu[j];
        return difference * difference;
      });
      products[i] = SumOver(0, d, [&](size_t j) { return mu[j] * (double{x[j]} - mu[j]); });
      for (size_t j = 0; j < d; ++j) {
        centered[i * d + j] = static_cast<float>(double{x[j]} - mu[j]);
      }
    }
    z = centered.data();
  }
  std::vector<Layout::BasisLine> projected;
  const size_t step = layout.panels() * kPanelRows;
  if (layout.has_basis()) {
    projected.resize(kGroupRows * step / 16);
    kernel.project(layout.basis_data(), layout.panels(), d, z, kGroupRows, projected[0].lane);
  }
  std::vector<double> inverse_weights(layout.weights.begin(), layout.weights.end());
  for (double& w : inverse_weights) w = 1 / w;
  GroupWriter writer(columns);
  for (size_t i = 0; i < kGroupRows; ++i) {
    const size_t row = first_row + i;
    const double length = std::sqrt(squares[i]);
    if (length == 0) {
      StoreNorm(columns, row, std::sqrt(dots[i]), 0, 0);
      writer.WriteUncoded(row, 0);
    } else if (!(length >= kLeastNorm && length <= std::min(kGreatestNorm, layout.longest))) {
      columns.norm[row] = 0;  // any numbers that are safe in the bound: the error decides
      if (columns.bend != nullptr) columns.bend[row] = 0;
      writer.WriteUncoded(row, std::numeric_limits<float>::infinity());
    } else {
      StoreNorm(columns, row, std::sqrt(dots[i]), products[i], squares[i]);
      const float* const lead = layout.has_basis() ? projected[0].lane + i * step : z + i * d;
      writer.Write({.index = row,
                    .length = length,
                    .lead = lead,
                    .rest = layout.leading() ? z + i * d : lead,
                    .inverse_weights = inverse_weights.data()});
    }
    CopyRowNumbers(columns, row);
  }
}

namespace {

// What EncodeQuery needs on its way.
class QueryEncoder {
 public:
  QueryEncoder(std::span<const float> query, double dot, Metric metric, const Layout& layout,
               const Kernel& kernel, Term left_out)
      : layout_(layout), kernel_(kernel), metric_(metric), left_out_(left_out) {
    encoded_.dot = dot;
    encoded_.norm = std::sqrt(dot);
    FindRest(query);
  }

  EncodedQuery Encode() {
    const double norm = encoded_.coded_norm;
    if (norm > 0) encoded_.exponent = std::ilogb(norm);
    const bool in_range = norm == 0 || (norm >= kLeastNorm && norm <= kGreatestNorm);
    if (!in_range || !FitsFloat32()) {
      encoded_.usable = false;
      encoded_.exponent = 0;
      rest_.assign(rest_.size(), 0);
      encoded_.coded_norm = 0;
    }
    for (double& x : rest_) x = std::ldexp(x, -encoded_.exponent);
    norm_ = std::ldexp(encoded_.coded_norm, -encoded_.exponent);
    Project();
    EncodeFirst();
    if (layout_.later_slabs() > 0) EncodeLater();
    return std::move(encoded_);
  }

 private:
  // q - lambda center, and lambda.
  void FindRest(std::span<const float> query) {
    rest_.assign(query.begin(), query.end());
    if (!layout_.center.empty()) {
      const float* const mu = layout_.center.data();
      encoded_.center_product =
          SumOver(0, rest_.size(), [&](size_t j) { return double{query[j]} * mu[j]; });
      const double along = layout_.center_norm > 0
                               ? encoded_.center_product / layout_.center_norm / layout_.center_norm
                               : 0;
      encoded_.lambda = metric_ == Metric::kL2 ? 1 : along;
      for (size_t j = 0; j < rest_.size(); ++j) rest_[j] -= encoded_.lambda * mu[j];
    }
    const double largest = std::abs(*std::max_element(
        rest_.begin(), rest_.end(), [](double a, double b) { return std::abs(a) < std::abs(b); }));
    encoded_.coded_norm =
        largest == 0 ? 0 : largest * std::sqrt(SumOver(0, rest_.size(), [&](size_t j) {
                             return rest_[j] / largest * (rest_[j] / largest);
                           }));
  }

  // Whether what bends and norms are multiplied with (ranking.h) leaves the products in float32's
  // range: they may cancel. Bends are at most 2^79 and norms 2^40. A center that is far shorter
  // than the query is the exception.
  bool FitsFloat32() const {
    return std::ldexp(std::abs(encoded_.lambda), -encoded_.exponent) < 0x1p46 &&
           std::ldexp(encoded_.norm, -encoded_.exponent) < 0x1p85;
  }

  void Project() {
    lead_ = rest_;
    if (!layout_.has_basis()) return;
    const std::vector<float> single(rest_.begin(), rest_.end());
    std::vector<Layout::BasisLine> out(layout_.panels() * kPanelRows / 16);
    kernel_.project(layout_.basis_data(), layout_.panels(), layout_.dimension, single.data(), 1,
                    out[0].lane);
    lead_.assign(out[0].lane, out[0].lane + layout_.basis_rows);
    if (!layout_.leading()) rest_ = lead_;
  }

  // Part of every constant: what is at most a number of the query times |x - center|. With |z| =
  // |x - center| and p the query's coordinates, 1.1 defect + 2.1 projection_error bounds what the
  // basis and the rounding of both projections change <p, z> by, relative to |p| |z|; 2^-20 covers
  // the float32 roundings of norm and bend (each 2^-24 of at most 1.5 |z| and |z| longest) and of
  // their products; 2^-38 the reference score's own sums, (d / 16 + 6) 2^-53 |q| |z|.
  double Reaching() const {
    const double defect = left_out_ == Term::kDefect ? 0 : 1.1 * layout_.defect;
    const double projection = left_out_ == Term::kProjection ? 0 : 2.1 * layout_.projection_error;
    const double whole = std::ldexp(encoded_.norm, -encoded_.exponent);
    const double lambda = std::ldexp(std::abs(encoded_.lambda), -encoded_.exponent);
    // What multiplies norm and bend, which are rounded to float32: for cosine, norm is Ranking's.
    double numbers = lambda > 0 ? lambda * layout_.longest : 0;
    if (metric_ == Metric::kInnerProduct) numbers += lambda * layout_.center_norm;
    const double reference = metric_ == Metric::kL2 ? 0 : 0x1p-38 * whole;
    return (defect + projection) * norm_ +
           (left_out_ == Term::kNormRounding ? 0 : 0x1p-20 * numbers) + reference;
  }

  // The certificate of code.h, widened by what float32 does to it: the estimate's conversions and
  // products err by at most 5 2^-24 range (spread scale + error), each of the bound's seven steps
  // by 2^-24 of what they add up, which epsilon = 2^-20 covers. A factor is at least 2^-100, so
  // that an infinite error gives an infinite bound and never NaN. `read` and `residual` are |p_P|
  // and |f_P|, `tail` is |p_T|, `step` what 128 units of the last digit are worth for all
  // coordinates together, `spread` and `reach` in row scales.
  EncodedQuery::Factors MakeFactors(double read, double residual, double tail, double step,
                                    double spread, double reach) const {
    constexpr double kEpsilon = 0x1p-20;
    constexpr double kLeastFactor = 0x1p-100;
    const double f = left_out_ == Term::kQueryResidual ? 0 : residual;
    const double e = left_out_ == Term::kRowResidual ? 0 : read + f;
    const double t = left_out_ == Term::kTail ? 0 : tail;
    const double epsilon = left_out_ == Term::kRounding ? 0 : kEpsilon;
    const double range = read + residual + step;
    return {.constant = RoundUp(
                std::max(kLeastFactor, (f + epsilon * range) * spread + Reaching() * reach)),
            .error = RoundUp(std::max(kLeastFactor, e * (1 + epsilon) + epsilon * range)),
            .tail = RoundUp(std::max(kLeastFactor, t * (1 + epsilon)))};
  }

  void EncodeFirst() {
    const size_t n = layout_.first_width;
    const std::span<const double> p(lead_.data(), n);
    const Digits digits(p, 128 * kernel_.max_digit);
    encoded_.first_scale = digits.scale;
    encoded_.first_high.resize(layout_.padded_width());
    encoded_.first_low.resize(layout_.padded_width());
    double coarse = 0;
    for (size_t j = 0; j < n; ++j) {
      int8_t& high = encoded_.first_high[j];
      int8_t& low = encoded_.first_low[j];
      SplitDigits(digits.values[j], high, low);
      encoded_.first_high_sum += high;
      encoded_.first_low_sum += low;
      // t v is exact in float64 (24 + 15 bits).
      const double f = p[j] - double{digits.scale} * digits.values[j];
      const double g = p[j] - double{digits.scale} * 128 * high;
      first_read_ += p[j] * p[j];
      first_residual_ += f * f;
      coarse += g * g;
    }
    first_tail_ =
        kSumMargin *
        (layout_.later_slabs() == 0 ? 0
         : layout_.leading()
             ? Remainder(layout_, norm_ * norm_, first_read_)
             : std::sqrt(SumOver(n, rest_.size(), [&](size_t j) { return rest_[j] * rest_[j]; })));
    const double step = 128 * double{digits.scale} * std::sqrt(static_cast<double>(n));
    const double reach = layout_.byte_reach();
    const auto factors = [&](double residual) {
      return MakeFactors(std::sqrt(first_read_) * kSumMargin, std::sqrt(residual) * kSumMargin,
                         first_tail_, step, 1.1 * reach, reach);
    };
    encoded_.factors.push_back(factors(first_residual_));
    encoded_.coarse = factors(coarse);
    if (layout_.has_sketch()) EncodeSketch();
  }

  void EncodeSketch() {
    const size_t n = layout_.first_width;
    std::vector<double> p(n);
    for (size_t j = 0; j < n; ++j) p[j] = lead_[j] * layout_.weights[j];
    const Digits digits(p, kMaxSketchDigit);
    encoded_.sketch_scale = digits.scale;
    double read = 0, residual = 0;
    for (size_t j = 0; j < n; ++j) {
      encoded_.sketch.push_back(static_cast<int8_t>(digits.values[j]));
      encoded_.sketch_sum += digits.values[j];
      const double f = p[j] - double{digits.scale} * digits.values[j];
      read += p[j] * p[j];
      residual += f * f;
    }
    encoded_.by_sketch =
        MakeFactors(std::sqrt(read) * kSumMargin, std::sqrt(residual) * kSumMargin, first_tail_,
                    double{digits.scale} * std::sqrt(static_cast<double>(n)),
                    layout_.sketch_spread(), layout_.sketch_reach);
  }

  void EncodeLater() {
    const size_t begin = layout_.later_begin();
    const Digits digits(std::span<const double>(rest_).subspan(begin), 128 * kernel_.max_digit);
    encoded_.later_scale = digits.scale;
    encoded_.later_high.resize(layout_.later_slabs() * kSlabWidth);
    encoded_.later_low.resize(layout_.later_slabs() * kSlabWidth);
    // What was read and lost before, when the later slabs go on from the first.
    double read = begin > 0 ? first_read_ : 0;
    double residual = begin > 0 ? first_residual_ : 0;
    std::vector<double> tails(layout_.levels() + 1, 0.0);
    for (size_t level = layout_.later_slabs(); level >= 1; --level) {
      tails[level] = tails[level + 1];
      if (level < layout_.later_slabs()) {
        tails[level] += SumOver(layout_.slab_begin(level + 1), layout_.slab_end(level + 1),
                                [&](size_t j) { return rest_[j] * rest_[j]; });
      }
    }
    const float scale = std::max(digits.scale, begin > 0 ? encoded_.first_scale : 0.0f);
    const double step = 128 * double{scale} * std::sqrt(static_cast<double>(rest_.size()));
    for (size_t level = 1; level < layout_.levels(); ++level) {
      int32_t high_sum = 0, low_sum = 0;
      for (size_t j = layout_.slab_begin(level); j < layout_.slab_end(level); ++j) {
        const int32_t value = digits.values[j - begin];
        int8_t& high = encoded_.later_high[j - begin];
        int8_t& low = encoded_.later_low[j - begin];
        SplitDigits(value, high, low);
        high_sum += high;
        low_sum += low;
        const double f = rest_[j] - double{digits.scale} * value;
        residual += f * f;
        read += rest_[j] * rest_[j];
      }
      encoded_.later_high_sums.push_back(high_sum);
      encoded_.later_low_sums.push_back(low_sum);
      const double reach = layout_.byte_reach();
      encoded_.factors.push_back(
          MakeFactors(std::sqrt(read) * kSumMargin, std::sqrt(residual) * kSumMargin,
                      std::sqrt(tails[level]) * kSumMargin, step, 1.1 * reach, reach));
    }
  }

  const Layout& layout_;
  const Kernel& kernel_;
  const Metric metric_;
  const Term left_out_;
  EncodedQuery encoded_;
  std::vector<double> rest_;  // what the later slabs' digits are made of
  std::vector<double> lead_;  // and the first slab's
  double norm_ = 0;           // of the scaled query
  double first_read_ = 0, first_residual_ = 0, first_tail_ = 0;
};

}  // namespace

EncodedQuery EncodeQuery(std::span<const float> query, double dot, Metric metric,
                         const Layout& layout, const Kernel& kernel, Term left_out) {
  return QueryEncoder(query, dot, metric, layout, kernel, left_out).Encode();
}

}  // namespace vexact

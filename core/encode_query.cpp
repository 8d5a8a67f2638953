// Codes of queries: EncodeQuery.
#include <algorithm>
#include <cmath>
#include <utility>

#include "core/code.h"
#include "core/code_sums.h"

namespace vexact {
namespace {

constexpr int32_t kMaxSketchDigit = 127;

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

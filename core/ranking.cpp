#include "core/ranking.h"

#include <algorithm>
#include <cmath>

namespace vexact {
namespace {

// L2 only. The reference score's relative error is at most (d / 16 + 6) 2^-52 <= 2^-39; |q - x|^2
// <= 2 |q|^2 + 2 |x|^2. In rank, which halves, that is 2^-39 |q|^2 2^-a, and as much of |x|^2,
// which kSquareMargin covers.
constexpr double kScoreMargin = 0x1p-36;
// The stored norm is at most 2^-22 above |x|, its square 2^-21; the filter's three float32
// roundings need 2^-22.
constexpr double kSquareMargin = 0x1p-19;
// A threshold that enters a float32 sum is lowered by more than the sum's rounding.
constexpr double kThresholdMargin = 0x1p-20;

}  // namespace

Ranking::Ranking(Metric metric, const EncodedQuery& query, Term left_out)
    : metric_(metric),
      query_norm_(query.norm),
      query_dot_(query.dot),
      scale_(std::ldexp(1.0, -query.exponent)),
      square_margin_(left_out == Term::kSquareRounding ? 0 : kSquareMargin),
      threshold_margin_(left_out == Term::kSquareRounding ? 0 : kThresholdMargin),
      l2_slack_(kScoreMargin * query.dot * scale_) {}

double Ranking::Upper(double estimate, double radius, double norm) const {
  switch (metric_) {
    case Metric::kInnerProduct:
      return estimate + radius;
    case Metric::kCosine:
      return (estimate + radius) / norm;
    case Metric::kL2:
      return estimate + radius - norm * norm * scale_ / 2 * (1 - square_margin_) + l2_slack_;
  }
  return 0;
}

double Ranking::Lower(double estimate, double radius, double norm) const {
  switch (metric_) {
    case Metric::kInnerProduct:
      return estimate - radius;
    case Metric::kCosine:
      // No rank is below -|q'|. The clamp also bounds the threshold, as the filter's proof asks
      // for.
      return std::max((estimate - radius) / norm, -query_norm_ * (1 + kThresholdMargin));
    case Metric::kL2:
      return estimate - radius - norm * norm * scale_ / 2 * (1 + square_margin_) - l2_slack_;
  }
  return 0;
}

double Ranking::FromScore(double score) const {
  switch (metric_) {
    case Metric::kInnerProduct:
      return score * scale_;
    case Metric::kCosine:
      // Rounds by 2^-52 of |q'|, which is within the margin of every bound it is compared with.
      return score * query_norm_;
    case Metric::kL2:
      return ((query_dot_ - score) / 2 - kScoreMargin * (query_dot_ + score)) * scale_;
  }
  return 0;
}

void Ranking::SetThreshold(double rank, FilterInput& input) const {
  input.threshold = 0;
  input.norm_threshold = 0;
  input.square_threshold = 0;
  switch (metric_) {
    case Metric::kInnerProduct:
      input.threshold = RoundDown(rank);
      break;
    case Metric::kCosine:
      input.norm_threshold = RoundDown(rank);
      break;
    case Metric::kL2:
      input.threshold = RoundDown(rank - threshold_margin_ * std::abs(rank) - l2_slack_);
      input.square_threshold = RoundDown(scale_ / 2 * (1 - 2 * square_margin_));
      break;
  }
}

}  // namespace vexact

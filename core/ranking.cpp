#include "core/ranking.h"

#include <cmath>
#include <limits>

namespace vexact {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// The reference score of L2 is off by at most (d / 16 + 6) 2^-53 < 2^-40 of itself.
constexpr double kScoreMargin = 0x1p-36;
// A norm is rounded to float32, its square by 2^-23; the filter's float32 steps need 2^-21. The
// square counts against a row, so that less of it is an upper bound.
constexpr double kSquareMargin = 0x1p-19;
// A threshold that enters a float32 sum is lowered by more than the sum's rounding.
constexpr double kThresholdMargin = 0x1p-20;
// Below this part of |center|, |center| + norm says too little of |x|.
constexpr double kLeastNormShare = 0x1p-10;

// The relative rounding of float64 sums of n products: <q, center>, |p|^2, |center|, and what the
// reference score's own sums do to the part of it that the rows' scales do not cover.
double SumSlack(uint32_t n) { return (n / 4.0 + 32) * 0x1p-52; }

}  // namespace

Ranking::Ranking(Metric metric, const EncodedQuery& query, const Layout& layout, Term left_out)
    : metric_(metric),
      query_(query),
      center_norm_(layout.center_norm),
      longest_(layout.longest),
      norm_margin_(left_out == Term::kNormRounding ? 0 : 0x1p-21),
      unit_(std::ldexp(1.0, query.exponent)),
      inverse_unit_(1 / unit_) {
  const bool rounded = left_out != Term::kSquareRounding;
  if (metric == Metric::kL2) {
    alpha_ = layout.center.empty() ? 0 : 1 / unit_;
    gamma_ = -(rounded ? 1 - kSquareMargin : 1) / 2 / unit_;
    constant_ = -query.coded_norm * query.coded_norm / 2 / unit_;
    slack_ = SumSlack(layout.dimension) * std::abs(constant_);
  } else {
    alpha_ = query.lambda / unit_;
    beta_ = query.lambda * center_norm_ / unit_;
    constant_ = query.center_product / unit_;
    slack_ = SumSlack(layout.dimension) * query.norm * center_norm_ / unit_;
  }
}

Ranking::NormTerm Ranking::ForNorm(double rank) const {
  const double factor = beta_ - rank;
  // Without a center a norm is |x|, and its rounding a part of itself.
  if (center_norm_ == 0) return {factor + norm_margin_ * std::abs(factor), 0};
  return {factor, norm_margin_ * std::abs(factor) * longest_};
}

double Ranking::Upper(double estimate, double radius, double norm, double bend) const {
  if (!query_.usable) return kInfinity;
  const double upper = estimate + Bias(norm, bend) + constant_ + radius + slack_;
  if (!(upper < kInfinity)) return kInfinity;  // a row that is not coded: no NaN may come of it
  if (metric_ != Metric::kCosine) return upper * unit_;
  const double length = center_norm_ + norm;
  if (!(length > kLeastNormShare * center_norm_)) return kInfinity;
  const double rank = (upper + beta_ * norm) / length;
  const double reach = center_norm_ == 0 ? norm : longest_;
  return (rank + norm_margin_ * std::abs(beta_ - rank) * reach / length) * unit_;
}

double Ranking::NeededOfCosine(double rank, double norm, double without) const {
  if (!(center_norm_ + norm > kLeastNormShare * center_norm_)) return -kInfinity;
  const NormTerm term = ForNorm(rank / unit_);
  return rank / unit_ * center_norm_ - term.factor * norm - term.slack + without;
}

double Ranking::FromScore(Metric metric, const EncodedQuery& query, double score) {
  switch (metric) {
    case Metric::kInnerProduct:
      return score;
    case Metric::kCosine:
      return score * query.norm;
    case Metric::kL2:
      return -score / 2 * (1 + kScoreMargin);
  }
  return 0;
}

const EncodedQuery::Factors& Ranking::Factors(Reading reading) const {
  switch (reading) {
    case Reading::kAllDigits:
      return query_.factors[0];
    case Reading::kHighDigits:
      return query_.coarse;
    case Reading::kSketch:
      break;
  }
  return query_.by_sketch;
}

float Ranking::Scale(Reading reading) const {
  switch (reading) {
    case Reading::kAllDigits:
      return query_.first_scale;
    case Reading::kHighDigits:
      return 128 * query_.first_scale;
    case Reading::kSketch:
      break;
  }
  return query_.sketch_scale;
}

QueryTerms Ranking::Terms(double rank, Reading reading) const {
  return TermsFor(rank, Scale(reading), Factors(reading));
}

QueryTerms Ranking::EstimateTerms(double rank, Reading reading) const {
  return TermsFor(rank, Scale(reading), {});
}

QueryTerms Ranking::BoundTerms(Reading reading) const {
  QueryTerms terms = Terms(-kInfinity, reading);
  terms.threshold = 0;
  if (metric_ == Metric::kCosine) terms.norm = 0;
  return terms;
}

Ranking::Selection Ranking::Select(double rank) const {
  const QueryTerms terms = TermsFor(rank, 0, {});
  return {metric_ == Metric::kCosine ? terms.norm : 0, terms.threshold};
}

QueryTerms Ranking::TermsFor(double rank, float scale, const EncodedQuery::Factors& factors) const {
  QueryTerms terms{.scale = scale,
                   .constant = factors.constant,
                   .error = factors.error,
                   .tail = factors.tail,
                   .bend = static_cast<float>(alpha_),
                   .norm = static_cast<float>(beta_),
                   .square = static_cast<float>(gamma_),
                   .threshold = -std::numeric_limits<float>::infinity()};
  if (!query_.usable || rank == -kInfinity) return terms;
  double threshold = rank / unit_ - constant_;
  if (metric_ == Metric::kCosine) {
    // rank (|center| + norm), its first part with the threshold.
    const NormTerm term = ForNorm(rank / unit_);
    threshold = rank / unit_ * center_norm_ - constant_ - term.slack;
    terms.norm = static_cast<float>(term.factor);
  }
  terms.threshold = RoundDown(threshold - kThresholdMargin * std::abs(threshold) - slack_);
  return terms;
}

}  // namespace vexact

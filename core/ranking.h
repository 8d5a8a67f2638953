// One order for all metrics and layouts: the rank of a row for a query, larger is nearer, and its
// relation to the reference score.
#pragma once

#include <cmath>
#include <limits>

#include "core/code.h"
#include "core/metric.h"

namespace vexact {

// What a first bound is made of: the bytes on all digits of the query, the bytes on its high digits
// alone, or the sketch.
enum class Reading { kAllDigits, kHighDigits, kSketch };

// The rank of a row x for a query q is
//     inner product   <q, x>          = score
//     cosine          <q, x> / |x|    = score |q|
//     l2              -|q - x|^2 / 2  = -score / 2
// and in the numbers of a layout, with z = x - center, p = q - lambda center, and with norm = |x| -
// |center| and bend = norm^2 / 2 - |z|^2 / 2 as code.h keeps them,
//     <q, x>         = <p, z> + lambda bend + lambda |center| norm + <q, center>
//     -|q - x|^2 / 2 = <p, z> + bend - norm^2 / 2 - |p|^2 / 2
// so that one pass of estimates of <p, z> serves all three. Whatever is derived from a bound is
// rounded outward, the error of the reference score included: when Upper(row) < FromScore(s), the
// row's reference score is worse than s.
//
// REQUIRES: the query outlives it and was encoded for the metric; under kCosine it is not zero.
// Thread safety: const.
class Ranking {
 public:
  Ranking(Metric metric, const EncodedQuery& query, const Layout& layout,
          Term left_out = Term::kNone);

  // Whether the row's norm and bend count.
  bool needs_norm() const { return beta_ != 0 || gamma_ != 0 || metric_ == Metric::kCosine; }
  bool needs_bend() const { return alpha_ != 0; }
  // Tile::norm_apart. A multiple near the end of float32's range has no other's ratio.
  bool norm_apart() const {
    return metric_ == Metric::kCosine || (alpha_ != 0 && std::abs(alpha_) < 0x1p-100);
  }

  // A bound on the rank of a row whose estimate of <p, z> (of the scaled query) is off by at most
  // `radius`; `norm` and `bend` as stored, bend 0 without a center.
  double Upper(double estimate, double radius, double norm, double bend) const;

  // What estimate + radius must reach for Upper to reach `rank`.
  double Needed(double rank, double norm, double bend) const {
    if (!query_.usable || rank == -std::numeric_limits<double>::infinity()) {
      return -std::numeric_limits<double>::infinity();
    }
    const double without = -Bias(norm, bend) - constant_ - slack_;
    return metric_ == Metric::kCosine ? NeededOfCosine(rank, norm, without)
                                      : rank * inverse_unit_ + without;
  }
  // What norm and bend add to a bound of BoundTerms.
  double Bias(double norm, double bend) const {
    const double beta = metric_ == Metric::kCosine ? 0 : beta_;
    return alpha_ * bend + (beta + gamma_ * norm) * norm;
  }

  // A lower bound on the rank of every row whose reference score is `score` or nearer.
  static double FromScore(Metric metric, const EncodedQuery& query, double score);

  // What the filter asks of a row whose upper bound is to reach `rank`.
  QueryTerms Terms(double rank, Reading reading) const;
  // The same of a row that would reach it if its estimate were right; no certificate.
  QueryTerms EstimateTerms(double rank, Reading reading) const;
  // Terms in two steps: bounds that do not depend on the rank, and what Kernel::select asks of
  // them.
  QueryTerms BoundTerms(Reading reading) const;
  struct Selection {
    float norm = 0;
    float threshold = 0;
  };
  Selection Select(double rank) const;

  // The certificate of level 0.
  const EncodedQuery::Factors& Factors(Reading reading) const;

 private:
  // Cosine: what multiplies the norm of a row that is to reach `rank` (in units of the scaled
  // query), and what covers the norm's rounding.
  struct NormTerm {
    double factor = 0, slack = 0;
  };
  NormTerm ForNorm(double rank) const;
  double NeededOfCosine(double rank, double norm, double without) const;
  QueryTerms TermsFor(double rank, float scale, const EncodedQuery::Factors& factors) const;
  float Scale(Reading reading) const;

  const Metric metric_;
  const EncodedQuery& query_;
  double center_norm_;
  double longest_;      // >= |x - center| of every coded row
  double norm_margin_;  // what a norm, its product and the sums they go into are rounded by
  double unit_;         // 2^exponent: a rank of 1 in the scaled query is so much
  double inverse_unit_;
  // In units of the scaled query: <p, z> + alpha bend + (beta + gamma norm) norm + constant is the
  // rank, times |x| for cosine, up to `slack`.
  double alpha_ = 0, beta_ = 0, gamma_ = 0, constant_ = 0, slack_ = 0;
};

}  // namespace vexact

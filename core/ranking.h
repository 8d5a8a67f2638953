// One order for all metrics: the rank of a row for a query, larger is nearer, and its relation to
// the reference score.
#pragma once

#include "core/code.h"
#include "core/metric.h"

namespace vexact {

// With q scaled as in EncodedQuery (q' = q 2^-a) and x a row, the rank is
//     inner product   <q', x>
//     cosine          <q', x> / |x|                  = score |q'|
//     l2              <q', x> - |x|^2 2^-a / 2       = (|q|^2 - score) 2^-a / 2
// so that one pass of estimates of <q', x> serves all three. Ranks are held in float64; whatever is
// derived from a bound is rounded outward, the error of the reference score included: when
// Upper(row) < FromScore(s), the row's reference score is worse than s.
//
// REQUIRES: the query outlives it; under kCosine it is not zero. Thread safety: const.
class Ranking {
 public:
  Ranking(Metric metric, const EncodedQuery& query, Term left_out = Term::kNone);

  // Bounds on the rank of a row of norm `norm` (as stored, rounded up) whose estimate of <q', x> is
  // off by at most `radius`.
  double Upper(double estimate, double radius, double norm) const;
  double Lower(double estimate, double radius, double norm) const;

  // A lower bound on the rank of every row whose reference score is `score` or nearer.
  double FromScore(double score) const;

  // Sets the filter's three threshold numbers so that every row whose upper bound reaches `rank`
  // survives.
  void SetThreshold(double rank, FilterInput& input) const;

 private:
  Metric metric_;
  double query_norm_;  // |q'|
  double query_dot_;   // |q|^2
  double scale_;       // 2^-a
  // L2 only: what |x|^2 and a threshold are widened by, relative to themselves, and the reference
  // score's own error.
  double square_margin_, threshold_margin_, l2_slack_;
};

}  // namespace vexact

// The reference score: the definition of what Vexact answers (docs/exactness.md, section 1).
//
// `dot` is evaluated in float64 in one fixed order: 16 lanes, lane l sums the terms j = l (mod 16)
// in increasing j from +0.0; then lane[l] += lane[l + w] for l < w, for w = 8, 4, 2, 1; the result
// is lane[0]. The product of two float32 is exact in float64, so fused and unfused multiply-adds
// agree. The squared distance uses the same lanes; there the difference and its square are each
// rounded before the add.
//
// Every function is pure, safe from any thread, and gives the same bits on every instruction set.
#pragma once

#include <cmath>
#include <span>

#include "core/metric.h"

namespace vexact {

// Both spans have the same length. Finite inputs of up to 65,536 components give a finite result.
double Dot(std::span<const float> a, std::span<const float> b);
double SquaredL2(std::span<const float> a, std::span<const float> b);

// dot(q, x) / sqrt(dot(q, q) * dot(x, x)), from its three parts; none of the vectors is zero.
inline double CosineScore(double dot, double dot_qq, double dot_xx) {
  return dot / std::sqrt(dot_qq * dot_xx);
}

// The reference score of row `x` for query `q`, given their own dot products. These are used under
// kCosine only.
double ReferenceScore(Metric metric, std::span<const float> q, double dot_qq,
                      std::span<const float> x, double dot_xx);

// x_j / sqrt(dot_xx), divided in float64 and rounded to float32: row and query normalization. `out`
// has x's length and may be x. REQUIRES: dot_xx == Dot(x, x) > 0.
void L2Normalize(std::span<const float> x, double dot_xx, std::span<float> out);

}  // namespace vexact

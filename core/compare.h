// Everything there is to say about two vectors.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "absl/status/statusor.h"

namespace vexact {

// All in float64, from the reference dot product and squared distance. What needs a direction is
// absent when a vector is zero.
struct Comparison {
  double dot = 0;
  double norm_a = 0, norm_b = 0;
  double squared_distance = 0;
  double distance = 0;                      // sqrt(squared_distance)
  std::optional<double> cosine_similarity;  // dot / sqrt(dot(a, a) * dot(b, b))
  std::optional<double> cosine_distance;    // 1 - cosine_similarity
  std::optional<double> angle_degrees;      // 0 to 180
  std::optional<double> scalar_projection;  // dot / |b|
  std::vector<double> vector_projection;    // (dot / dot(b, b)) * b; empty when b is zero
};

// INVALID_ARGUMENT: lengths that differ, are 0 or above kMaxDimension; NaN or infinity (naming side
// and component).
absl::StatusOr<Comparison> Compare(std::span<const float> a, std::span<const float> b);

}  // namespace vexact

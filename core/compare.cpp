#include "core/compare.h"

#include <cmath>
#include <numbers>

#include "absl/strings/str_format.h"
#include "core/collection.h"
#include "core/reference_score.h"
#include "core/validate.h"

namespace vexact {
namespace {

absl::Status Validate(std::span<const float> a, std::span<const float> b) {
  if (a.size() != b.size()) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "a has %d components, b has %d; they must have the same dimension", a.size(), b.size()));
  }
  if (a.empty() || a.size() > kMaxDimension) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "a and b have %d components; there must be 1 to %d", a.size(), kMaxDimension));
  }
  if (absl::Status status = ValidateFinite("a", a); !status.ok()) return status;
  return ValidateFinite("b", b);
}

// The angle between two vectors, from the halves of the rhombus that their unit vectors span:
// accurate for every angle, where acos loses half of the digits near 0 and 180 degrees. W. Kahan,
// "How Futile are Mindless Assessments of Roundoff in Floating-Point Computation?", section 12.
double AngleDegrees(std::span<const float> a, double norm_a, std::span<const float> b,
                    double norm_b) {
  double difference = 0;
  double sum = 0;
  for (size_t j = 0; j < a.size(); ++j) {
    const double u = a[j] / norm_a;
    const double v = b[j] / norm_b;
    difference += (u - v) * (u - v);
    sum += (u + v) * (u + v);
  }
  return 2 * std::atan2(std::sqrt(difference), std::sqrt(sum)) * 180 / std::numbers::pi;
}

}  // namespace

absl::StatusOr<Comparison> Compare(std::span<const float> a, std::span<const float> b) {
  if (absl::Status status = Validate(a, b); !status.ok()) return status;
  const double dot_aa = Dot(a, a);
  const double dot_bb = Dot(b, b);
  Comparison result;
  result.dot = Dot(a, b);
  result.norm_a = std::sqrt(dot_aa);
  result.norm_b = std::sqrt(dot_bb);
  result.squared_distance = SquaredL2(a, b);
  result.distance = std::sqrt(result.squared_distance);
  if (dot_aa > 0 && dot_bb > 0) {
    result.cosine_similarity = CosineScore(result.dot, dot_aa, dot_bb);
    result.cosine_distance = 1 - *result.cosine_similarity;
    result.angle_degrees = AngleDegrees(a, result.norm_a, b, result.norm_b);
  }
  if (dot_bb > 0) {
    result.scalar_projection = result.dot / result.norm_b;
    const double factor = result.dot / dot_bb;
    result.vector_projection.reserve(b.size());
    for (const float component : b) result.vector_projection.push_back(factor * component);
  }
  return result;
}

}  // namespace vexact

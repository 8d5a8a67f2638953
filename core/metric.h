// What a score is: the three metrics, and what a collection does to vectors at its door.
#pragma once

#include <optional>
#include <string_view>

namespace vexact {

enum class Metric { kInnerProduct, kCosine, kL2 };

inline constexpr Metric kMetrics[] = {Metric::kInnerProduct, Metric::kCosine, Metric::kL2};

// "inner_product", "cosine", "l2".
std::string_view Name(Metric metric);
std::optional<Metric> ParseMetric(std::string_view name);

// Whether `a` is nearer than `b` under `metric`: greater, or smaller for kL2. Scores are never NaN.
constexpr bool Nearer(Metric metric, double a, double b) {
  return metric == Metric::kL2 ? a < b : a > b;
}

enum class Normalization {
  kNone,         // kept as sent
  kL2,           // float(x_j / sqrt(dot(x, x))), computed in float64
  kRequireUnit,  // refused when the norm is off 1 by more than kUnitTolerance
};

inline constexpr double kUnitTolerance = 1e-3;

// "none", "l2", "require_unit".
std::string_view Name(Normalization normalization);
std::optional<Normalization> ParseNormalization(std::string_view name);

}  // namespace vexact

#include "core/metric.h"

namespace vexact {

std::string_view Name(Metric metric) {
  switch (metric) {
    case Metric::kInnerProduct:
      return "inner_product";
    case Metric::kCosine:
      return "cosine";
    case Metric::kL2:
      return "l2";
  }
  return "";
}

std::optional<Metric> ParseMetric(std::string_view name) {
  for (const Metric metric : kMetrics) {
    if (Name(metric) == name) return metric;
  }
  return std::nullopt;
}

std::string_view Name(Normalization normalization) {
  switch (normalization) {
    case Normalization::kNone:
      return "none";
    case Normalization::kL2:
      return "l2";
    case Normalization::kRequireUnit:
      return "require_unit";
  }
  return "";
}

std::optional<Normalization> ParseNormalization(std::string_view name) {
  for (const Normalization normalization :
       {Normalization::kNone, Normalization::kL2, Normalization::kRequireUnit}) {
    if (Name(normalization) == name) return normalization;
  }
  return std::nullopt;
}

}  // namespace vexact

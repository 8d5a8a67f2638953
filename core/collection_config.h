// What a collection is made of.
#pragma once

#include <cstdint>

#include "core/metric.h"

namespace vexact {

struct CollectionConfig {
  uint32_t dimension = 0;
  Metric metric = Metric::kCosine;
  Normalization normalization = Normalization::kNone;

  bool operator==(const CollectionConfig&) const = default;
};

}  // namespace vexact

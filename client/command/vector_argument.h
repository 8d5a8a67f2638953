// A vector as a person writes it.
#pragma once

#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace vexact::client {

// "0.1, 0.2", "0.1 0.2" or "[0.1, 0.2]", rounded to the nearest float32. INVALID_ARGUMENT, naming
// the component: what is no finite number or beyond float32; no component at all.
absl::StatusOr<std::vector<float>> ParseVector(std::string_view text);

}  // namespace vexact::client

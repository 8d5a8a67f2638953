// Checks at the door that more than one module makes.
#pragma once

#include <span>
#include <string_view>

#include "absl/status/status.h"

namespace vexact {

// INVALID_ARGUMENT when a component is NaN or infinite: "<what>: component 203 is NaN; vectors must
// be finite".
absl::Status ValidateFinite(std::string_view what, std::span<const float> vector);

}  // namespace vexact

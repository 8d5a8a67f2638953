#include "core/validate.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "absl/strings/str_format.h"

namespace vexact {

absl::Status ValidateFinite(std::string_view what, std::span<const float> vector) {
  // An exponent of all ones is an infinity or a NaN. The maximum over all components compiles to a
  // vector loop.
  constexpr uint32_t kExponent = 0x7F80'0000;
  uint32_t largest = 0;
  for (const float x : vector) largest = std::max(largest, std::bit_cast<uint32_t>(x) & kExponent);
  if (largest != kExponent) return absl::OkStatus();
  const auto bad =
      std::find_if(vector.begin(), vector.end(), [](float x) { return !std::isfinite(x); });
  const char* value = std::isnan(*bad) ? "NaN" : *bad > 0 ? "+infinity" : "-infinity";
  return absl::InvalidArgumentError(absl::StrFormat(
      "%s: component %d is %s; vectors must be finite", what, bad - vector.begin(), value));
}

}  // namespace vexact

// The names that people give: of collections and of snapshots.
#pragma once

#include <cstddef>
#include <string_view>

#include "absl/status/status.h"

namespace vexact {

inline constexpr size_t kMaxNameLength = 128;

// INVALID_ARGUMENT unless it is 1 to kMaxNameLength characters: a letter or digit, then letters,
// digits, '.', '_', '-'. So no name leads out of a folder in which it is a file's. The message
// begins with `field`; `what` is what needs the name.
absl::Status ValidateName(std::string_view field, std::string_view what, std::string_view name);

}  // namespace vexact

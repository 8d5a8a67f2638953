// The client's own name for a row.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "absl/status/status.h"

namespace vexact {

// An unsigned 64-bit integer or a string of 1 to kMaxIdBytes bytes of UTF-8. The variant's own
// comparison is the order of ties and of scrolling: integers before strings, integers numerically,
// strings bytewise.
using Id = std::variant<uint64_t, std::string>;

// The same without owning the string; valid as long as what it views.
using IdView = std::variant<uint64_t, std::string_view>;

inline constexpr size_t kMaxIdBytes = 512;

IdView View(const Id& id);
Id Own(IdView id);

// INVALID_ARGUMENT when a string is empty, longer than kMaxIdBytes or not UTF-8; the message starts
// with "id".
absl::Status ValidateId(IdView id);

// For messages: 17, or "seventeen" in quotes, on one line, cut after 64 bytes.
std::string Describe(IdView id);

}  // namespace vexact

// Files that options name.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace vexact::server {

// The whole content. INVALID_ARGUMENT names the option, the file and what is wrong.
absl::StatusOr<std::string> ReadOptionFile(std::string_view option, const std::string& path);

}  // namespace vexact::server

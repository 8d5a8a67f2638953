// vexactd --check-config: would the server start, and with what?
#pragma once

#include "absl/status/status.h"
#include "server/config.h"

namespace vexact::server {

// Prints every option with its value and where that stands, and what the files hold that options
// name; warnings go to stderr. Opens no port and touches no data. INVALID_ARGUMENT, or UNAVAILABLE,
// is what would keep the server from starting.
absl::Status CheckConfig(const Config& config);

}  // namespace vexact::server

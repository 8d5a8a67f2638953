// What keeps strangers out, read as the configuration has it.
#pragma once

#include "absl/status/statusor.h"
#include "server/api_keys.h"
#include "server/config.h"

namespace vexact::server {

struct Security {
  // None: everybody is let in.
  ApiKeys keys;
};

// Reads and checks the files that the configuration names. INVALID_ARGUMENT says which, what is
// wrong with it and what to do.
absl::StatusOr<Security> ReadSecurity(const Config& config);

}  // namespace vexact::server

// What keeps strangers out, read as the configuration has it.
#pragma once

#include <optional>

#include "absl/status/statusor.h"
#include "server/api_keys.h"
#include "server/config.h"
#include "server/tls.h"

namespace vexact::server {

struct Security {
  // None: everybody is let in.
  ApiKeys keys;
  // Without it connections are in plain text.
  std::optional<TlsIdentity> tls;
};

// Reads and checks the files that the configuration names. INVALID_ARGUMENT says which, what is
// wrong with it and what to do; also when the server would let in whoever reaches it from beyond
// this machine, and nobody has said that it may (insecure). UNAVAILABLE when the address to listen
// on is not known.
absl::StatusOr<Security> ReadSecurity(const Config& config);

}  // namespace vexact::server

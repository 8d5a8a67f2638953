// vexactd --verify and --repair.
#pragma once

#include "absl/status/statusor.h"
#include "server/config.h"

namespace vexact::server {

// Checks everything in the data directory, its snapshots too: problems and a table of collections
// go to stdout, and how far it is to stderr. Returns whether all is sound. Errors: the directory is
// in use, or cannot be read at all; the message says what to do.
absl::StatusOr<bool> Verify(const Config& config);

// Keeps what is good in the data directory, and says on stdout what was lost. Errors as Verify's,
// and when that could not be done: then all is as it was.
absl::Status Repair(const Config& config);

}  // namespace vexact::server

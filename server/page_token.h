// Where a scroll goes on: opaque bytes for the client, an id for us.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "core/id.h"

namespace vexact::server {

// A token that continues after `last` in the named collection.
std::string MakePageToken(std::string_view collection, IdView last);

// The id to continue after. INVALID_ARGUMENT when the token was damaged or made for another
// collection.
absl::StatusOr<Id> ReadPageToken(std::string_view collection, std::string_view token);

}  // namespace vexact::server

// The log: one line an event on stderr, `TIME level event key=value ...`, the time in UTC.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "core/collection.h"

namespace vexact::server {

// Sends the log to stderr from `level` (debug, info, warning, error) on. What gRPC and protobuf
// have to say themselves goes to level debug: what matters of it reaches the log through the call
// that it concerns. Call once, before any other thread runs.
void StartLog(const std::string& level);

// From here on, the least severe lines to log. May be called from any thread.
void SetLogLevel(const std::string& level);

// `text` as the value of a key: itself when it is a plain word, otherwise in double quotes with
// quotes, backslashes and control characters escaped, so that no value can break a line or pose as
// another key.
std::string LogValue(std::string_view text);
// Its message.
std::string LogValue(const absl::Status& status);

// One line, for what was done to a collection in the background, or failed.
void LogMaintenance(const Collection& collection, const MaintenanceEvent& event);

}  // namespace vexact::server

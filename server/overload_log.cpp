#include "server/overload_log.h"

#include <spdlog/spdlog.h>

#include <string>

#include "absl/strings/str_format.h"

namespace vexact::server {

void OverloadLog::Poll(Clock::time_point now) {
  if (now - said_at_ < std::chrono::seconds(1)) return;
  uint64_t refused = 0;
  std::string reasons;
  for (size_t i = 0; i < said_.size(); ++i) {
    const uint64_t count = metrics_.refused(kReasons[i]);
    refused += count - said_[i];
    absl::StrAppendFormat(&reasons, " %s=%d", Name(kReasons[i]), count - said_[i]);
    said_[i] = count;
  }
  if (refused == 0) return;
  said_at_ = now;
  spdlog::warn("overload refused={}{}", refused, reasons);
}

}  // namespace vexact::server

// What the log says when there is more to do than may wait.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>

#include "server/metrics.h"

namespace vexact::server {

// Requests and connections that are refused because there is too much to do have no line of their
// own, which would be more to do. They are counted in one line a second, by why.
//
// Thread safety: used by one thread at a time.
class OverloadLog {
 public:
  using Clock = std::chrono::steady_clock;

  static constexpr Refusal kReasons[] = {Refusal::kQueue, Refusal::kBytesInFlight, Refusal::kRate,
                                         Refusal::kConnections};

  // `metrics` must outlive it.
  explicit OverloadLog(const Metrics& metrics) : metrics_(metrics) {}

  // To be called every second or so. Writes a line if more were refused since the last, and that
  // is a second old.
  void Poll(Clock::time_point now);

 private:
  const Metrics& metrics_;
  std::array<uint64_t, std::size(kReasons)> said_{};  // by reason, in all lines so far
  Clock::time_point said_at_{};
};

}  // namespace vexact::server

#include "server/rate_limit.h"

#include <algorithm>

namespace vexact::server {
namespace {

constexpr int64_t kBurstNs = 1'000'000'000;

}  // namespace

RateLimit::RateLimit(int64_t per_second) : interval_ns_(kBurstNs / per_second) {}

std::chrono::nanoseconds RateLimit::Take(Clock::time_point now) {
  const int64_t now_ns = std::chrono::nanoseconds(now.time_since_epoch()).count();
  // relaxed: nothing else depends on it.
  int64_t full_at = full_at_ns_.load(std::memory_order_relaxed);
  for (;;) {
    const int64_t next = std::max(full_at, now_ns) + interval_ns_;
    if (next - now_ns > kBurstNs) return std::chrono::nanoseconds(next - now_ns - kBurstNs);
    if (full_at_ns_.compare_exchange_weak(full_at, next, std::memory_order_relaxed)) {
      return std::chrono::nanoseconds(0);
    }
  }
}

}  // namespace vexact::server

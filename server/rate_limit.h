// How often somebody may ask.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace vexact::server {

// A token bucket that holds one second's worth: so many requests may come at once after a pause,
// and no more than that in any second besides what comes anew. It is one number, the moment at
// which it would be full again (the generic cell rate algorithm, ITU-T I.371).
//
// Thread safety: every method may be called from any thread.
class RateLimit {
 public:
  using Clock = std::chrono::steady_clock;

  static constexpr int64_t kMostPerSecond = 1'000'000;

  // `per_second`: requests, 1 to kMostPerSecond.
  explicit RateLimit(int64_t per_second);

  // Lets a request in and gives 0, or gives the time until one would be let in. `now` may be older
  // than that of another thread.
  std::chrono::nanoseconds Take(Clock::time_point now);

 private:
  const int64_t interval_ns_;
  std::atomic<int64_t> full_at_ns_ = INT64_MIN;
};

}  // namespace vexact::server

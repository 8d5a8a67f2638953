// Ctrl-C that lets a load end in order.
#pragma once

namespace vexact::client {

// While it lives, the first SIGINT or SIGTERM is only remembered, and ends a read(2) that waits
// with EINTR. The second one has its usual effect. At most one at a time.
class InterruptionGuard {
 public:
  InterruptionGuard();
  ~InterruptionGuard();
  InterruptionGuard(const InterruptionGuard&) = delete;
  InterruptionGuard& operator=(const InterruptionGuard&) = delete;
};

// Whether a signal has come since the guard was made.
bool Interrupted();

}  // namespace vexact::client

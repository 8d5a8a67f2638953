// Ctrl-C that lets a load end in order.
#pragma once

#include <string>

namespace vexact::client {

// While it lives, the first SIGINT or SIGTERM is only remembered, and ends a read(2) that waits
// with EINTR. The second one has its usual effect, and removes `unfinished`, a file, before. At
// most one at a time.
class InterruptionGuard {
 public:
  explicit InterruptionGuard(const std::string& unfinished = "");
  ~InterruptionGuard();
  InterruptionGuard(const InterruptionGuard&) = delete;
  InterruptionGuard& operator=(const InterruptionGuard&) = delete;
};

// Whether a signal has come since the guard was made.
bool Interrupted();

}  // namespace vexact::client

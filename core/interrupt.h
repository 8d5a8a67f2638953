// Why a search may stop before it is done.
#pragma once

#include <stop_token>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace vexact {

// Checked between slices of work; cheap enough for once per few hundred microseconds. Safe from any
// thread.
struct Interrupt {
  std::stop_token stop;
  absl::Time deadline = absl::InfiniteFuture();

  // OK, CANCELLED or DEADLINE_EXCEEDED.
  absl::Status Check() const {
    if (stop.stop_requested()) return absl::CancelledError("the caller cancelled the search");
    if (deadline != absl::InfiniteFuture() && absl::Now() >= deadline) {
      return absl::DeadlineExceededError("the deadline passed before the search was done");
    }
    return absl::OkStatus();
  }
};

}  // namespace vexact

// Which requests are let in, and how many are inside.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace vexact::server {

// Every request passes here first and holds a Ticket until it is answered. This is the place for
// whatever else may turn a request away before it costs anything.
//
// Thread safety: every method may be called from any thread.
class Admission {
 public:
  // The right to be carried out; move-only. Its end says that the request is over.
  class Ticket {
   public:
    Ticket() = default;
    Ticket(Ticket&& other) noexcept;
    Ticket& operator=(Ticket&& other) noexcept;
    ~Ticket();

   private:
    friend class Admission;
    explicit Ticket(Admission* admission) : admission_(admission) {}
    Admission* admission_ = nullptr;
  };

  Admission() = default;
  Admission(const Admission&) = delete;
  Admission& operator=(const Admission&) = delete;

  // UNAVAILABLE once the server is stopping.
  absl::StatusOr<Ticket> Enter();

  struct Drained {
    uint64_t finished = 0;  // requests that were running when the drain began and have ended since
    uint64_t remaining = 0;
  };
  // Lets nobody in any more and waits until all are out, or for `limit`.
  Drained Drain(absl::Duration limit);

  // Whether Drain() has begun.
  bool draining() const;

 private:
  void Leave();

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t inside_ = 0;    // guarded by mutex_
  bool draining_ = false;  // guarded by mutex_
};

// What is answered to those who come too late.
absl::Status StoppingError();

}  // namespace vexact::server

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

  // Lets nobody in any more. Returns how many are inside.
  uint64_t Close();

  // Waits until all are out, or for `limit`. Returns how many are still inside.
  uint64_t AwaitEmpty(absl::Duration limit);

  bool closed() const;

 private:
  void Leave();

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t inside_ = 0;  // guarded by mutex_
  bool closed_ = false;  // guarded by mutex_
};

// What is answered to those who come too late.
absl::Status StoppingError();

}  // namespace vexact::server

// Which requests are let in, and how many are inside.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace vexact::server {

// Every request passes here first and holds a Ticket until it is answered. This is the place for
// whatever else may turn a request away before it costs anything.
//
// A new Admission lets nobody in: the server is starting.
//
// Thread safety: every method may be called from any thread.
class Admission {
 public:
  struct Leaving {
    uint64_t bytes = 0;
    void operator()(Admission* admission) const { admission->Leave(bytes); }
  };
  // The right to be carried out. It owns no Admission: its end says that the request is over.
  using Ticket = std::unique_ptr<Admission, Leaving>;

  // `max_bytes`: of the requests inside.
  explicit Admission(uint64_t max_bytes);
  Admission(const Admission&) = delete;
  Admission& operator=(const Admission&) = delete;

  // For a request of `bytes`. UNAVAILABLE while the server is starting or stopping;
  // RESOURCE_EXHAUSTED (TryLater) when those inside have too many bytes already. One that finds
  // nobody inside is never too large.
  absl::StatusOr<Ticket> Enter(uint64_t bytes);

  // What Enter(0) would say.
  absl::Status status() const;

  // What those hear who come before Open(): how far the start is.
  void SetProgress(std::string_view progress);

  // Lets everybody in from here on, unless Close() came first; returns whether it did.
  bool Open();

  // Lets nobody in any more. Returns how many are inside.
  uint64_t Close();

  // Waits until all are out, or for `limit`. Returns how many are still inside.
  uint64_t AwaitEmpty(absl::Duration limit);

 private:
  void Leave(uint64_t bytes);

  const uint64_t max_bytes_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t inside_ = 0;  // guarded by mutex_
  uint64_t bytes_ = 0;   // of those inside; guarded by mutex_
  bool closed_ = false;  // guarded by mutex_
  absl::Status status_;  // guarded by mutex_
};

}  // namespace vexact::server

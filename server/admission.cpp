#include "server/admission.h"

#include "absl/strings/str_format.h"
#include "server/call.h"

namespace vexact::server {
namespace {

// By then some of what is in hand is done.
constexpr std::chrono::milliseconds kRetry{100};

}  // namespace

Admission::Admission(uint64_t max_bytes) : max_bytes_(max_bytes) {
  SetProgress("the store is being opened");
}

absl::StatusOr<Admission::Ticket> Admission::Enter(uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  if (!status_.ok()) return status_;
  if (inside_ > 0 && bytes_ + bytes > max_bytes_) {
    return TryLater(absl::StrFormat("the requests in hand have %d bytes, and this one has %d; "
                                    "max_request_bytes is %d",
                                    bytes_, bytes, max_bytes_),
                    kRetry);
  }
  ++inside_;
  bytes_ += bytes;
  return Ticket(this, {bytes});
}

absl::Status Admission::status() const {
  const std::lock_guard lock(mutex_);
  return status_;
}

void Admission::SetProgress(std::string_view progress) {
  const std::lock_guard lock(mutex_);
  if (!closed_)
    status_ = absl::UnavailableError(absl::StrFormat("starting: %s; try again", progress));
}

bool Admission::Open() {
  const std::lock_guard lock(mutex_);
  if (!closed_) status_ = absl::OkStatus();
  return !closed_;
}

uint64_t Admission::Close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  status_ = absl::UnavailableError("the server is stopping");
  return inside_;
}

uint64_t Admission::AwaitEmpty(absl::Duration limit) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, absl::ToChronoNanoseconds(limit), [this] { return inside_ == 0; });
  return inside_;
}

void Admission::Leave(uint64_t bytes) {
  // Notified under the lock: an AwaitEmpty() that wakes must not destroy what is still being used
  // here.
  const std::lock_guard lock(mutex_);
  --inside_;
  bytes_ -= bytes;
  changed_.notify_all();
}

}  // namespace vexact::server

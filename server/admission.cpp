#include "server/admission.h"

#include <utility>

#include "absl/status/status.h"

namespace vexact::server {

Admission::Ticket::Ticket(Ticket&& other) noexcept
    : admission_(std::exchange(other.admission_, nullptr)) {}

Admission::Ticket& Admission::Ticket::operator=(Ticket&& other) noexcept {
  std::swap(admission_, other.admission_);
  return *this;
}

Admission::Ticket::~Ticket() {
  if (admission_ != nullptr) admission_->Leave();
}

absl::StatusOr<Admission::Ticket> Admission::Enter() {
  const std::lock_guard lock(mutex_);
  if (closed_) return StoppingError();
  ++inside_;
  return Ticket(this);
}

uint64_t Admission::Close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  return inside_;
}

uint64_t Admission::AwaitEmpty(absl::Duration limit) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, absl::ToChronoNanoseconds(limit), [this] { return inside_ == 0; });
  return inside_;
}

bool Admission::closed() const {
  const std::lock_guard lock(mutex_);
  return closed_;
}

void Admission::Leave() {
  // Notified under the lock: an AwaitEmpty() that wakes must not destroy what is still being used
  // here.
  const std::lock_guard lock(mutex_);
  --inside_;
  changed_.notify_all();
}

absl::Status StoppingError() { return absl::UnavailableError("the server is stopping"); }

}  // namespace vexact::server

#include "server/admission.h"

#include <utility>

#include "absl/strings/str_format.h"

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

Admission::Admission() { SetProgress("the store is being opened"); }

absl::StatusOr<Admission::Ticket> Admission::Enter() {
  const std::lock_guard lock(mutex_);
  if (!status_.ok()) return status_;
  ++inside_;
  return Ticket(this);
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

void Admission::Leave() {
  // Notified under the lock: an AwaitEmpty() that wakes must not destroy what is still being used
  // here.
  const std::lock_guard lock(mutex_);
  --inside_;
  changed_.notify_all();
}

}  // namespace vexact::server

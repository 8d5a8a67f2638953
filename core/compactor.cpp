#include "core/compactor.h"

#include <algorithm>

#include "core/collection.h"

namespace vexact {

Compactor::Compactor() : thread_([this](const std::stop_token& stop) { Run(stop); }) {}
Compactor::~Compactor() = default;

void Compactor::Add(const std::weak_ptr<Collection>& collection) {
  std::lock_guard lock(mutex_);
  const bool waits = std::any_of(waiting_.begin(), waiting_.end(), [&](const auto& other) {
    return !other.owner_before(collection) && !collection.owner_before(other);
  });
  if (waits) return;
  waiting_.push_back(collection);
  wake_.notify_one();
}

void Compactor::Run(const std::stop_token& stop) {
  while (true) {
    std::shared_ptr<Collection> next;
    {
      std::unique_lock lock(mutex_);
      if (!wake_.wait(lock, stop, [&] { return !waiting_.empty(); })) return;
      next = waiting_.front().lock();
      waiting_.pop_front();
    }
    // Without memory for a new segment the dead rows stay; the next write that buries rows tries
    // again.
    if (next != nullptr) (void)next->Compact();
  }
}

}  // namespace vexact

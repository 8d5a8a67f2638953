#include "core/maintenance.h"

#include <algorithm>
#include <utility>

namespace vexact {

Maintenance::Maintenance(MaintenanceReport report)
    : report_(std::move(report)), thread_([this](const std::stop_token& stop) { Run(stop); }) {}
Maintenance::~Maintenance() = default;

void Maintenance::Add(const std::weak_ptr<Collection>& collection) {
  std::lock_guard lock(mutex_);
  const bool waits = std::any_of(waiting_.begin(), waiting_.end(), [&](const auto& other) {
    return !other.owner_before(collection) && !collection.owner_before(other);
  });
  if (waits) return;
  waiting_.push_back(collection);
  wake_.notify_one();
}

void Maintenance::Run(const std::stop_token& stop) {
  while (true) {
    std::shared_ptr<Collection> next;
    {
      std::unique_lock lock(mutex_);
      if (!wake_.wait(lock, stop, [&] { return !waiting_.empty(); })) return;
      next = waiting_.front().lock();
      waiting_.pop_front();
    }
    // Without memory for new codes or rows the old ones stay; the next write or search that finds
    // work tries again.
    if (next != nullptr) (void)next->Maintain(stop, report_);
  }
}

}  // namespace vexact

// The thread that keeps collections in shape in the background.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>

#include "core/collection.h"

namespace vexact {

// Thread safety: Add may be called from any thread. The destructor waits until the maintenance that
// runs has come to a point where it can be left; what still waits is dropped, which loses nothing.
class Maintenance {
 public:
  // `report` may be empty.
  explicit Maintenance(MaintenanceReport report = nullptr);
  ~Maintenance();
  Maintenance(const Maintenance&) = delete;
  Maintenance& operator=(const Maintenance&) = delete;

  // Has Collection::Maintain called soon; once, however often it is added before its turn.
  void Add(const std::weak_ptr<Collection>& collection);

 private:
  void Run(const std::stop_token& stop);

  const MaintenanceReport report_;
  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::deque<std::weak_ptr<Collection>> waiting_;  // guarded by mutex_
  std::jthread thread_;                            // last: it uses the rest
};

}  // namespace vexact

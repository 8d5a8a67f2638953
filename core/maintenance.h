// The thread that keeps collections in shape in the background.
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "core/collection.h"

namespace vexact {

// For tests: how long a collection that could not be maintained waits for its next turn, at first;
// twice as long after each further failure, up to a hundred times.
struct MaintenanceTuning {
  std::chrono::milliseconds retry{1'000};
};

// Thread safety: Add may be called from any thread. The destructor waits until the maintenance that
// runs has come to a point where it can be left; what still waits is dropped, which loses nothing.
class Maintenance {
 public:
  // `report` may be empty.
  explicit Maintenance(MaintenanceReport report = nullptr, const MaintenanceTuning& tuning = {});
  ~Maintenance();
  Maintenance(const Maintenance&) = delete;
  Maintenance& operator=(const Maintenance&) = delete;

  // Has Collection::Maintain called soon; once, however often it is added before its turn. One that
  // could not be maintained waits its time all the same.
  void Add(const std::weak_ptr<Collection>& collection);

 private:
  using Clock = std::chrono::steady_clock;
  struct Turn {
    std::weak_ptr<Collection> collection;
    Clock::time_point at;
    std::chrono::milliseconds waited{0};  // since the last failure; none when all went well
  };

  void Run(const std::stop_token& stop);
  // Waits for the next turn and takes it off the list; none when it is to stop.
  std::optional<Turn> Next(const std::stop_token& stop);
  // REQUIRES: mutex_ is held.
  Turn* Find(const std::weak_ptr<Collection>& collection);
  // The collection's next turn, after one that ended with `status`.
  void Plan(Turn turn, const Collection& collection, const absl::Status& status);

  const MaintenanceReport report_;
  const MaintenanceTuning tuning_;
  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::vector<Turn> turns_;  // guarded by mutex_; one a collection, as they came
  std::jthread thread_;      // last: it uses the rest
};

}  // namespace vexact

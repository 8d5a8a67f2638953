// The thread that keeps collections in shape in the background.
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "core/collection.h"

namespace vexact {

// For tests.
struct MaintenanceTuning {
  // How long a collection that could not be maintained waits for its next turn, at first; twice as
  // long after each further failure, up to a hundred times.
  std::chrono::milliseconds retry{1'000};
  // How long one that is written to all the time waits at most. Loading many rows would otherwise
  // share the machine with training on the first of them, and with coding them again and again.
  std::chrono::milliseconds longest_wait{10'000};
};

// Thread safety: Add may be called from any thread. The destructor waits until the maintenance that
// runs has come to a point where it can be left; what still waits is dropped, which loses nothing.
class Maintenance {
 public:
  // `report` may be empty. A full or failing disk it is told of once, however many collections wait
  // for it, until one of them has been maintained again.
  explicit Maintenance(MaintenanceReport report = nullptr, const MaintenanceTuning& tuning = {});
  ~Maintenance();
  Maintenance(const Maintenance&) = delete;
  Maintenance& operator=(const Maintenance&) = delete;

  // Has Collection::Maintain called once the collection is quiet; once, however often it is added
  // before its turn. One that could not be maintained waits its time all the same.
  void Add(const std::weak_ptr<Collection>& collection);

 private:
  using Clock = std::chrono::steady_clock;
  struct Turn {
    std::weak_ptr<Collection> collection;
    Clock::time_point at;
    std::optional<Clock::time_point> asked = std::nullopt;  // when it was added, if it was
    std::chrono::milliseconds waited{0};  // since the last failure; none when all went well
  };

  void Run(const std::stop_token& stop);
  // Puts the turn off while the collection is written to, for a while; false when it is due.
  bool Postpone(const Turn& turn, const Collection& collection);
  // Waits for the next turn and takes it off the list; none when it is to stop.
  std::optional<Turn> Next(const std::stop_token& stop);
  // REQUIRES: mutex_ is held.
  Turn* Find(const std::weak_ptr<Collection>& collection);
  // The collection's next turn, after one that ended with `status`.
  void Plan(Turn turn, const Collection& collection, const absl::Status& status);

  // Says how a turn ended, unless that is known.
  void Report(const Turn& turn, const Collection& collection, const absl::Status& status);

  const MaintenanceReport report_;
  const MaintenanceTuning tuning_;
  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::vector<Turn> turns_;  // guarded by mutex_; one a collection, as they came
  // Of the disk or the memory, of the thread alone: it concerns every collection, and is said once.
  absl::StatusCode reported_ = absl::StatusCode::kOk;
  std::jthread thread_;  // last: it uses the rest
};

}  // namespace vexact

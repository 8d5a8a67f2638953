#include "core/maintenance.h"

#include <algorithm>
#include <new>
#include <utility>

namespace vexact {
namespace {

constexpr int kMostRetries = 100;

// No failure of the background may end the process.
absl::Status Maintain(Collection& collection, const std::stop_token& stop,
                      const MaintenanceReport& report) {
  try {
    return collection.Maintain(stop, report);
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("there is no memory for it");
  }
}

}  // namespace

Maintenance::Maintenance(MaintenanceReport report, const MaintenanceTuning& tuning)
    : report_(std::move(report)),
      tuning_(tuning),
      thread_([this](const std::stop_token& stop) { Run(stop); }) {}
Maintenance::~Maintenance() = default;

void Maintenance::Add(const std::weak_ptr<Collection>& collection) {
  std::lock_guard lock(mutex_);
  const Clock::time_point now = Clock::now();
  Turn* turn = Find(collection);
  if (turn == nullptr) turn = &turns_.emplace_back(Turn{.collection = collection, .at = now});
  if (turn->waited.count() > 0 || turn->asked) return;
  turn->asked = now;
  turn->at = std::min(turn->at, now);
  wake_.notify_one();
}

Maintenance::Turn* Maintenance::Find(const std::weak_ptr<Collection>& collection) {
  const auto found = std::find_if(turns_.begin(), turns_.end(), [&](const Turn& turn) {
    return !turn.collection.owner_before(collection) && !collection.owner_before(turn.collection);
  });
  return found == turns_.end() ? nullptr : &*found;
}

void Maintenance::Run(const std::stop_token& stop) {
  while (std::optional<Turn> turn = Next(stop)) {
    const std::shared_ptr<Collection> collection = turn->collection.lock();
    if (collection == nullptr) {
      // It may be the one that was spoken of.
      if (turn->waited.count() > 0) reported_ = absl::StatusCode::kOk;
      continue;
    }
    if (Postpone(*turn, *collection)) continue;
    const absl::Status status = Maintain(*collection, stop, report_);
    if (stop.stop_requested()) return;
    Report(*turn, *collection, status);
    Plan(*std::move(turn), *collection, status);
  }
}

void Maintenance::Report(const Turn& turn, const Collection& collection,
                         const absl::Status& status) {
  if (status.ok()) {
    if (turn.waited.count() > 0) reported_ = absl::StatusCode::kOk;
    return;
  }
  if (absl::IsResourceExhausted(status) || absl::IsUnavailable(status)) {
    if (std::exchange(reported_, status.code()) == status.code()) return;
  }
  if (report_) report_(collection, {.kind = MaintenanceEvent::kFailed, .status = status});
}

bool Maintenance::Postpone(const Turn& turn, const Collection& collection) {
  using std::chrono::milliseconds;
  if (!turn.asked) return false;
  const Clock::time_point now = Clock::now();
  const auto quiet = now + milliseconds(absl::ToInt64Milliseconds(collection.QuietIn()));
  const Clock::time_point at = std::min(quiet, *turn.asked + tuning_.longest_wait);
  if (at <= now) return false;
  std::lock_guard lock(mutex_);
  Turn later = turn;
  later.at = at;
  if (Turn* const added = Find(turn.collection)) {
    *added = later;
  } else {
    turns_.push_back(later);
  }
  return true;
}

std::optional<Maintenance::Turn> Maintenance::Next(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  const auto earlier = [](const Turn& a, const Turn& b) { return a.at < b.at; };
  while (!stop.stop_requested()) {
    const auto first = std::min_element(turns_.begin(), turns_.end(), earlier);
    if (first == turns_.end()) {
      wake_.wait(lock, stop, [&] { return !turns_.empty(); });
    } else if (first->at > Clock::now()) {
      // Until then, or until an earlier turn comes.
      const auto at = first->at;
      wake_.wait_until(lock, stop, at, [&] {
        return std::any_of(turns_.begin(), turns_.end(),
                           [&](const Turn& turn) { return turn.at < at; });
      });
    } else {
      Turn next = std::move(*first);
      turns_.erase(first);
      return next;
    }
  }
  return std::nullopt;
}

void Maintenance::Plan(Turn turn, const Collection& collection, const absl::Status& status) {
  using std::chrono::milliseconds;
  std::optional<Clock::time_point> at;
  if (!status.ok()) {
    turn.waited = turn.waited.count() == 0
                      ? tuning_.retry
                      : std::min(2 * turn.waited, kMostRetries * tuning_.retry);
    at = Clock::now() + turn.waited;
  } else {
    turn.waited = milliseconds(0);
    if (const auto after = collection.MaintainAgainAfter()) {
      at = Clock::now() + milliseconds(absl::ToInt64Milliseconds(*after) + 1);
    }
  }
  if (!at) return;
  turn.at = *at;
  turn.asked.reset();
  std::lock_guard lock(mutex_);
  Turn* const added = Find(turn.collection);  // meanwhile
  if (added == nullptr) {
    turns_.push_back(std::move(turn));
  } else if (!status.ok()) {
    *added = std::move(turn);
  }
}

}  // namespace vexact

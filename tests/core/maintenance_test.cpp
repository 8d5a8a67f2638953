#include "core/maintenance.h"

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "core/collection.h"
#include "tests/core/collection_fixture.h"

namespace vexact {
namespace {

// What was reported, and a way to wait for it.
class Reports {
 public:
  MaintenanceReport report() {
    return [this](const Collection& collection, const MaintenanceEvent& event) {
      std::lock_guard lock(mutex_);
      events_.emplace_back(&collection, event.kind);
      changed_.notify_all();
    };
  }
  // Waits until so many have come: a minute is not what it takes, but what a machine under load may
  // take.
  std::vector<std::pair<const Collection*, MaintenanceEvent::Kind>> Await(size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::minutes(1), [&] { return events_.size() >= count; });
    return events_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::pair<const Collection*, MaintenanceEvent::Kind>> events_;
};

class MaintenanceTest : public CollectionTest {
 protected:
  static constexpr uint32_t kDimension = 96;

  // Rows that a layout pays for, wide along a few components.
  std::shared_ptr<Collection> MakeNarrow(uint64_t seed, uint32_t rows) {
    CollectionTuning tuning;
    tuning.segment_rows = 512;
    tuning.training_rows = rows;
    const CollectionConfig config{kDimension, Metric::kL2};
    auto collection = std::make_shared<Collection>("docs", config, workers_, nullptr, tuning);
    std::vector<Point> points = RandomPoints(seed, 0, rows, kDimension);
    for (Point& point : points) {
      for (size_t j = 8; j < kDimension; ++j) point.vector[j] *= 0.02f;
    }
    EXPECT_THAT(Upsert(*collection, points).status(), IsOk());
    return collection;
  }
};

TEST_F(MaintenanceTest, TrainsAndRecodesOneCollectionAfterAnother) {
  const auto first = MakeNarrow(1, 4'096);
  const auto second = MakeNarrow(2, 4'096);
  Reports reports;
  Maintenance maintenance(reports.report());
  maintenance.Add(first);
  maintenance.Add(second);
  maintenance.Add(first);
  const auto events = reports.Await(4);
  ASSERT_EQ(events.size(), 4);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(events[i].first, i < 2 ? first.get() : second.get());
    EXPECT_EQ(events[i].second,
              i % 2 == 0 ? MaintenanceEvent::kTrained : MaintenanceEvent::kRecoded);
  }
  for (const auto& collection : {first, second}) {
    const LayoutInfo info = collection->layout();
    EXPECT_EQ(info.trained.trained_rows, 4'096);
    EXPECT_EQ(info.coded_rows, info.rows);
  }
}

TEST_F(MaintenanceTest, PassesOverCollectionsThatAreGone) {
  Reports reports;
  Maintenance maintenance(reports.report());
  const std::weak_ptr<Collection> gone = MakeNarrow(1, 4'096);
  maintenance.Add(gone);
  maintenance.Add(std::weak_ptr<Collection>());
  const auto kept = MakeNarrow(2, 4'096);
  maintenance.Add(kept);
  const auto events = reports.Await(2);
  ASSERT_FALSE(events.empty());
  EXPECT_EQ(events.back().first, kept.get());
}

// However far it has come: what is left behind is a collection like any other.
TEST_F(MaintenanceTest, EndsInTheMiddleOfItsWork) {
  const auto collection = MakeNarrow(1, 4'096);
  const Observed before = Observe(*collection);
  for (int round = 0; round < 5; ++round) {
    Maintenance maintenance;
    maintenance.Add(collection);
    std::this_thread::sleep_for(std::chrono::milliseconds(round * round));
  }
  EXPECT_EQ(Observe(*collection), before);
  const auto q = before.points[7].vector;
  EXPECT_EQ(Search(*collection, q), oracle::TopK(Metric::kL2, before.points, q, 10));
  EXPECT_THAT(collection->Maintain(), IsOk());
  EXPECT_EQ(collection->layout().coded_rows, 4'096);
}

}  // namespace
}  // namespace vexact

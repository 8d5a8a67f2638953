// Writes to a store that is slow, fails or loses power: what is acknowledged is on the disk, what
// is not leaves no trace, and reads go on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "core/maintenance.h"
#include "core/write_group.h"
#include "tests/core/durable_fixture.h"
#include "tests/core/store_fixture.h"

namespace vexact {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint32_t kDimension = 6;
using Operation = FaultyEnv::Operation;

bool IsLog(const FaultyEnv::Call& call) { return call.path.ends_with(".log"); }

// Holds whoever comes until it is opened.
class Gate {
 public:
  void Pass() {
    std::unique_lock lock(mutex_);
    ++waiting_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return open_; });
  }
  void AwaitSomebody() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return waiting_ > 0; });
  }
  void Open() {
    std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int waiting_ = 0;
  bool open_ = false;
};

class DurableWritesTest : public DurableTest {
 protected:
  // From now on the log's syncs wait at the gate.
  void HoldSyncs(Gate& gate) {
    files_.SetJudge([&gate](const FaultyEnv::Call& call) {
      if (call.operation == Operation::kSync && IsLog(call)) gate.Pass();
      return FaultyEnv::Verdict();
    });
  }

  void FailLog(Operation operation, const rocksdb::IOStatus& status) {
    files_.SetJudge([=](const FaultyEnv::Call& call) {
      FaultyEnv::Verdict verdict;
      if (call.operation == operation && IsLog(call)) verdict.status = status;
      return verdict;
    });
  }

  // Again and again, until the store has found its way back: that may take it a second.
  absl::StatusOr<UpsertResult> UpsertUntilItWorks(Collection& collection,
                                                  const std::vector<Point>& points) {
    const auto limit = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    while (true) {
      const auto result = Upsert(collection, points);
      if (result.ok() || std::chrono::steady_clock::now() > limit) return result;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }
};

TEST_F(DurableWritesTest, NothingIsSeenBeforeItIsOnTheDisk) {
  Collection& docs = Create("docs", {kDimension, Metric::kL2});
  const std::vector<Point> old = RandomPoints(1, 0, 100, kDimension);
  ASSERT_THAT(Upsert(docs, old).status(), IsOk());
  const Observed before = Observe(docs);
  const std::vector<Point> fresh = RandomPoints(2, 50, 100, kDimension);
  Gate gate;
  HoldSyncs(gate);
  std::atomic<bool> returned = false;
  std::jthread writer([&] {
    EXPECT_THAT(Upsert(docs, fresh).status(), IsOk());
    returned = true;
  });
  gate.AwaitSomebody();
  EXPECT_FALSE(returned);
  EXPECT_EQ(Observe(docs), before);
  EXPECT_EQ(Search(docs, fresh[70].vector), oracle::TopK(Metric::kL2, old, fresh[70].vector, 10));
  EXPECT_THAT(Get(docs, {Number(149)}).status(),
              StatusIs(kNotFound, "no id 149 in collection \"docs\""));
  gate.Open();
  writer.join();
  std::vector<Point> now(old.begin(), old.begin() + 50);
  now.insert(now.end(), fresh.begin(), fresh.end());
  EXPECT_EQ(Contents(docs), now);
}

// Which writers come in time to share a sync is chance: so there are several attempts.
// Upserts and deletions in one group, refused ones among them; some groups are large enough for
// tables, some go to the log.
TEST_F(DurableWritesTest, TheStoreGetsWhatEveryWriteOfAGroupSays) {
  for (const Normalization normalization : {Normalization::kNone, Normalization::kL2}) {
    const CollectionConfig config{kDimension, Metric::kCosine, normalization};
    const std::string name(Name(normalization));
    const StoredIn stored{store_.get(), *store_->Create(name, config)};
    RowTable table(name, config, workers_, tuning_);
    const auto engine = MakeScanEngine(workers_);
    const LayoutCare care(table, *engine);
    std::map<Id, Vector> model;
    oracle::Random random(17);
    for (int round = 0; round < 40; ++round) {
      std::lock_guard writing(table.write_mutex);
      WriteGroup group(table, care, stored);
      std::vector<std::vector<Point>> requests(1 + random.Below(6));
      for (std::vector<Point>& points : requests) {
        const uint64_t first = random.Below(100);
        const uint64_t end = first + 1 + random.Below(40);
        for (uint64_t id = first; id < end; ++id) {
          points.push_back({id, random.Gaussian(kDimension)});
        }
      }
      std::vector<std::vector<PointView>> views;  // until the commit
      std::vector<std::vector<double>> dots;
      views.reserve(requests.size());
      dots.reserve(requests.size());
      for (std::vector<Point>& points : requests) {
        const bool refused = normalization == Normalization::kNone && random.Chance(0.2);
        if (refused) points.back().vector = Vector(kDimension);  // zero, under cosine
        views.push_back(Views(points));
        dots.emplace_back();
        for (const Point& point : points) {
          dots.back().push_back(oracle::Dot(point.vector, point.vector));
        }
        Write upsert(Write::Upsert{views.back(), dots.back()}, 1);
        ASSERT_EQ(group.Add(upsert).ok(), !refused);
        if (refused) continue;
        for (const auto& [id, vector] : points) {
          model[id] = normalization == Normalization::kL2 ? oracle::Normalized(vector) : vector;
        }
        if (random.Chance(0.5)) continue;
        const std::vector<IdView> gone = {views.back().front().id};
        Write deletion(Write::Delete{gone}, 1);
        ASSERT_THAT(group.Add(deletion), IsOk());
        model.erase(points.front().id);
      }
      if (!group.changed()) continue;
      ASSERT_THAT(group.Commit(), IsOk());
      group.Publish();
      const auto all = ReadAll(*store_);
      ASSERT_THAT(all.status(), IsOk());
      const auto& rows = all->at(stored.collection).rows;
      ASSERT_EQ(rows.size(), model.size());
      for (const auto& [number, row] : rows) ASSERT_EQ(row.vector, model.at(row.id)) << number;
    }
  }
}

TEST_F(DurableWritesTest, WritersThatWaitShareOneSync) {
  Collection& docs = Create("docs", {kDimension, Metric::kL2});
  constexpr uint64_t kWriters = 16;
  bool shared = false;
  for (int attempt = 0; attempt < 50 && !shared; ++attempt) {
    const StoreStatistics before = store_->statistics();
    const uint64_t sequence = docs.info().sequence;
    Gate gate;
    HoldSyncs(gate);
    std::vector<std::jthread> writers;
    for (uint64_t id = 0; id < kWriters; ++id) {
      writers.emplace_back([&, id] {
        EXPECT_THAT(Upsert(docs, {{id, Vector(kDimension, 1)}}).status(), IsOk());
      });
    }
    gate.AwaitSomebody();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    gate.Open();
    writers.clear();
    files_.SetJudge(nullptr);
    EXPECT_EQ(docs.info().sequence, sequence + kWriters) << "each has its own number";
    shared = store_->statistics().syncs - before.syncs <= kWriters / 4;
  }
  EXPECT_TRUE(shared);
  EXPECT_EQ(docs.info().rows, kWriters);
}

struct Fault {
  const char* name;
  Operation operation;
  rocksdb::IOStatus status;
  absl::StatusCode code;
};

void PrintTo(const Fault& fault, std::ostream* out) { *out << fault.name; }

class FailingWritesTest : public DurableWritesTest, public ::testing::WithParamInterface<Fault> {};

INSTANTIATE_TEST_SUITE_P(
    , FailingWritesTest,
    ::testing::Values(Fault{"FullDisk", Operation::kAppend, rocksdb::IOStatus::NoSpace(),
                            absl::StatusCode::kResourceExhausted},
                      Fault{"WriteError", Operation::kAppend, rocksdb::IOStatus::IOError(),
                            absl::StatusCode::kUnavailable},
                      Fault{"SyncError", Operation::kSync, rocksdb::IOStatus::IOError(),
                            absl::StatusCode::kUnavailable}),
    [](const auto& instance) { return std::string(instance.param.name); });

TEST_P(FailingWritesTest, LeaveNoTraceAndLaterOnesWork) {
  Collection& docs = Create("docs", {kDimension, Metric::kL2});
  const std::vector<Point> old = RandomPoints(1, 0, 150, kDimension);
  ASSERT_THAT(Upsert(docs, old).status(), IsOk());
  const Observed before = Observe(docs);
  const MemoryUse memory = docs.memory();

  FailLog(GetParam().operation, GetParam().status);
  const auto fails = StatusIs(GetParam().code, HasSubstr(options_.directory));
  for (int round = 0; round < 3; ++round) {
    std::vector<std::jthread> writers;
    for (uint64_t i = 0; i < 6; ++i) {
      writers.emplace_back([&, i] {
        // Some replace, some add, some do both and need new segments.
        std::vector<Point> points = RandomPoints(10 + i, 40 * i, 90, kDimension);
        points.push_back({"text " + std::to_string(i), Vector(kDimension)});
        EXPECT_THAT(Upsert(docs, points).status(), fails);
        EXPECT_THAT(Delete(docs, Range(i, 20 + i)).status(), fails);
        EXPECT_THAT(docs.SetMetric(Metric::kInnerProduct), fails);
      });
    }
    writers.clear();
    EXPECT_EQ(Observe(docs), before);
    EXPECT_EQ(Search(docs, old[3].vector), oracle::TopK(Metric::kL2, old, old[3].vector, 10));
  }
  EXPECT_EQ(docs.memory().rows_bytes, memory.rows_bytes);
  EXPECT_EQ(docs.memory().ids_bytes, memory.ids_bytes);
  // A write that is refused is told so by the collection, not by the disk.
  EXPECT_THAT(Upsert(docs, {{Number(1), {1}}}).status(), StatusIs(kInvalid, HasSubstr("row 0")));

  files_.SetJudge(nullptr);
  const std::vector<Point> fresh = RandomPoints(3, 100, 100, kDimension);
  const auto written = UpsertUntilItWorks(docs, fresh);
  ASSERT_THAT(written.status(), IsOk());
  EXPECT_EQ(written->added, 50);
  EXPECT_EQ(written->replaced, 50);
  EXPECT_EQ(written->sequence, before.sequence + 1);
  ASSERT_THAT(Delete(docs, Range(0, 10)).status(), IsOk());
  std::vector<Point> now(old.begin() + 10, old.begin() + 100);
  now.insert(now.end(), fresh.begin(), fresh.end());
  EXPECT_EQ(Contents(docs), now);
  Reopen();
  EXPECT_EQ(Contents(Of("docs")), now);
  EXPECT_EQ(Of("docs").info().sequence, before.sequence + 2);
  EXPECT_EQ(Of("docs").info().config.metric, Metric::kL2);
  EXPECT_EQ(Search(Of("docs"), fresh[3].vector),
            oracle::TopK(Metric::kL2, now, fresh[3].vector, 10));
}

// Each writer replaces all of its rows in every write, so that its rows say which write they are
// of.
TEST_F(DurableWritesTest, AfterAPowerCutEveryWriterFindsItsLastAcknowledgedWriteOrTheNext) {
  constexpr uint64_t kRows = 25;
  constexpr int kWriters = 4;
  const auto points_of = [](int writer, uint64_t version) {
    std::vector<Point> points;
    for (uint64_t i = 0; i < kRows; ++i) {
      const uint64_t number = 100 * static_cast<uint64_t>(writer) + i;
      const Id id = i % 2 == 0 ? Id(number) : Id(std::to_string(number));
      points.push_back({id, Vector(kDimension, static_cast<float>(version))});
    }
    return points;
  };
  std::mt19937_64 random(1);
  Create("docs", {kDimension, Metric::kL2});
  std::vector<uint64_t> acknowledged(kWriters, 0);
  for (int cut = 0; cut < 5; ++cut) {
    SCOPED_TRACE(cut);
    const std::vector<uint64_t> had = acknowledged;
    {
      std::vector<std::jthread> writers;
      std::atomic<uint64_t> writes = 0;
      for (int writer = 0; writer < kWriters; ++writer) {
        writers.emplace_back([&, writer] {
          while (Upsert(Of("docs"), points_of(writer, acknowledged[writer] + 1)).ok()) {
            ++acknowledged[writer];
            ++writes;
          }
        });
      }
      const uint64_t until = 20 + random() % 100;
      while (writes < until) std::this_thread::yield();
      files_.Stop();
    }
    collections_.clear();
    store_.reset();
    files_.LosePower(random);
    Reopen();
    ASSERT_FALSE(HasFatalFailure());
    for (int writer = 0; writer < kWriters; ++writer) {
      const uint64_t last = acknowledged[writer];
      std::vector<Id> ids;
      for (const Point& point : points_of(writer, 1)) ids.push_back(point.id);
      const auto stored = Get(Of("docs"), ids);
      ASSERT_THAT(stored.status(), IsOk());
      ASSERT_THAT(Owned(*stored), AnyOf(points_of(writer, last), points_of(writer, last + 1)));
      acknowledged[writer] = static_cast<uint64_t>(stored->points[0].vector()[0]);
    }
    EXPECT_EQ(Of("docs").info().rows, kRows * kWriters);
  }
}

// ------------------------------------------------------------------------------------- background

// Waits until `happened()`: a minute is not what it takes, but what a machine under load may take.
template <typename Happened>
bool Await(const Happened& happened) {
  const auto limit = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  while (!happened()) {
    if (std::chrono::steady_clock::now() > limit) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

// A disk that fails concerns all collections: it is reported once, and each tries again.
TEST_F(DurableWritesTest, TheBackgroundSaysOnceWhatFailedAndTriesAgain) {
  const std::filesystem::path in_the_way = CodesPath(options_.directory);
  std::ofstream(in_the_way) << "not a folder";
  constexpr CollectionConfig kConfig{kDimension, Metric::kL2};
  const auto make = [&](const std::string& name, const StoredIn& stored) {
    auto made = std::make_shared<Collection>(name, kConfig, workers_, nullptr, tuning_, stored);
    EXPECT_THAT(Upsert(*made, RandomPoints(1, 0, 130, kDimension)).status(), IsOk());
    return made;
  };
  std::vector<std::shared_ptr<Collection>> durable;
  for (const std::string name : {"docs", "more"}) {
    durable.push_back(make(name, {store_.get(), *store_->Create(name, kConfig)}));
  }
  std::mutex mutex;
  std::vector<MaintenanceEvent> events;
  Maintenance maintenance(
      [&](const Collection&, const MaintenanceEvent& event) {
        std::lock_guard lock(mutex);
        events.push_back(event);
      },
      {.retry = std::chrono::milliseconds(5)});
  for (const auto& collection : durable) maintenance.Add(collection);
  EXPECT_TRUE(Await([&] {
    std::lock_guard lock(mutex);
    return !events.empty();
  }));
  std::this_thread::sleep_for(std::chrono::milliseconds(200));  // for what should not be said
  std::filesystem::remove(in_the_way);
  for (const auto& collection : durable) {
    EXPECT_TRUE(Await([&] { return collection->MaintainAgainAfter() == std::nullopt; }));
  }
  std::lock_guard lock(mutex);
  ASSERT_EQ(events.size(), 1);
  EXPECT_EQ(events[0].kind, MaintenanceEvent::kFailed);
  EXPECT_THAT(events[0].status, StatusIs(absl::StatusCode::kUnavailable,
                                         HasSubstr("cannot make " + in_the_way.string())));
}

}  // namespace
}  // namespace vexact

// What a collection holds: its figures, and how it gives up dead rows.
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "tests/core/collection_fixture.h"

namespace vexact {
namespace {

// -------------------------------------------------------------------------------------- statistics

TEST_F(CollectionTest, NormsAreThoseOfTheLiveRows) {
  const auto collection = Make(2, Metric::kL2);
  EXPECT_EQ(collection->Norms().max, 0);
  EXPECT_EQ(collection->Norms().mean, 0);
  ASSERT_THAT(Upsert(*collection, {{Number(1), {3, 4}},
                                   {Number(2), {0.6f, 0.8f}},
                                   {Number(3), {0, 0}},
                                   {Number(4), {0, 1.0009f}},
                                   {Number(5), {0, 1.0011f}},
                                   {Number(6), {300, 400}},
                                   {Number(7), {1e30f, 0}}})
                  .status(),
              IsOk());
  ASSERT_THAT(Upsert(*collection, {{Number(6), {6, 8}}}).status(), IsOk());
  ASSERT_THAT(Delete(*collection, {Number(7)}).status(), IsOk());
  const NormStatistics norms = collection->Norms();
  EXPECT_EQ(norms.min, 0);
  EXPECT_EQ(norms.max, 10);
  EXPECT_NEAR(norms.mean, (5 + 1 + 0 + 1.0009 + 1.0011 + 10) / 6, 1e-6);
  EXPECT_EQ(norms.unit_rows, 2);
  EXPECT_EQ(norms.zero_rows, 1);
}

TEST_F(CollectionTest, MemoryFiguresFollowTheRows) {
  const auto collection = Make(100);
  const MemoryUse empty = collection->memory();
  EXPECT_EQ(empty.rows_bytes, 0);
  EXPECT_EQ(empty.ids_bytes, 0);
  ASSERT_THAT(Upsert(*collection, RandomPoints(14, 0, 5'000, 100)).status(), IsOk());
  const MemoryUse numbers = collection->memory();
  EXPECT_EQ(numbers.rows_bytes, 5'000 * 100 * sizeof(float));
  EXPECT_GE(numbers.codes_bytes, 5'000 * 100);
  EXPECT_LE(numbers.codes_bytes, 5'000 * 200);
  // 9 bytes in the column and some 24 to 40 in the index.
  EXPECT_GE(numbers.ids_bytes, 5'000 * 30);
  EXPECT_LE(numbers.ids_bytes, 5'000 * 80);
  EXPECT_LE(numbers.overhead_bytes, 5'000 * 64);
  std::vector<Point> texts;
  for (size_t i = 0; i < 1'000; ++i) {
    texts.push_back({std::string(400, 'x') + std::to_string(i), Vector(100, 1)});
  }
  ASSERT_THAT(Upsert(*collection, texts).status(), IsOk());
  const MemoryUse both = collection->memory();
  EXPECT_EQ(both.rows_bytes, 6'000 * 100 * sizeof(float));
  // Once in the column, once in the index.
  EXPECT_GE(both.ids_bytes - numbers.ids_bytes, 1'000 * 800);
  EXPECT_LE(both.ids_bytes - numbers.ids_bytes, 1'000 * 1'200);
}

// Bytes of the machine's memory that this process holds now.
uint64_t ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  uint64_t pages = 0, resident = 0;
  statm >> pages >> resident;
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

TEST_F(CollectionTest, CodesAndBookkeepingAddAThirdToTheVectors) {
  constexpr uint32_t kDimension = 768;
  constexpr uint64_t kRows = 40'000;
  const std::vector<Point> some = RandomPoints(15, 0, 1'000, kDimension);
  const auto collection = Make(kDimension);
  const uint64_t before = ResidentBytes();
  for (uint64_t first = 0; first < kRows; first += some.size()) {
    std::vector<PointView> views;
    for (uint64_t i = 0; i < some.size(); ++i) views.push_back({first + i, some[i].vector});
    ASSERT_THAT(collection->Upsert(views).status(), IsOk());
  }
  [[maybe_unused]] const uint64_t held = ResidentBytes() - before;
  const MemoryUse memory = collection->memory();
  const uint64_t beside = memory.codes_bytes + memory.ids_bytes + memory.overhead_bytes;
  EXPECT_EQ(memory.rows_bytes, kRows * kDimension * sizeof(float));
  EXPECT_LE(static_cast<double>(beside), 0.35 * static_cast<double>(memory.rows_bytes));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  // What is accounted for is what is held, give or take a huge page per column of the last segment.
  EXPECT_NEAR(static_cast<double>(held), static_cast<double>(memory.rows_bytes + beside), 24e6);
  EXPECT_LE(static_cast<double>(held), 1.35 * static_cast<double>(memory.rows_bytes) + 24e6);
#endif
}

// -------------------------------------------------------------------------------------- compaction

TEST_F(CollectionTest, CompactionChangesNothingThatACallerCanSee) {
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    SCOPED_TRACE(seed);
    oracle::Random random(seed);
    const auto collection =
        Make(6, Metric::kL2, Normalization::kNone, SegmentsOf(32 + 16 * random.Below(6)));
    std::map<Id, Vector> model;
    for (int round = 0; round < 30; ++round) {
      std::vector<Point> points;
      for (const uint64_t id : std::set<uint64_t>{random.Below(400), random.Below(400),
                                                  random.Below(400), random.Below(400)}) {
        for (uint64_t i = 0; i < 10; ++i) points.push_back({10 * id + i, random.Gaussian(6)});
      }
      ASSERT_THAT(Upsert(*collection, points).status(), IsOk());
      for (const Point& point : points) model[point.id] = point.vector;
      std::vector<Id> gone;
      for (const auto& [id, vector] : model) {
        if (random.Chance(0.2)) gone.push_back(id);
      }
      if (!gone.empty()) {
        ASSERT_THAT(Delete(*collection, gone).status(), IsOk());
      }
      for (const Id& id : gone) model.erase(id);

      const Observed before = Observe(*collection);
      const auto given_up = collection->Compact();
      ASSERT_THAT(given_up.status(), IsOk());
      Observed after = Observe(*collection);
      EXPECT_EQ(after.dead_rows, before.dead_rows - *given_up);
      after.dead_rows = before.dead_rows;
      EXPECT_EQ(after, before);
      const std::vector<Point> points_now(after.points);
      ASSERT_EQ(points_now.size(), model.size());
      for (const Point& point : points_now) ASSERT_EQ(point.vector, model.at(point.id));
      const Vector q = random.Gaussian(6);
      for (const EngineKind engine : ExactEngines()) {
        ASSERT_EQ(Search(*collection, q, {.k = 25, .engine = engine}),
                  oracle::TopK(Metric::kL2, points_now, q, 25));
      }
    }
  }
}

TEST_F(CollectionTest, CompactionGivesUpDeadRowsAndTheirMemory) {
  const auto collection = Make(4, Metric::kL2, Normalization::kNone, SegmentsOf(128));
  ASSERT_THAT(Upsert(*collection, RandomPoints(15, 0, 1'024, 4)).status(), IsOk());
  ASSERT_THAT(Delete(*collection, Range(100, 1'024)).status(), IsOk());
  EXPECT_EQ(collection->info().dead_rows, 924);
  const auto given_up = collection->Compact();
  ASSERT_THAT(given_up.status(), IsOk());
  EXPECT_GE(*given_up, 896) << "all but what the first segment may keep";
  EXPECT_EQ(collection->info().dead_rows, 924 - *given_up);
  EXPECT_LE(collection->memory().rows_bytes, 128 * 4 * sizeof(float));
  EXPECT_EQ(*collection->Compact(), 0) << "there is nothing left to do";
}

TEST_F(CollectionTest, CompactionLeavesFewDeadRowsAlone) {
  const auto collection = Make(4, Metric::kL2, Normalization::kNone, SegmentsOf(128));
  ASSERT_THAT(Upsert(*collection, RandomPoints(16, 0, 256, 4)).status(), IsOk());
  ASSERT_THAT(Delete(*collection, Range(0, 32)).status(), IsOk());
  EXPECT_EQ(*collection->Compact(), 0);
  ASSERT_THAT(Delete(*collection, {Number(32)}).status(), IsOk());
  EXPECT_EQ(*collection->Compact(), 33);
}

// The small segments of a collection's beginning must not stand in the way of the large ones.
TEST_F(CollectionTest, CompactionReachesEveryFullSegmentWithManyDeadRows) {
  const auto collection = Make(1, Metric::kL2, Normalization::kNone, SegmentsOf(10'000));
  // Segments of 1,024, 1,024, 2,048, 4,096 and 8,192 rows.
  ASSERT_THAT(Upsert(*collection, RandomPoints(17, 0, 16'384, 1)).status(), IsOk());
  ASSERT_THAT(Delete(*collection, Range(8'192, 10'322)).status(), IsOk());  // 26 % of the last
  EXPECT_EQ(*collection->Compact(), 2'130);
  EXPECT_EQ(collection->info().dead_rows, 0);
}

TEST_F(CollectionTest, AWriteThatFillsALargeSegmentSaysSo) {
  int reports = 0;
  Collection collection(
      "docs", {.dimension = 1'024, .metric = Metric::kL2}, workers_, [&] { ++reports; },
      SegmentsOf(1'024));
  ASSERT_THAT(Upsert(collection, RandomPoints(19, 0, 1'000, 1'024)).status(), IsOk());
  EXPECT_EQ(reports, 0);
  ASSERT_THAT(Upsert(collection, RandomPoints(20, 1'000, 24, 1'024)).status(), IsOk());
  EXPECT_EQ(reports, 1) << "4 MiB of rows are to be moved into huge pages";
  const auto before = Contents(collection);
  ASSERT_THAT(collection.Maintain(), IsOk());
  EXPECT_EQ(Contents(collection), before);
}

TEST_F(CollectionTest, AWriteThatLeavesGarbageSaysSo) {
  int reports = 0;
  Collection collection(
      "docs", {.dimension = 1, .metric = Metric::kL2}, workers_, [&] { ++reports; },
      SegmentsOf(32));
  ASSERT_THAT(Upsert(collection, RandomPoints(18, 0, 100, 1)).status(), IsOk());
  EXPECT_EQ(reports, 0);
  ASSERT_THAT(Delete(collection, Range(0, 8)).status(), IsOk());
  EXPECT_EQ(reports, 0) << "a quarter may be dead";
  ASSERT_THAT(Delete(collection, {Number(8)}).status(), IsOk());
  EXPECT_EQ(reports, 1);
  EXPECT_EQ(*collection.Compact(), 9);
  ASSERT_THAT(Upsert(collection, RandomPoints(19, 32, 20, 1)).status(), IsOk());
  EXPECT_EQ(reports, 2) << "replacing rows buries them too";
}

TEST_F(CollectionTest, ZeroRowsAreRememberedThroughCompaction) {
  const auto collection = Make(1, Metric::kL2, Normalization::kNone, SegmentsOf(32));
  std::vector<Point> points = RandomPoints(20, 0, 64, 1);
  points[31].vector = {0};
  ASSERT_THAT(Upsert(*collection, points).status(), IsOk());
  ASSERT_THAT(Delete(*collection, Range(0, 30)).status(), IsOk());
  ASSERT_GT(*collection->Compact(), 0);
  EXPECT_THAT(collection->SetMetric(Metric::kCosine), StatusIs(kPrecondition, StoresZero("31")));
  ASSERT_THAT(Delete(*collection, {Number(31)}).status(), IsOk());
  EXPECT_THAT(collection->SetMetric(Metric::kCosine), IsOk());
}

}  // namespace
}  // namespace vexact

// Layouts of a collection: when they are trained, what is coded anew and when, what is told of it,
// and that no answer ever depends on them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <latch>
#include <memory>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "core/collection.h"
#include "tests/core/collection_fixture.h"
#include "tests/exactness/layouts.h"

namespace vexact {
namespace {

using testing::Each;
using testing::Le;

// Points wide along `wide` of their components from `first_wide` on, narrow along the others: what
// a layout is for.
std::vector<Point> NarrowPoints(uint64_t seed, uint64_t first, size_t count, size_t dimension,
                                size_t first_wide = 0, size_t wide = 8) {
  std::vector<Point> points = RandomPoints(seed, first, count, dimension);
  for (Point& point : points) {
    for (size_t j = 0; j < dimension; ++j) {
      if (j < first_wide || j >= first_wide + wide) point.vector[j] *= 0.02f;
    }
  }
  return points;
}

std::shared_ptr<const Layout> AnyLayout(uint32_t dimension, uint64_t seed) {
  Random random(seed);
  std::vector<Vector> rows;
  for (const Point& point : RandomPoints(seed, 0, 20, dimension)) rows.push_back(point.vector);
  return MakeLayout(AnyForm(rows, random), random);
}

// A layout that the trainer did not choose.
TrainedLayout Untrained(std::shared_ptr<const Layout> layout) {
  TrainedLayout trained;
  trained.layout = std::move(layout);
  return trained;
}

class CollectionLayoutTest : public CollectionTest {
 protected:
  static constexpr uint32_t kDimension = 96;

  std::unique_ptr<Collection> Make(uint32_t segment_rows, uint32_t training_rows,
                                   uint32_t dimension = kDimension) {
    CollectionTuning tuning;
    tuning.segment_rows = segment_rows;
    tuning.training_rows = training_rows;
    return std::make_unique<Collection>(
        "docs", CollectionConfig{dimension, Metric::kL2}, workers_, [this] { ++reports_; }, tuning);
  }

  void Store(Collection& collection, const std::vector<Point>& points) {
    ASSERT_THAT(Upsert(collection, points).status(), IsOk());
    for (const Point& point : points) model_[point.id] = point.vector;
  }

  void Remove(Collection& collection, const std::vector<Id>& ids) {
    ASSERT_THAT(Delete(collection, ids).status(), IsOk());
    for (const Id& id : ids) model_.erase(id);
  }

  // One query alone and eight together, under every metric.
  void ExpectRightAnswers(const Collection& collection, const std::string& when) {
    SCOPED_TRACE(when);
    std::vector<Point> points;
    for (const auto& [id, vector] : model_) points.push_back({id, vector});
    for (const Metric metric : kMetrics) {
      for (const size_t count : {1u, 8u}) {
        std::vector<Query> queries;
        for (size_t q = 0; q < count; ++q) {
          queries.push_back(
              {.target = std::span<const float>(points[q * points.size() / count].vector)});
        }
        const auto result = collection.Search(queries, {.k = 20, .metric = metric});
        ASSERT_THAT(result.status(), IsOk());
        for (size_t q = 0; q < count; ++q) {
          ASSERT_EQ(
              Owned(result->hits[q]),
              oracle::TopK(metric, points, std::get<std::span<const float>>(queries[q].target), 20))
              << Name(metric) << ", query " << q << " of " << count;
        }
      }
    }
  }

  // Searches for rows of `points`, each for its ten nearest.
  void SearchFor(const Collection& collection, const std::vector<Point>& points, size_t count) {
    for (size_t i = 0; i < count; ++i) {
      (void)Search(collection, points[i * 7 % points.size()].vector, {.k = 10});
    }
  }

  int reports_ = 0;
  std::map<Id, Vector> model_;
};

// --------------------------------------------------------------------------------------- training

TEST_F(CollectionLayoutTest, IsTrainedOnceThereAreEnoughRows) {
  const auto collection = Make(512, 1'500);
  Store(*collection, NarrowPoints(1, 0, 1'400, kDimension));
  EXPECT_EQ(reports_, 0);
  ASSERT_THAT(collection->Maintain(), IsOk());
  EXPECT_EQ(collection->layout().trained.trained_rows, 0);
  EXPECT_FALSE(collection->layout().trained.layout->has_basis());
  ExpectRightAnswers(*collection, "before training");

  Store(*collection, NarrowPoints(2, 1'400, 600, kDimension));
  EXPECT_GE(reports_, 1) << "a write that makes a collection large enough says so";
  ASSERT_THAT(collection->Maintain(), IsOk());
  const LayoutInfo info = collection->layout();
  EXPECT_EQ(info.trained.trained_rows, 2'000);
  EXPECT_TRUE(info.trained.layout->has_basis());
  EXPECT_LT(info.trained.layout->alone_row_bytes(), kDimension);
  EXPECT_EQ(info.rows, 2'000);
  EXPECT_EQ(info.coded_rows, info.rows) << "every segment is coded anew";
  ExpectRightAnswers(*collection, "after training");

  reports_ = 0;
  Store(*collection, NarrowPoints(3, 2'000, 100, kDimension));
  EXPECT_EQ(reports_, 0) << "nothing more to do";
  const auto layout = info.trained.layout;
  ASSERT_THAT(collection->Maintain(), IsOk());
  EXPECT_EQ(collection->layout().trained.layout, layout);
  ExpectRightAnswers(*collection, "with rows that came later");
}

TEST_F(CollectionLayoutTest, IsTrainedAgainAfterFourfoldGrowth) {
  const auto collection = Make(1'024, 500);
  // Whether maintenance trained a layout, be it to keep the one in use.
  const auto trains = [&] {
    bool trained = false;
    EXPECT_THAT(collection->Maintain({},
                                     [&](const Collection&, const MaintenanceEvent& event) {
                                       trained |= event.kind != MaintenanceEvent::kRecoded;
                                     }),
                IsOk());
    return trained;
  };
  Store(*collection, NarrowPoints(1, 0, 512, kDimension));
  EXPECT_TRUE(trains());
  ASSERT_EQ(collection->layout().trained.trained_rows, 512);
  Store(*collection, NarrowPoints(2, 512, 3 * 512 - 1, kDimension));
  reports_ = 0;
  EXPECT_FALSE(trains());
  Store(*collection, NarrowPoints(3, 5'000, 1, kDimension));
  EXPECT_EQ(reports_, 1);
  EXPECT_TRUE(trains());
  EXPECT_FALSE(trains()) << "once is enough";
  ExpectRightAnswers(*collection, "after growth");
}

// Searches notice that the layout no longer fits.
TEST_F(CollectionLayoutTest, IsTrainedAgainWhenTheDataHasDrifted) {
  const auto collection = Make(1'024, 2'000);
  const std::vector<Point> first = NarrowPoints(1, 0, 2'000, kDimension);
  Store(*collection, first);
  ASSERT_THAT(collection->Maintain(), IsOk());
  const auto before = collection->layout().trained.layout;
  ASSERT_TRUE(before->has_basis());
  reports_ = 0;
  SearchFor(*collection, first, 300);
  EXPECT_EQ(reports_, 0);

  // The same ids, wide in other directions, and not a row more.
  const std::vector<Point> second = NarrowPoints(2, 0, 2'000, kDimension, 60, 30);
  Store(*collection, second);
  reports_ = 0;
  SearchFor(*collection, second, 600);
  EXPECT_GE(reports_, 1) << "a search that sees the drift says so";
  ASSERT_THAT(collection->Maintain(), IsOk());
  EXPECT_NE(collection->layout().trained.layout, before);
  ExpectRightAnswers(*collection, "after drift");
}

TEST_F(CollectionLayoutTest, StaysWhatItIsWhereNoOtherPays) {
  const auto collection = Make(512, 0);
  Store(*collection, RandomPoints(1, 0, 1'000, kDimension));
  const auto trained = collection->TrainLayout();
  ASSERT_THAT(trained.status(), IsOk());
  EXPECT_FALSE(*trained);
  const LayoutInfo info = collection->layout();
  EXPECT_FALSE(info.trained.layout->has_basis());
  EXPECT_EQ(info.trained.trained_rows, 1'000) << "it was looked at";
  EXPECT_FALSE(info.trained.forecast.passed.empty());
}

TEST_F(CollectionLayoutTest, IsNotTrainedOnNextToNothing) {
  const auto collection = Make(512, 0);
  EXPECT_THAT(collection->TrainLayout().status(),
              StatusIs(kPrecondition,
                       "collection \"docs\" has 0 rows; a layout is trained on at least 16"));
  Store(*collection, NarrowPoints(1, 0, 15, kDimension));
  EXPECT_THAT(collection->TrainLayout().status(),
              StatusIs(kPrecondition,
                       "collection \"docs\" has 15 rows; a layout is trained on at least 16"));
  Store(*collection, NarrowPoints(2, 15, 1, kDimension));
  EXPECT_THAT(collection->TrainLayout().status(), IsOk());
}

TEST_F(CollectionLayoutTest, TrainingThatIsStoppedChangesNothing) {
  const auto collection = Make(512, 0);
  Store(*collection, NarrowPoints(1, 0, 1'000, kDimension));
  const auto before = collection->layout().trained.layout;
  std::stop_source stop;
  stop.request_stop();
  EXPECT_THAT(collection->TrainLayout(stop.get_token()).status(),
              StatusIs(absl::StatusCode::kCancelled, "the server is stopping"));
  EXPECT_EQ(collection->layout().trained.layout, before);
  EXPECT_EQ(collection->layout().trained.trained_rows, 0);
  EXPECT_TRUE(*collection->TrainLayout());
}

// Dead rows are no sample: what is stored is.
TEST_F(CollectionLayoutTest, IsTrainedOnLiveRowsAlone) {
  const auto collection = Make(4'096, 0);
  Store(*collection, RandomPoints(1, 0, 1'000, kDimension));
  Store(*collection, NarrowPoints(2, 1'000, 1'000, kDimension));
  Remove(*collection, Range(0, 1'000));
  ASSERT_THAT(collection->TrainLayout().status(), IsOk());
  const LayoutInfo info = collection->layout();
  EXPECT_EQ(info.trained.trained_rows, 1'000);
  ASSERT_TRUE(info.trained.layout->has_basis());
  EXPECT_GT(info.trained.energy[7], 0.9) << "eight directions are wide";
}

TEST_F(CollectionLayoutTest, MaintenanceTellsWhatItDid) {
  const auto collection = Make(512, 4'000);
  std::vector<MaintenanceEvent::Kind> kinds;
  std::vector<uint64_t> rows;
  const MaintenanceReport report = [&](const Collection& of, const MaintenanceEvent& event) {
    EXPECT_EQ(of.name(), "docs");
    kinds.push_back(event.kind);
    rows.push_back(event.rows);
  };
  Store(*collection, NarrowPoints(1, 0, 3'900, kDimension));
  ASSERT_THAT(collection->Maintain({}, report), IsOk());
  EXPECT_TRUE(kinds.empty());
  Store(*collection, NarrowPoints(2, 3'900, 196, kDimension));
  ASSERT_THAT(collection->Maintain({}, report), IsOk());
  EXPECT_EQ(kinds, (std::vector{MaintenanceEvent::kTrained, MaintenanceEvent::kRecoded}));
  EXPECT_EQ(rows, (std::vector<uint64_t>{4'096, 4'096}));
}

// --------------------------------------------------------------------------------------- recoding

TEST_F(CollectionLayoutTest, NewRowsTakeTheNewLayoutAndOldOnesWait) {
  const auto collection = Make(256, 0, 24);
  Store(*collection, RandomPoints(1, 0, 512, 24));
  collection->SetLayout(Untrained(AnyLayout(24, 1)));
  EXPECT_EQ(collection->layout().coded_rows, 0);
  EXPECT_EQ(collection->layout().rows, 512);
  Store(*collection, RandomPoints(2, 512, 256, 24));
  EXPECT_EQ(collection->layout().coded_rows, 256);
  ExpectRightAnswers(*collection, "under two layouts");
  ASSERT_THAT(collection->Recode(), IsOk());
  EXPECT_EQ(collection->layout().coded_rows, 768);
  ExpectRightAnswers(*collection, "under one");
}

TEST_F(CollectionLayoutTest, RecodingChangesNothingElse) {
  const auto collection = Make(300, 0, 40);
  Store(*collection, RandomPoints(1, 0, 1'000, 40));
  Remove(*collection, Range(100, 250));
  const Observed before = Observe(*collection);
  const MemoryUse memory = collection->memory();
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    const auto layout = AnyLayout(40, seed);
    SCOPED_TRACE(Describe(*layout));
    collection->SetLayout(Untrained(layout));
    ASSERT_THAT(collection->Recode(), IsOk());
    EXPECT_EQ(Observe(*collection), before);
    const MemoryUse after = collection->memory();
    EXPECT_EQ(after.rows_bytes, memory.rows_bytes);
    EXPECT_EQ(after.ids_bytes, memory.ids_bytes);
    EXPECT_EQ(after.overhead_bytes, memory.overhead_bytes);
    EXPECT_EQ(after.codes_bytes, 1'000 * layout->code_bytes()) << "the old codes are gone";
  }
}

// Layouts that fit nothing that is stored: each search is merely slow.
TEST_F(CollectionLayoutTest, AWrongLayoutGivesRightAnswers) {
  for (uint64_t seed = 1; seed <= 25; ++seed) {
    const auto collection = Make(128, 0, 32);
    model_.clear();
    const auto layout = AnyLayout(32, 100 + seed);
    SCOPED_TRACE(Describe(*layout));
    Store(*collection,
          seed % 2 == 0 ? RandomPoints(seed, 0, 300, 32) : NarrowPoints(seed, 0, 300, 32));
    collection->SetLayout(Untrained(layout));
    ASSERT_THAT(collection->Recode(), IsOk());
    ExpectRightAnswers(*collection, "wrong layout");
  }
}

// The first segment is small enough to be coded between two looks at whether to stop.
TEST_F(CollectionLayoutTest, RecodingThatIsStoppedKeepsWhatIsDone) {
  const auto collection = Make(1'024, 0, 16);
  Store(*collection, RandomPoints(1, 0, 2'048, 16));
  Remove(*collection, Range(0, 924));
  ASSERT_THAT(collection->Compact().status(), IsOk());
  Store(*collection, RandomPoints(2, 5'000, 2'000, 16));
  collection->SetLayout(Untrained(AnyLayout(16, 3)));
  const uint64_t coded = collection->layout().coded_rows;
  std::stop_source stop;
  stop.request_stop();
  const absl::Status stopped = collection->Recode(stop.get_token());
  EXPECT_THAT(stopped, StatusIs(absl::StatusCode::kCancelled, "the server is stopping"));
  const LayoutInfo info = collection->layout();
  EXPECT_EQ(info.coded_rows, coded + 96) << "the 100 rows that are left of the first segment";
  EXPECT_LT(info.coded_rows, info.rows);
  ExpectRightAnswers(*collection, "half-way");
  ASSERT_THAT(collection->Recode(), IsOk());
  EXPECT_EQ(collection->layout().coded_rows, collection->layout().rows);
  ExpectRightAnswers(*collection, "in the end");
}

// ------------------------------------------------------------------------------- what is told of
// it

TEST_F(CollectionLayoutTest, TellsWhatSearchesSaw) {
  const auto collection = Make(512, 1'000);
  const std::vector<Point> points = NarrowPoints(1, 0, 2'000, kDimension);
  Store(*collection, points);
  ASSERT_THAT(collection->Maintain(), IsOk());
  EXPECT_EQ(collection->layout().searches, 0);
  EXPECT_TRUE(collection->layout().observed_passed.empty());
  SearchFor(*collection, points, 40);
  const LayoutInfo info = collection->layout();
  EXPECT_EQ(info.searches, 40);
  ASSERT_EQ(info.observed_passed.size(), info.trained.layout->levels());
  EXPECT_THAT(info.observed_passed, Each(Le(1.0)));
  EXPECT_TRUE(std::is_sorted(info.observed_passed.rbegin(), info.observed_passed.rend()));
  EXPECT_GT(info.observed_passed[0], 0) << "at least the answers pass";
  EXPECT_LT(info.observed_passed[0], 0.5) << "it was trained for these rows";
  const auto first_pass = static_cast<double>(2'000 * info.trained.layout->alone_row_bytes());
  EXPECT_GE(info.observed_bytes, first_pass);
  EXPECT_LT(info.observed_bytes, 2'000 * sizeof(float) * kDimension);
  collection->SetLayout(Untrained(AnyLayout(kDimension, 1)));
  EXPECT_EQ(collection->layout().searches, 0) << "a new layout starts anew";
}

TEST_F(CollectionLayoutTest, AnAnswerTellsWhatItRead) {
  const auto collection = Make(512, 1'000);
  const std::vector<Point> points = NarrowPoints(1, 0, 2'000, kDimension);
  Store(*collection, points);
  for (const bool trained : {false, true}) {
    if (trained) {
      ASSERT_THAT(collection->Maintain(), IsOk());
    }
    for (const size_t count : {1u, 8u}) {
      std::vector<Query> queries(count, {.target = std::span<const float>(points[0].vector)});
      const auto result = collection->Search(queries, {.k = 10});
      ASSERT_THAT(result.status(), IsOk());
      EXPECT_EQ(result->rows_compared, 2'000);
      const SearchStatistics& read = result->statistics;
      EXPECT_GE(read.rows_rescored, 10 * count) << "an answer is always scored";
      EXPECT_LT(read.rows_rescored, 2'000 * count);
      EXPECT_LE(read.rows_refined, 2'000 * count);
      uint64_t rows = 0;
      for (const auto& use : read.layouts) {
        rows += use.rows;
        for (const uint64_t passed : use.passed) EXPECT_LE(passed, use.rows);
        EXPECT_TRUE(std::is_sorted(use.passed.rbegin(), use.passed.rend()));
      }
      EXPECT_EQ(rows, 2'000 * count);
      EXPECT_GT(read.bytes_read, 0);
      EXPECT_LT(read.bytes_read, 2'000 * count * sizeof(float) * kDimension);
    }
  }
}

}  // namespace
}  // namespace vexact

// Searches while rows are added, replaced and deleted, segments compacted, and all of them coded
// under one layout after another: each answer is that of its snapshot, to the bit.
#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <memory>
#include <thread>
#include <vector>

#include "core/collection.h"
#include "tests/core/harness.h"
#include "tests/exactness/layouts.h"

namespace vexact {
namespace {

using Vector = std::vector<float>;

constexpr uint32_t kDimension = 24;
constexpr uint64_t kIds = 1'200;

// The live rows of a state, read row by row.
std::vector<Point> LiveRows(const CollectionState& state) {
  std::vector<Point> points;
  for (const CollectionState::Part& part : state.parts) {
    for (uint32_t row = 0; row < part.rows; ++row) {
      if (!part.segment->IsLive(row, state.sequence)) continue;
      const auto vector = part.segment->vector(row);
      points.push_back({Own(part.segment->id(row)), {vector.begin(), vector.end()}});
    }
  }
  return points;
}

class RecodingTest : public testing::Test {
 protected:
  RecodingTest() {
    CollectionTuning tuning;
    // Larger than what is coded at a time, so that rows come and go while a segment is coded.
    tuning.segment_rows = 600;
    collection_ = std::make_unique<Collection>("docs", CollectionConfig{kDimension, Metric::kL2},
                                               workers_, nullptr, tuning);
    Random random(1);
    std::vector<Vector> rows;
    oracle::Random normal(2);
    for (int i = 0; i < 20; ++i) rows.push_back(normal.Gaussian(kDimension));
    layouts_ = {
        Layout::Identity(kDimension),
        MakeLayout({.dimension = kDimension,
                    .first_width = 16,
                    .sketch = true,
                    .basis = Basis::kWhole,
                    .center = rows[0],
                    .longest = 100},
                   random),
        MakeLayout({.dimension = kDimension, .first_width = 8, .basis = Basis::kLeading}, random)};
  }

  void Write(uint64_t seed) {
    oracle::Random random(seed);
    while (searchers_left_ > 0) {
      std::map<Id, Vector> points;
      for (uint64_t i = 1 + random.Below(80); i > 0; --i) {
        points[random.Below(kIds)] = random.Gaussian(kDimension);
      }
      std::vector<PointView> views;
      for (const auto& [id, vector] : points) views.push_back({View(id), vector});
      ASSERT_THAT(collection_->Upsert(views).status(), IsOk());
      std::set<Id> gone;
      for (uint64_t i = random.Below(60); i > 0; --i) gone.insert(random.Below(kIds));
      if (!gone.empty()) {
        ASSERT_THAT(Delete(*collection_, {gone.begin(), gone.end()}).status(), IsOk());
      }
      std::this_thread::yield();
    }
  }

  void Search(uint64_t seed) {
    oracle::Random random(seed);
    const int recoded = recoded_;
    // Long enough to have met every layout on its way in.
    for (int i = 0; (i < kSearches || recoded_ < recoded + 6) && !HasFatalFailure(); ++i) {
      std::vector<Vector> vectors;
      // Alone or in tiles.
      for (uint64_t q = random.Chance(0.5) ? 1 : 1 + random.Below(8); q > 0; --q) {
        vectors.push_back(random.Gaussian(kDimension));
      }
      std::vector<Query> queries;
      for (const Vector& vector : vectors) {
        queries.push_back({.target = std::span<const float>(vector)});
      }
      const Metric metric = kMetrics[random.Below(3)];
      const auto k = static_cast<uint32_t>(1 + random.Below(20));
      const auto result = collection_->Search(queries, {.k = k, .metric = metric});
      ASSERT_THAT(result.status(), IsOk());
      const std::vector<Point> points = LiveRows(*result->snapshot);
      ASSERT_EQ(points.size(), result->rows_compared);
      for (size_t q = 0; q < vectors.size(); ++q) {
        ASSERT_EQ(Owned(result->hits[q]), oracle::TopK(metric, points, vectors[q], k))
            << "sequence " << result->snapshot->sequence << ", " << Name(metric) << ", k " << k;
      }
    }
  }

  void Recode() {
    for (size_t i = 0; searchers_left_ > 0; ++i) {
      TrainedLayout next;
      next.layout = layouts_[i % layouts_.size()];
      collection_->SetLayout(std::move(next));
      ASSERT_THAT(collection_->Recode(), IsOk());
      ++recoded_;
    }
  }

  void Compact() {
    while (searchers_left_ > 0) {
      ASSERT_THAT(collection_->Compact().status(), IsOk());
      (void)collection_->layout();
      (void)collection_->memory();
      std::this_thread::yield();
    }
  }

  static constexpr int kSearches = 60;
  static constexpr int kSearchers = 2;

  Workers workers_{2};
  std::unique_ptr<Collection> collection_;
  std::vector<std::shared_ptr<const Layout>> layouts_;
  std::atomic<int> searchers_left_ = kSearchers;
  std::atomic<int> recoded_ = 0;
};

TEST_F(RecodingTest, AnswersAreThoseOfTheirSnapshots) {
  std::vector<Point> points;
  oracle::Random random(3);
  for (uint64_t id = 0; id < kIds; ++id) points.push_back({id, random.Gaussian(kDimension)});
  ASSERT_THAT(Upsert(*collection_, points).status(), IsOk());
  {
    std::latch start(kSearchers + 3);
    std::vector<std::jthread> threads;
    const auto run = [&](auto work) {
      threads.emplace_back([&start, work] {
        start.arrive_and_wait();
        work();
      });
    };
    for (int searcher = 0; searcher < kSearchers; ++searcher) {
      run([this, searcher] {
        Search(10 + static_cast<uint64_t>(searcher));
        --searchers_left_;
      });
    }
    run([this] { Write(20); });
    run([this] { Recode(); });
    run([this] { Compact(); });
  }
  // And when all is quiet, every row is coded under the last of them.
  ASSERT_THAT(collection_->Recode(), IsOk());
  const LayoutInfo info = collection_->layout();
  EXPECT_EQ(info.coded_rows, info.rows);
}

}  // namespace
}  // namespace vexact

#include "core/engine.h"

#include <gtest/gtest.h>

#include <array>
#include <map>
#include <memory>
#include <set>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "core/kernel/kernel.h"
#include "tests/core/harness.h"

namespace vexact {
namespace {

using Vector = std::vector<float>;

Workers& WorkersOf(int threads) {
  static std::array<Workers, 4> workers = {Workers(1), Workers(2), Workers(3), Workers(4)};
  return workers.at(static_cast<size_t>(threads - 1));
}

TEST(EngineKind, NamesAreThoseOfTheContract) {
  EXPECT_EQ(Name(EngineKind::kScan), "scan");
  EXPECT_EQ(Name(EngineKind::kReference), "reference");
  EXPECT_EQ(Name(EngineKind::kFaiss), "faiss");
  for (const EngineKind kind : kEngineKinds) EXPECT_EQ(ParseEngineKind(Name(kind)), kind);
  for (const char* wrong : {"", "Scan", "flat"}) EXPECT_EQ(ParseEngineKind(wrong), std::nullopt);
}

std::unique_ptr<Collection> MakeCollection(uint32_t dimension, Metric metric, int threads = 2,
                                           const CollectionTuning& tuning = {}) {
  return std::make_unique<Collection>("docs", CollectionConfig{dimension, metric},
                                      WorkersOf(threads), nullptr, tuning);
}

std::vector<Point> GaussianPoints(uint64_t seed, size_t count, size_t dimension) {
  oracle::Random random(seed);
  std::vector<Point> points;
  for (uint64_t id = 0; id < count; ++id) points.push_back({id, random.Gaussian(dimension)});
  return points;
}

// Views of `vectors`.
std::vector<Query> ByVector(std::vector<Vector>&& vectors) = delete;
std::vector<Query> ByVector(const std::vector<Vector>& vectors) {
  std::vector<Query> queries;
  for (const Vector& vector : vectors)
    queries.push_back({.target = std::span<const float>(vector)});
  return queries;
}

// ------------------------------------------------------------------------------------ exact
// engines

bool IsZero(const Vector& vector) { return oracle::Dot(vector, vector) == 0; }

// A collection with a history, and the plain list of what must be in it.
class History {
 public:
  explicit History(uint64_t seed)
      : random_(seed), maker_(oracle::Makers()[random_.Below(oracle::Makers().size())]) {
    constexpr uint32_t kDimensions[] = {1, 2, 3, 5, 15, 16, 17, 63, 64, 65, 100, 127, 200, 384};
    dimension_ = kDimensions[random_.Below(std::size(kDimensions))];
    threads_ = 1 + static_cast<int>(random_.Below(4));
    CollectionTuning tuning;
    if (random_.Chance(0.7)) tuning.segment_rows = 16 * static_cast<uint32_t>(1 + random_.Below(8));
    uint32_t first_width = dimension_;
    if (random_.Chance(0.5)) first_width = 1 + static_cast<uint32_t>(random_.Below(dimension_));
    tuning.layout = Layout::Identity(dimension_, first_width);
    if (random_.Chance(0.5)) tuning.scan.pending_limit = 1 + random_.Below(40);
    const auto kernels = RunnableKernels();
    tuning.scan.kernel = kernels[random_.Below(kernels.size())];
    collection_ = MakeCollection(dimension_, Metric::kL2, threads_, tuning);
    name_ = std::string(maker_.name) + ", dimension " + std::to_string(dimension_) +
            ", first slab " + std::to_string(first_width) + ", segments of " +
            std::to_string(tuning.segment_rows) + ", pending limit " +
            std::to_string(tuning.scan.pending_limit) + ", " + std::to_string(threads_) +
            " threads, " + std::string(tuning.scan.kernel->isa);
  }

  const std::string& name() const { return name_; }
  Collection& collection() { return *collection_; }
  oracle::Random& random() { return random_; }

  // Adds, replaces, deletes and perhaps compacts.
  void Write() {
    std::map<Id, Vector> batch;
    const uint64_t count = 1 + random_.Below(150);
    for (uint64_t i = 0; i < count; ++i) batch[AnyId()] = AnyRow();
    std::vector<Point> points;
    for (const auto& [id, vector] : batch) points.push_back({id, vector});
    ASSERT_THAT(Upsert(*collection_, points).status(), IsOk());
    for (const Point& point : points) model_[point.id] = point.vector;
    std::set<Id> gone;
    for (uint64_t i = random_.Below(60); i > 0; --i) gone.insert(AnyId());
    if (!gone.empty()) {
      ASSERT_THAT(Delete(*collection_, {gone.begin(), gone.end()}).status(), IsOk());
      for (const Id& id : gone) model_.erase(id);
    }
    if (random_.Chance(0.3)) {
      ASSERT_THAT(collection_->Compact().status(), IsOk());
    }
  }

  std::vector<Point> points() const {
    std::vector<Point> points;
    for (const auto& [id, vector] : model_) points.push_back({id, vector});
    return points;
  }

  // Like the rows, or one of them, or its opposite.
  Vector AnyQuery() {
    if (random_.Chance(0.5) || model_.empty()) return NonZero();
    auto row = model_.begin();
    std::advance(row, static_cast<ptrdiff_t>(random_.Below(model_.size())));
    Vector q = row->second;
    if (random_.Chance(0.3)) {
      for (float& component : q) component = -component;
    }
    return q;
  }

 private:
  Id AnyId() {
    const uint64_t number = random_.Below(300);
    if (random_.Chance(0.5)) return number;
    return std::to_string(number);
  }
  Vector NonZero() {
    for (;;) {
      Vector vector = maker_.make(random_, dimension_);
      if (!IsZero(vector)) return vector;
    }
  }
  // Often the same as another row, so that there are ties.
  Vector AnyRow() {
    if (!model_.empty() && random_.Chance(0.2)) return model_.begin()->second;
    return NonZero();
  }

  oracle::Random random_;
  const oracle::Maker& maker_;
  uint32_t dimension_;
  int threads_;
  std::string name_;
  std::unique_ptr<Collection> collection_;
  std::map<Id, Vector> model_;
};

class ExactEngine : public testing::TestWithParam<EngineKind> {};

TEST_P(ExactEngine, IsTheOracleBitForBitAfterAnyHistory) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    History history(seed);
    SCOPED_TRACE("seed " + std::to_string(seed) + ": " + history.name());
    for (int round = 0; round < 4; ++round) {
      history.Write();
      if (testing::Test::HasFatalFailure()) return;
      const std::vector<Point> points = history.points();
      std::vector<Vector> vectors;
      for (uint64_t i = 1 + history.random().Below(4); i > 0; --i) {
        vectors.push_back(history.AnyQuery());
      }
      const auto k = static_cast<uint32_t>(
          history.random().Chance(0.1) ? 10'000 : 1 + history.random().Below(40));
      for (const Metric metric : kMetrics) {
        if (metric == Metric::kCosine && std::any_of(vectors.begin(), vectors.end(), IsZero)) {
          continue;
        }
        const auto result = history.collection().Search(
            ByVector(vectors), {.k = k, .metric = metric, .engine = GetParam()});
        ASSERT_THAT(result.status(), IsOk());
        ASSERT_EQ(result->rows_compared, points.size());
        for (size_t q = 0; q < vectors.size(); ++q) {
          ASSERT_EQ(Owned(result->hits[q]), oracle::TopK(metric, points, vectors[q], k))
              << Name(metric) << ", k " << k << ", query " << q << " of " << vectors.size();
        }
      }
    }
  }
}

// Rows for which every shortcut must fail: all of them are as near as the others, or nearly.
TEST_P(ExactEngine, SurvivesRowsThatNoBoundCanPart) {
  for (const int threads : {1, 3}) {
    const auto collection = MakeCollection(24, Metric::kL2, threads);
    oracle::Random random(21);
    const Vector base = random.Gaussian(24);
    std::vector<Point> points;
    for (uint64_t id = 0; id < 3'000; ++id) {
      points.push_back({id, base});
      // One unit in the last place of one component.
      if (id % 3 == 0) points.back().vector[id % 24] = std::nextafterf(base[id % 24], 9);
    }
    ASSERT_THAT(Upsert(*collection, points).status(), IsOk());
    for (const Metric metric : kMetrics) {
      for (const Vector& q : {base, random.Gaussian(24)}) {
        for (const uint32_t k : {1, 10, 1'000}) {
          EXPECT_EQ(Search(*collection, q, {.k = k, .metric = metric, .engine = GetParam()}),
                    oracle::TopK(metric, points, q, k))
              << Name(metric) << ", k " << k;
        }
      }
    }
  }
}

TEST_P(ExactEngine, GivesTheSameBitsOnAnyNumberOfThreadsAndInAnyBatch) {
  const std::vector<Point> points = GaussianPoints(22, 5'000, 48);
  oracle::Random random(23);
  std::vector<Vector> vectors;
  for (int i = 0; i < 70; ++i) vectors.push_back(random.Gaussian(48));
  for (int threads = 1; threads <= 4; ++threads) {
    const auto collection = MakeCollection(48, Metric::kCosine, threads);
    ASSERT_THAT(Upsert(*collection, points).status(), IsOk());
    const auto batch = collection->Search(ByVector(vectors), {.k = 20, .engine = GetParam()});
    ASSERT_THAT(batch.status(), IsOk());
    for (size_t q = 0; q < vectors.size(); ++q) {
      const auto expected = oracle::TopK(Metric::kCosine, points, vectors[q], 20);
      ASSERT_EQ(Owned(batch->hits[q]), expected) << threads << " threads, query " << q;
      if (q % 10 == 0) {
        ASSERT_EQ(Search(*collection, vectors[q], {.k = 20, .engine = GetParam()}), expected);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(, ExactEngine, testing::ValuesIn(ExactEngines()),
                         [](const auto& instance) { return std::string(Name(instance.param)); });

// ------------------------------------------------------------------------------------- every
// engine

class EveryEngine : public testing::TestWithParam<EngineKind> {};

INSTANTIATE_TEST_SUITE_P(, EveryEngine, testing::ValuesIn(kEngineKinds),
                         [](const auto& instance) { return std::string(Name(instance.param)); });

TEST_P(EveryEngine, FindsWellSeparatedNeighboursWithExactScores) {
  const std::vector<Point> points = GaussianPoints(24, 3'000, 32);
  const auto collection = MakeCollection(32, Metric::kL2);
  ASSERT_THAT(Upsert(*collection, points).status(), IsOk());
  oracle::Random random(25);
  std::vector<Vector> vectors;
  for (int i = 0; i < 90; ++i) vectors.push_back(random.Gaussian(32));
  for (const Metric metric : kMetrics) {
    const auto result =
        collection->Search(ByVector(vectors), {.k = 100, .metric = metric, .engine = GetParam()});
    ASSERT_THAT(result.status(), IsOk());
    for (size_t q = 0; q < vectors.size(); ++q) {
      ASSERT_EQ(Owned(result->hits[q]), oracle::TopK(metric, points, vectors[q], 100))
          << Name(metric) << ", query " << q;
    }
  }
}

TEST_P(EveryEngine, SeesRowsThatCameAndWentAfterItsFirstSearch) {
  const std::vector<Point> points = GaussianPoints(26, 3'000, 8);
  const auto collection = MakeCollection(8, Metric::kL2);
  const Vector q = oracle::Random(27).Gaussian(8);
  std::vector<Point> stored;
  for (size_t end = 500; end <= 3'000; end += 500) {
    const std::vector<Point> some(points.begin() + static_cast<ptrdiff_t>(end - 500),
                                  points.begin() + static_cast<ptrdiff_t>(end));
    ASSERT_THAT(Upsert(*collection, some).status(), IsOk());
    stored.insert(stored.end(), some.begin(), some.end());
    for (const Metric metric : kMetrics) {
      const SearchOptions options{.k = 10, .metric = metric, .engine = GetParam()};
      ASSERT_EQ(Search(*collection, q, options), oracle::TopK(metric, stored, q, 10));
    }
    // The nearest ones go.
    std::set<Id> gone;
    for (const Hit& hit : oracle::TopK(Metric::kL2, stored, q, 5)) gone.insert(hit.id);
    ASSERT_THAT(Delete(*collection, {gone.begin(), gone.end()}).status(), IsOk());
    std::erase_if(stored, [&](const Point& point) { return gone.contains(point.id); });
    for (const Metric metric : kMetrics) {
      const SearchOptions options{.k = 10, .metric = metric, .engine = GetParam()};
      ASSERT_EQ(Search(*collection, q, options), oracle::TopK(metric, stored, q, 10));
    }
  }
}

TEST_P(EveryEngine, DeadRowsDoNotCrowdOutLiveOnes) {
  const auto collection = MakeCollection(1, Metric::kL2);
  std::vector<Point> points;  // two segments of 1,024 rows
  for (uint64_t id = 0; id < 2'048; ++id) points.push_back({id, {static_cast<float>(id)}});
  ASSERT_THAT(Upsert(*collection, points).status(), IsOk());
  std::vector<Id> nearest;
  for (uint64_t id = 0; id < 40; ++id) nearest.emplace_back(id);
  ASSERT_THAT(Delete(*collection, nearest).status(), IsOk());
  points.erase(points.begin(), points.begin() + 40);
  EXPECT_EQ(Search(*collection, {0}, {.k = 10, .engine = GetParam()}),
            oracle::TopK(Metric::kL2, points, Vector{0}, 10));
}

// Scores beyond float32: whatever selects the rows, none may be lost, named twice or scored wrong.
TEST_P(EveryEngine, LosesNoRowToOverflow) {
  for (const char* name : {"huge", "one huge component", "any finite bits", "denormals"}) {
    const auto maker =
        std::find_if(oracle::Makers().begin(), oracle::Makers().end(),
                     [&](const auto& other) { return other.name == std::string(name); });
    oracle::Random random(28);
    std::map<Id, Vector> rows;
    std::vector<Point> points;
    for (uint64_t id = 0; id < 600; ++id) {
      points.push_back({id, id % 2 == 0 ? maker->make(random, 6) : random.Gaussian(6)});
      rows[id] = points.back().vector;
    }
    const auto collection = MakeCollection(6, Metric::kL2);
    ASSERT_THAT(Upsert(*collection, points).status(), IsOk());
    for (int i = 0; i < 5; ++i) {
      const Vector q = i % 2 == 0 ? maker->make(random, 6) : random.Gaussian(6);
      for (const Metric metric : kMetrics) {
        for (const uint32_t k : {1, 10, 250, 600, 1'000}) {
          SCOPED_TRACE(std::string(name) + ", " + std::string(Name(metric)) + ", k " +
                       std::to_string(k));
          const auto hits =
              Search(*collection, q, {.k = k, .metric = metric, .engine = GetParam()});
          ASSERT_EQ(hits.size(), std::min<size_t>(k, 600));
          std::set<Id> ids;
          for (const Hit& hit : hits) {
            ASSERT_TRUE(ids.insert(hit.id).second) << "named twice";
            ASSERT_EQ(oracle::Bits(hit.score),
                      oracle::Bits(oracle::Score(metric, q, rows[hit.id])));
          }
          if (k >= 600) {
            ASSERT_EQ(hits, oracle::TopK(metric, points, q, k));
          }
        }
      }
    }
  }
}

TEST_P(EveryEngine, SearchesOfManyThreadsDoNotDisturbEachOther) {
  const std::vector<Point> points = GaussianPoints(29, 2'500, 16);
  for (int threads = 1; threads <= 3; ++threads) {
    const auto collection = MakeCollection(16, Metric::kInnerProduct, threads);
    ASSERT_THAT(Upsert(*collection, points).status(), IsOk());
    std::vector<std::jthread> callers;
    for (uint64_t caller = 0; caller < 5; ++caller) {
      callers.emplace_back([&, caller] {
        oracle::Random random(30 + caller);
        for (int i = 0; i < 6; ++i) {
          const Vector q = random.Gaussian(16);
          const Metric metric = kMetrics[random.Below(3)];
          ASSERT_EQ(Search(*collection, q, {.k = 15, .metric = metric, .engine = GetParam()}),
                    oracle::TopK(metric, points, q, 15));
        }
      });
    }
  }
}

TEST_P(EveryEngine, StopsWhenTheCallerHasGone) {
  const std::vector<Point> points = GaussianPoints(31, 2'000, 8);
  const auto collection = MakeCollection(8, Metric::kL2);
  ASSERT_THAT(Upsert(*collection, points).status(), IsOk());
  const Vector q = {1, 2, 3, 4, 5, 6, 7, 8};
  const std::vector<Vector> vectors(3, q);
  const std::vector<Query> queries = ByVector(vectors);
  const SearchOptions options{.k = 5, .engine = GetParam()};
  std::stop_source stop;
  stop.request_stop();
  EXPECT_THAT(collection->Search(queries, options, {.stop = stop.get_token()}).status(),
              StatusIs(absl::StatusCode::kCancelled, "the caller cancelled the search"));
  EXPECT_THAT(
      collection->Search(queries, options, {.stop = {}, .deadline = absl::InfinitePast()}).status(),
      StatusIs(absl::StatusCode::kDeadlineExceeded,
               "the deadline passed before the search was done"));
  // Neither leaves anything behind.
  const auto result =
      collection->Search(queries, options, {.stop = {}, .deadline = absl::Now() + absl::Hours(1)});
  ASSERT_THAT(result.status(), IsOk());
  for (const auto& hits : result->hits) {
    EXPECT_EQ(Owned(hits), oracle::TopK(Metric::kL2, points, q, 5));
  }
}

// An answer is whole or there is none, whenever the stop comes.
TEST_P(EveryEngine, AStoppedSearchNeverGivesHalfAnAnswer) {
  const std::vector<Point> points = GaussianPoints(32, 4'000, 64);
  const auto collection = MakeCollection(64, Metric::kInnerProduct);
  ASSERT_THAT(Upsert(*collection, points).status(), IsOk());
  oracle::Random random(33);
  std::vector<Vector> vectors;
  std::vector<std::vector<Hit>> expected;
  for (int i = 0; i < 20; ++i) {
    vectors.push_back(random.Gaussian(64));
    expected.push_back(oracle::TopK(Metric::kInnerProduct, points, vectors.back(), 10));
  }
  const std::vector<Query> queries = ByVector(vectors);
  for (int delay = 0; delay < 40; ++delay) {
    std::stop_source stop;
    std::jthread stopper([&stop, delay] {
      std::this_thread::sleep_for(std::chrono::microseconds(100 * delay));
      stop.request_stop();
    });
    const auto result =
        collection->Search(queries, {.k = 10, .engine = GetParam()}, {.stop = stop.get_token()});
    if (!result.ok()) {
      ASSERT_THAT(result.status(), StatusIs(absl::StatusCode::kCancelled, testing::_));
      continue;
    }
    for (size_t q = 0; q < queries.size(); ++q) ASSERT_EQ(Owned(result->hits[q]), expected[q]);
  }
}

}  // namespace
}  // namespace vexact

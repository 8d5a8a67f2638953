// What searches of a collection answer and refuse: limits, ties, normalization, zero vectors.
#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "core/collection.h"
#include "tests/core/collection_fixture.h"

namespace vexact {
namespace {

using namespace std::string_literals;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::StartsWith;

// -------------------------------------------------------------------------------------- searching

TEST_F(CollectionTest, AnswersByHandInTwoDimensions) {
  const auto collection = Make(2);
  ASSERT_THAT(
      Upsert(*collection,
             {{"east", {2, 0}}, {"north", {0, 1}}, {"west", {-1, 0}}, {"northeast", {3, 4}}})
          .status(),
      IsOk());
  for (const EngineKind engine : kEngineKinds) {
    SCOPED_TRACE(Name(engine));
    EXPECT_THAT(Search(*collection, {1, 0}, {.metric = Metric::kInnerProduct, .engine = engine}),
                ElementsAre(Hit{"northeast", 3}, Hit{"east", 2}, Hit{"north", 0}, Hit{"west", -1}));
    EXPECT_THAT(
        Search(*collection, {1, 0}, {.metric = Metric::kCosine, .engine = engine}),
        ElementsAre(Hit{"east", 1}, Hit{"northeast", 0.6}, Hit{"north", 0}, Hit{"west", -1}));
    EXPECT_THAT(Search(*collection, {1, 0}, {.metric = Metric::kL2, .engine = engine}),
                ElementsAre(Hit{"east", 1}, Hit{"north", 2}, Hit{"west", 4}, Hit{"northeast", 20}));
  }
}

TEST_F(CollectionTest, AnswersTellWhatTheyAreAnAnswerTo) {
  const auto collection = Make(2, Metric::kL2);
  ASSERT_THAT(Upsert(*collection, RandomPoints(1, 0, 30, 2)).status(), IsOk());
  ASSERT_THAT(Delete(*collection, {Number(3)}).status(), IsOk());
  const Vector q = {1, 1};
  const Query query{.target = std::span<const float>(q)};
  const auto own = collection->Search({&query, 1}, {.k = 4});
  ASSERT_THAT(own.status(), IsOk());
  EXPECT_EQ(own->metric, Metric::kL2);
  EXPECT_EQ(own->rows_compared, 29);
  EXPECT_EQ(own->snapshot->sequence, 2);
  EXPECT_EQ(own->hits.front().size(), 4);
  const auto other = collection->Search({&query, 1}, {.metric = Metric::kCosine});
  ASSERT_THAT(other.status(), IsOk());
  EXPECT_EQ(other->metric, Metric::kCosine);
  EXPECT_EQ(collection->info().config.metric, Metric::kL2) << "an override is for one search";
}

TEST_F(CollectionTest, SetMetricChangesOrderAndLosesNothing) {
  const auto collection = Make(8, Metric::kCosine);
  const std::vector<Point> points = RandomPoints(2, 0, 200, 8);
  ASSERT_THAT(Upsert(*collection, points).status(), IsOk());
  const Vector q = oracle::Random(3).Gaussian(8);
  for (const Metric metric : {Metric::kL2, Metric::kInnerProduct, Metric::kCosine, Metric::kL2}) {
    ASSERT_THAT(collection->SetMetric(metric), IsOk());
    EXPECT_EQ(collection->info().config.metric, metric);
    EXPECT_EQ(Search(*collection, q), oracle::TopK(metric, points, q, 10)) << Name(metric);
  }
  EXPECT_EQ(Contents(*collection), points);
}

TEST_F(CollectionTest, ABatchAnswersEachQueryInItsPlace) {
  const auto collection = Make(5);
  const std::vector<Point> points = RandomPoints(4, 0, 300, 5);
  ASSERT_THAT(Upsert(*collection, points).status(), IsOk());
  std::vector<Query> queries;
  for (size_t i = 0; i < 100; ++i) {
    if (i % 2 == 0) {
      queries.push_back({.target = std::span<const float>(points[i].vector)});
    } else {
      queries.push_back({.target = points[i].id, .exclude_self = i % 4 == 1});
    }
  }
  for (const EngineKind engine : kEngineKinds) {
    const auto result = collection->Search(queries, {.k = 7, .engine = engine});
    ASSERT_THAT(result.status(), IsOk());
    ASSERT_EQ(result->hits.size(), 100);
    for (size_t i = 0; i < 100; ++i) {
      std::vector<Point> among = points;
      if (i % 4 == 1) among.erase(among.begin() + static_cast<ptrdiff_t>(i));
      EXPECT_EQ(Owned(result->hits[i]),
                oracle::TopK(Metric::kInnerProduct, among, points[i].vector, 7))
          << Name(engine) << ", query " << i;
    }
  }
}

TEST_F(CollectionTest, ExcludeSelfLeavesOutTheRowButNotItsTwin) {
  const auto collection = Make(2, Metric::kL2);
  ASSERT_THAT(
      Upsert(*collection, {{Number(1), {1, 1}}, {Number(2), {1, 1}}, {Number(3), {2, 2}}}).status(),
      IsOk());
  for (const EngineKind engine : kEngineKinds) {
    const Query with{.target = Id(Number(2))};
    const Query without{.target = Id(Number(2)), .exclude_self = true};
    EXPECT_THAT(Owned(collection->Search({&with, 1}, {.engine = engine})->hits[0]),
                ElementsAre(Hit{Number(1), 0}, Hit{Number(2), 0}, Hit{Number(3), 2}));
    EXPECT_THAT(Owned(collection->Search({&without, 1}, {.engine = engine})->hits[0]),
                ElementsAre(Hit{Number(1), 0}, Hit{Number(3), 2}));
  }
}

TEST_F(CollectionTest, TheOnlyRowWithoutItselfHasNoNeighbours) {
  const auto collection = Make(2);
  ASSERT_THAT(Upsert(*collection, {{"only", {1, 1}}}).status(), IsOk());
  const Query query{.target = Id("only"), .exclude_self = true};
  for (const EngineKind engine : kEngineKinds) {
    const auto result = collection->Search({&query, 1}, {.engine = engine});
    ASSERT_THAT(result.status(), IsOk());
    EXPECT_TRUE(result->hits[0].empty()) << Name(engine);
  }
}

TEST_F(CollectionTest, RefusesQueriesThatMakeNoSense) {
  const auto collection = Make(3, Metric::kL2);
  ASSERT_THAT(Upsert(*collection, {{Number(1), {1, 2, 3}}}).status(), IsOk());
  EXPECT_THAT(SearchStatus(*collection, {1, 2}),
              StatusIs(kInvalid, "query 0 has 2 components; collection \"docs\" has 3 dimensions"));
  EXPECT_THAT(SearchStatus(*collection, {1, 2, kNan}),
              StatusIs(kInvalid, "query 0: component 2 is NaN; vectors must be finite"));
  EXPECT_THAT(SearchStatus(*collection, {-kInfinity, 2, 3}),
              StatusIs(kInvalid, "query 0: component 0 is -infinity; vectors must be finite"));
  EXPECT_THAT(SearchStatus(*collection, Query{.target = Id("who")}),
              StatusIs(kNotFound, "query 0: no id \"who\" in collection \"docs\""));
  const Vector good = {1, 2, 3};
  EXPECT_THAT(
      SearchStatus(*collection,
                   Query{.target = std::span<const float>(good), .exclude_self = true}),
      StatusIs(kInvalid,
               "query 0 has exclude_self but names no id; only a stored row can be left out"));
  const std::vector<Query> second_is_bad = {{.target = std::span<const float>(good)},
                                            {.target = std::span<const float>(good).first(1)}};
  EXPECT_THAT(collection->Search(second_is_bad, {}).status(),
              StatusIs(kInvalid, "query 1 has 1 components; collection \"docs\" has 3 dimensions"));
}

TEST_F(CollectionTest, KHasLimits) {
  const auto collection = Make(1);
  EXPECT_THAT(SearchStatus(*collection, {1}, {.k = 0}),
              StatusIs(kInvalid, "k is 0; it must be 1 to 10000"));
  EXPECT_THAT(SearchStatus(*collection, {1}, {.k = 10'001}),
              StatusIs(kInvalid, "k is 10001; it must be 1 to 10000"));
  EXPECT_THAT(SearchStatus(*collection, {1}, {.k = 10'000}), IsOk());
}

TEST_F(CollectionTest, BatchesHaveLimits) {
  const auto collection = Make(1);
  ASSERT_THAT(Upsert(*collection, RandomPoints(5, 0, 40, 1)).status(), IsOk());
  const Vector q = {1};
  std::vector<Query> queries(4'097, Query{.target = std::span<const float>(q)});
  EXPECT_THAT(collection->Search(queries, {}).status(),
              StatusIs(kInvalid, "the request has 4097 queries; it must have 1 to 4096"));
  EXPECT_THAT(collection->Search({}, {}).status(),
              StatusIs(kInvalid, "the request has 0 queries; it must have 1 to 4096"));
  queries.pop_back();
  const auto largest = collection->Search(queries, {.k = 1});
  ASSERT_THAT(largest.status(), IsOk());
  EXPECT_EQ(largest->hits.size(), 4'096);
}

TEST_F(CollectionTest, MoreThanThereAreReturnsAll) {
  const auto collection = Make(3);
  const std::vector<Point> points = RandomPoints(6, 0, 50, 3);
  ASSERT_THAT(Upsert(*collection, points).status(), IsOk());
  const Vector q = {1, 2, 3};
  for (const Metric metric : kMetrics) {
    for (const EngineKind engine : kEngineKinds) {
      EXPECT_EQ(Search(*collection, q, {.k = 10'000, .metric = metric, .engine = engine}),
                oracle::TopK(metric, points, q, 10'000))
          << Name(metric) << " " << Name(engine);
    }
  }
}

TEST_F(CollectionTest, TheLargestKReturnsThatMany) {
  const auto collection = Make(2);
  const std::vector<Point> points = RandomPoints(7, 0, 12'000, 2);
  ASSERT_THAT(Upsert(*collection, points).status(), IsOk());
  const Vector q = {1, -1};
  for (const EngineKind engine : kEngineKinds) {
    EXPECT_EQ(Search(*collection, q, {.k = 10'000, .engine = engine}),
              oracle::TopK(Metric::kInnerProduct, points, q, 10'000))
        << Name(engine);
  }
}

TEST_F(CollectionTest, AnEmptyCollectionAnswersEveryQueryWithNothing) {
  const auto collection = Make(2);
  const auto expect_nothing = [&] {
    for (const Metric metric : kMetrics) {
      for (const EngineKind engine : kEngineKinds) {
        EXPECT_THAT(Search(*collection, {1, 2}, {.metric = metric, .engine = engine}), IsEmpty());
      }
    }
  };
  expect_nothing();
  ASSERT_THAT(Upsert(*collection, RandomPoints(1, 0, 40, 2)).status(), IsOk());
  ASSERT_THAT(Delete(*collection, Range(0, 40)).status(), IsOk());
  expect_nothing();
}

TEST_F(CollectionTest, WorksInOneDimension) {
  const auto collection = Make(1, Metric::kL2);
  ASSERT_THAT(
      Upsert(*collection, {{Number(1), {-3}}, {Number(2), {0.5f}}, {Number(3), {4}}}).status(),
      IsOk());
  for (const EngineKind engine : kEngineKinds) {
    EXPECT_THAT(Search(*collection, {1}, {.engine = engine}),
                ElementsAre(Hit{Number(2), 0.25}, Hit{Number(3), 9}, Hit{Number(1), 16}));
    EXPECT_THAT(Search(*collection, {-2}, {.metric = Metric::kCosine, .engine = engine}),
                ElementsAre(Hit{Number(1), 1}, Hit{Number(2), -1}, Hit{Number(3), -1}));
  }
}

TEST_F(CollectionTest, WorksInTheLargestDimension) {
  const auto collection = Make(kMaxDimension);
  const std::vector<Point> points = RandomPoints(8, 0, 35, kMaxDimension);  // more than a segment
  ASSERT_THAT(Upsert(*collection, points).status(), IsOk());
  const Vector q = oracle::Random(9).Gaussian(kMaxDimension);
  for (const Metric metric : kMetrics) {
    for (const EngineKind engine : kEngineKinds) {
      EXPECT_EQ(Search(*collection, q, {.k = 5, .metric = metric, .engine = engine}),
                oracle::TopK(metric, points, q, 5))
          << Name(metric) << " " << Name(engine);
    }
  }
}

// More rows than the first segment holds, every one of them as good as the other.
TEST_F(CollectionTest, TiesAreOrderedByIdAcrossSegments) {
  const auto collection = Make(2, Metric::kCosine);
  std::vector<Point> points;
  for (uint64_t i = 0; i < 2'000; ++i) {
    points.push_back({i, {1, 2}});
    points.push_back({std::to_string(i), {1, 2}});
  }
  std::shuffle(points.begin(), points.end(), std::mt19937_64(10));
  for (size_t i = 0; i < points.size(); i += 500) {
    ASSERT_THAT(Upsert(*collection, {points.begin() + static_cast<ptrdiff_t>(i),
                                     points.begin() + static_cast<ptrdiff_t>(i + 500)})
                    .status(),
                IsOk());
  }
  for (const Metric metric : kMetrics) {
    for (const EngineKind engine : ExactEngines()) {
      for (const uint32_t k : {1, 10, 2'000, 2'003, 4'000, 10'000}) {
        EXPECT_EQ(Search(*collection, {3, 1}, {.k = k, .metric = metric, .engine = engine}),
                  oracle::TopK(metric, points, Vector{3, 1}, k))
            << Name(metric) << " " << Name(engine) << ", k " << k;
      }
    }
  }
}

// ----------------------------------------------------------------------------------- normalization

TEST_F(CollectionTest, L2NormalizationStoresTheSpecifiedBits) {
  for (const oracle::Maker& maker : oracle::Makers()) {
    SCOPED_TRACE(maker.name);
    const auto collection = Make(19, Metric::kInnerProduct, Normalization::kL2);
    oracle::Random random(12);
    std::vector<Point> sent;
    std::vector<Point> expected;
    for (uint64_t id = 0; id < 40; ++id) {
      sent.push_back({id, maker.make(random, 19)});
      expected.push_back({id, oracle::Normalized(sent.back().vector)});
    }
    ASSERT_THAT(Upsert(*collection, sent).status(), IsOk());
    EXPECT_EQ(Contents(*collection), expected);
    EXPECT_EQ(collection->Norms().unit_rows, 40);
    const Vector q = maker.make(random, 19);
    for (const Metric metric : kMetrics) {
      for (const EngineKind engine : ExactEngines()) {
        EXPECT_EQ(Search(*collection, q, {.metric = metric, .engine = engine}),
                  oracle::TopK(metric, expected, oracle::Normalized(q), 10))
            << Name(metric) << " " << Name(engine);
      }
    }
  }
}

TEST_F(CollectionTest, L2NormalizationOfThreeFourIsSixEightTenths) {
  const auto collection = Make(2, Metric::kInnerProduct, Normalization::kL2);
  ASSERT_THAT(Upsert(*collection, {{Number(1), {3, 4}}}).status(), IsOk());
  EXPECT_THAT(Contents(*collection), ElementsAre(Point{Number(1), {0.6f, 0.8f}}));
}

TEST_F(CollectionTest, L2NormalizationRefusesAZeroQueryUnderEveryMetric) {
  const auto collection = Make(2, Metric::kL2, Normalization::kL2);
  ASSERT_THAT(Upsert(*collection, {{Number(1), {3, 4}}}).status(), IsOk());
  for (const Metric metric : kMetrics) {
    EXPECT_THAT(SearchStatus(*collection, {0, 0}, {.metric = metric}),
                StatusIs(kInvalid,
                         "query 0 is a zero vector, which cannot be L2-normalised; collection "
                         "\"docs\" normalises"));
  }
}

TEST_F(CollectionTest, AStoredRowIsNotNormalisedAgainAsAQuery) {
  const auto collection = Make(7, Metric::kInnerProduct, Normalization::kL2);
  ASSERT_THAT(Upsert(*collection, RandomPoints(13, 0, 50, 7)).status(), IsOk());
  const std::vector<Point> stored = Contents(*collection);
  const Query query{.target = Id(Number(20))};
  EXPECT_EQ(Owned(collection->Search({&query, 1}, {})->hits[0]),
            oracle::TopK(Metric::kInnerProduct, stored, stored[20].vector, 10));
}

TEST_F(CollectionTest, RequireUnitAllowsAThousandth) {
  const auto collection = Make(2, Metric::kInnerProduct, Normalization::kRequireUnit);
  ASSERT_THAT(
      Upsert(*collection,
             {{Number(1), {0.9991f, 0}}, {Number(2), {0, -1.0009f}}, {Number(3), {0.6f, 0.8f}}})
          .status(),
      IsOk());
  EXPECT_THAT(Contents(*collection),
              ElementsAre(Point{Number(1), {0.9991f, 0}}, Point{Number(2), {0, -1.0009f}},
                          Point{Number(3), {0.6f, 0.8f}}))
      << "what is accepted is kept as it is";
  const Observed before = Observe(*collection);
  EXPECT_THAT(Upsert(*collection, {{Number(9), {1, 0}}, {Number(4), {0.9989f, 0}}}).status(),
              StatusIs(kInvalid,
                       "row 1 has norm 0.9989; collection \"docs\" requires a norm of 1 within "
                       "0.001"));
  EXPECT_THAT(Upsert(*collection, {{Number(4), {0, 1.0011f}}}).status(),
              StatusIs(kInvalid,
                       "row 0 has norm 1.0011; collection \"docs\" requires a norm of 1 within "
                       "0.001"));
  EXPECT_THAT(
      SearchStatus(*collection, {2, 0}),
      StatusIs(kInvalid,
               "query 0 has norm 2; collection \"docs\" requires a norm of 1 within 0.001"));
  EXPECT_EQ(Observe(*collection), before);
  EXPECT_THAT(SearchStatus(*collection, {1.0009f, 0}), IsOk());
}

// ------------------------------------------------------------------------- zero vectors and cosine

constexpr char kZeroQuery[] = "query 0 is a zero vector, which has no direction under cosine";

TEST_F(CollectionTest, AZeroQueryHasNoDirectionUnderCosineOnly) {
  const auto collection = Make(2, Metric::kCosine);
  ASSERT_THAT(Upsert(*collection, {{Number(1), {3, 4}}}).status(), IsOk());
  EXPECT_THAT(SearchStatus(*collection, {0, -0.0f}), StatusIs(kInvalid, kZeroQuery));
  EXPECT_THAT(Search(*collection, {0, 0}, {.metric = Metric::kL2}),
              ElementsAre(Hit{Number(1), 25}));
  EXPECT_THAT(Search(*collection, {0, 0}, {.metric = Metric::kInnerProduct}),
              ElementsAre(Hit{Number(1), 0}));
  ASSERT_THAT(collection->SetMetric(Metric::kL2), IsOk());
  EXPECT_THAT(SearchStatus(*collection, {0, 0}, {.metric = Metric::kCosine}),
              StatusIs(kInvalid, kZeroQuery));
}

TEST_F(CollectionTest, ZeroRowsAreOrdinaryUnderTheOtherMetrics) {
  const auto collection = Make(2, Metric::kL2);
  ASSERT_THAT(Upsert(*collection, {{Number(1), {0, 0}}, {Number(2), {1, 0}}}).status(), IsOk());
  for (const EngineKind engine : kEngineKinds) {
    EXPECT_THAT(Search(*collection, {0, 1}, {.engine = engine}),
                ElementsAre(Hit{Number(1), 1}, Hit{Number(2), 2}));
    EXPECT_THAT(Search(*collection, {-1, 0}, {.metric = Metric::kInnerProduct, .engine = engine}),
                ElementsAre(Hit{Number(1), 0}, Hit{Number(2), -1}));
  }
}

TEST_F(CollectionTest, StoredZeroRowsForbidCosineUntilTheyAreGone) {
  const auto collection = Make(2, Metric::kInnerProduct);
  ASSERT_THAT(
      Upsert(*collection,
             {{"zero", {0, 0}}, {Number(70), {0, 0}}, {Number(8), {-0.0f, 0}}, {Number(1), {1, 1}}})
          .status(),
      IsOk());
  const auto expect_first_zero = [&](const std::string& id) {
    const Observed before = Observe(*collection);
    EXPECT_THAT(collection->SetMetric(Metric::kCosine), StatusIs(kPrecondition, StoresZero(id)));
    EXPECT_THAT(SearchStatus(*collection, {1, 0}, {.metric = Metric::kCosine}),
                StatusIs(kPrecondition, StoresZero(id)));
    const Query by_id{.target = Id(Number(1))};
    EXPECT_THAT(SearchStatus(*collection, by_id, {.metric = Metric::kCosine}),
                StatusIs(kPrecondition, StoresZero(id)));
    EXPECT_EQ(Observe(*collection), before);
  };
  expect_first_zero("8");
  ASSERT_THAT(Delete(*collection, {Number(8)}).status(), IsOk());
  expect_first_zero("70");
  ASSERT_THAT(Upsert(*collection, {{Number(70), {0, 2}}}).status(), IsOk());
  expect_first_zero("\"zero\"");
  // Replaced by zero again, and by something else.
  ASSERT_THAT(Upsert(*collection, {{"zero", {0, 0}}}).status(), IsOk());
  expect_first_zero("\"zero\"");
  ASSERT_THAT(Upsert(*collection, {{"zero", {-1, 0}}}).status(), IsOk());
  EXPECT_THAT(Search(*collection, {0, 1}, {.k = 1, .metric = Metric::kCosine}),
              ElementsAre(Hit{Number(70), 1}));
  EXPECT_THAT(collection->SetMetric(Metric::kCosine), IsOk());
  EXPECT_THAT(Upsert(*collection, {{"zero", {0, 0}}}).status(),
              StatusIs(kInvalid, "row 0 is a zero vector, which has no direction under cosine"));
}

TEST_F(CollectionTest, AZeroRowBecomesAZeroRowByReplacement) {
  const auto collection = Make(1, Metric::kL2);
  ASSERT_THAT(Upsert(*collection, {{Number(1), {1}}}).status(), IsOk());
  EXPECT_THAT(Search(*collection, {2}, {.metric = Metric::kCosine}),
              ElementsAre(Hit{Number(1), 1}));
  ASSERT_THAT(Upsert(*collection, {{Number(1), {0}}}).status(), IsOk());
  EXPECT_THAT(collection->SetMetric(Metric::kCosine), StatusIs(kPrecondition, StoresZero("1")));
}

// Vectors whose square would vanish in float32 are not zero vectors.
TEST_F(CollectionTest, DenormalsHaveADirection) {
  const auto collection = Make(2, Metric::kCosine);
  ASSERT_THAT(Upsert(*collection, {{Number(1), {1e-45f, 0}}, {Number(2), {0, 3e38f}}}).status(),
              IsOk());
  for (const EngineKind engine : kEngineKinds) {
    EXPECT_THAT(Search(*collection, {1e-45f, 0}, {.engine = engine}),
                ElementsAre(Hit{Number(1), 1}, Hit{Number(2), 0}))
        << Name(engine);
  }
}

}  // namespace
}  // namespace vexact

#include "core/collection.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "tests/core/collection_fixture.h"

namespace vexact {
namespace {

using namespace std::string_literals;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::StartsWith;

TEST_F(CollectionTest, DimensionHasLimits) {
  EXPECT_THAT(Collection::Validate({.dimension = 1}), IsOk());
  EXPECT_THAT(Collection::Validate({.dimension = 65'536}), IsOk());
  EXPECT_THAT(Collection::Validate({.dimension = 0}),
              StatusIs(kInvalid, "dimension is 0; it must be 1 to 65536"));
  EXPECT_THAT(Collection::Validate({.dimension = 65'537}),
              StatusIs(kInvalid, "dimension is 65537; it must be 1 to 65536"));
}

// ---------------------------------------------------------------------------------- storing rows

TEST_F(CollectionTest, ReturnsWhatWasStoredBitForBit) {
  const auto collection = Make(4);
  const std::vector<Point> points = {{Number(3), {-0.0f, 1e-45f, 3.4e38f, 1}},
                                     {"猫", {0, 0, 0, 0}},
                                     {Number(0), {1.1f, -2.2f, 3.3f, -4.4f}}};
  ASSERT_THAT(Upsert(*collection, points).status(), IsOk());
  const auto stored = Get(*collection, {"猫", Number(0), Number(3)});
  ASSERT_THAT(stored.status(), IsOk());
  EXPECT_THAT(Owned(*stored), ElementsAre(points[1], points[2], points[0]));
  EXPECT_TRUE(std::signbit(stored->points[2].vector()[0])) << "-0.0 became 0.0";
}

TEST_F(CollectionTest, CountsWhatAWriteDidAndNumbersIt) {
  const auto collection = Make(1);
  EXPECT_EQ(collection->info().sequence, 0);
  const auto added = Upsert(*collection, {{Number(1), {1}}, {Number(2), {2}}, {"two", {2}}});
  EXPECT_EQ(added->added, 3);
  EXPECT_EQ(added->replaced, 0);
  EXPECT_EQ(added->sequence, 1);
  const auto replaced = Upsert(*collection, {{Number(2), {22}}, {Number(4), {4}}});
  EXPECT_EQ(replaced->added, 1);
  EXPECT_EQ(replaced->replaced, 1);
  EXPECT_EQ(replaced->sequence, 2);
  const auto deleted = Delete(*collection, {Number(1), Number(9), "two"});
  EXPECT_EQ(deleted->deleted, 2);
  EXPECT_EQ(deleted->missing, 1);
  EXPECT_EQ(deleted->sequence, 3);
  EXPECT_THAT(Contents(*collection), ElementsAre(Point{Number(2), {22}}, Point{Number(4), {4}}));
  EXPECT_EQ(collection->info().rows, 2);
  EXPECT_EQ(collection->info().dead_rows, 3);
  EXPECT_EQ(collection->info().sequence, 3);
}

TEST_F(CollectionTest, UpsertsInOrderEndAtTheFirstThatFails) {
  const auto collection = Make(1, Metric::kCosine);
  const std::vector<std::vector<Point>> requests = {{{Number(1), {1}}, {Number(2), {2}}},
                                                    {{Number(2), {3}}},
                                                    {{Number(3), {0}}},  // of no direction
                                                    {{Number(4), {4}}},
                                                    {{Number(1), {1.5f}}}};
  std::vector<std::vector<PointView>> views;
  std::vector<CheckedPoints> checked;
  for (const auto& request : requests) views.push_back(Views(request));
  for (const auto& request : views) checked.push_back(*collection->Check(request));
  const std::vector<Point> infinite = {{Number(3), {std::numeric_limits<float>::infinity()}}};
  EXPECT_EQ(collection->Check(Views(infinite)).status().code(), absl::StatusCode::kInvalidArgument)
      << "what is wrong by itself is found before";
  const auto results = collection->UpsertInOrder(checked);
  ASSERT_EQ(results.size(), 3u);
  EXPECT_EQ(results[0]->added, 2u);
  EXPECT_EQ(results[1]->replaced, 1u);
  EXPECT_EQ(results[1]->sequence, 2u);
  EXPECT_EQ(results[2].status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(collection->info().sequence, 2u);
  EXPECT_THAT(Contents(*collection), ElementsAre(Point{Number(1), {1}}, Point{Number(2), {3}}));
}

TEST_F(CollectionTest, AWriteThatChangesNothingTakesNoNumber) {
  const auto collection = Make(1);
  Upsert(*collection, {{Number(1), {1}}}).IgnoreError();
  const auto deleted = Delete(*collection, {Number(7), "seven"});
  EXPECT_EQ(deleted->deleted, 0);
  EXPECT_EQ(deleted->missing, 2);
  EXPECT_EQ(deleted->sequence, 1);
  EXPECT_THAT(collection->SetMetric(Metric::kInnerProduct), IsOk());
  EXPECT_EQ(collection->info().sequence, 1);
  EXPECT_THAT(collection->SetMetric(Metric::kL2), IsOk());
  EXPECT_EQ(collection->info().sequence, 2);
}

TEST_F(CollectionTest, ANumberAndItsDigitsAreDifferentIds) {
  const auto collection = Make(1);
  ASSERT_THAT(Upsert(*collection, {{Number(5), {1}}, {"5", {2}}}).status(), IsOk());
  EXPECT_EQ(collection->info().rows, 2);
  ASSERT_THAT(Delete(*collection, {"5"}).status(), IsOk());
  EXPECT_THAT(Contents(*collection), ElementsAre(Point{Number(5), {1}}));
  EXPECT_THAT(Get(*collection, {"5"}).status(),
              StatusIs(kNotFound, "no id \"5\" in collection \"docs\""));
}

TEST_F(CollectionTest, AReplacedRowIsFoundByItsNewVectorAlone) {
  const auto collection = Make(2, Metric::kL2);
  Upsert(*collection, {{Number(1), {0, 0}}, {Number(2), {9, 9}}}).IgnoreError();
  Upsert(*collection, {{Number(1), {5, 5}}}).IgnoreError();
  for (const EngineKind engine : kEngineKinds) {
    EXPECT_THAT(Search(*collection, {0, 0}, {.engine = engine}),
                ElementsAre(Hit{Number(1), 50}, Hit{Number(2), 162}));
  }
  Delete(*collection, {Number(1)}).IgnoreError();
  for (const EngineKind engine : kEngineKinds) {
    EXPECT_THAT(Search(*collection, {0, 0}, {.engine = engine}), ElementsAre(Hit{Number(2), 162}));
  }
  Upsert(*collection, {{Number(1), {1, 0}}}).IgnoreError();
  for (const EngineKind engine : kEngineKinds) {
    EXPECT_THAT(Search(*collection, {0, 0}, {.engine = engine}),
                ElementsAre(Hit{Number(1), 1}, Hit{Number(2), 162}));
  }
}

TEST_F(CollectionTest, AcceptsIdsOfEveryAllowedForm) {
  const auto collection = Make(1);
  const std::vector<Id> ids = {Number(0),
                               Number(std::numeric_limits<uint64_t>::max()),
                               "a"s,
                               "\0"s,
                               std::string(512, 'x'),
                               "naïve 猫 😀"s};
  std::vector<Point> points;
  for (const Id& id : ids) points.push_back({id, {1}});
  ASSERT_THAT(Upsert(*collection, points).status(), IsOk());
  for (const Id& id : ids) {
    const auto stored = Get(*collection, {id});
    ASSERT_THAT(stored.status(), IsOk());
    EXPECT_EQ(Own(stored->points[0].id()), id);
  }
}

// One bad row among good ones, one of which would replace a stored row.
struct BadRow {
  const char* name;
  Normalization normalization;
  Point row;
  std::string message;
};

void PrintTo(const BadRow& bad, std::ostream* out) { *out << bad.name; }

class RefusedUpsert : public CollectionTest, public testing::WithParamInterface<BadRow> {};

TEST_P(RefusedUpsert, NamesTheRowAndChangesNothing) {
  const auto collection = Make(2, Metric::kCosine, GetParam().normalization);
  ASSERT_THAT(Upsert(*collection, {{Number(1), {1, 0}}, {"one", {0, 1}}}).status(), IsOk());
  const Observed before = Observe(*collection);
  for (const size_t position : {0, 1, 2}) {
    std::vector<Point> points = {{Number(1), {0, -1}}, {Number(7), {-1, 0}}};
    points.insert(points.begin() + static_cast<ptrdiff_t>(position), GetParam().row);
    const std::string where = "row " + std::to_string(position);
    EXPECT_THAT(Upsert(*collection, points).status(),
                StatusIs(kInvalid, where + GetParam().message));
    EXPECT_EQ(Observe(*collection), before);
  }
  // The next write is not affected by those that were refused.
  const auto after = Upsert(*collection, {{Number(7), {-1, 0}}});
  ASSERT_THAT(after.status(), IsOk());
  EXPECT_EQ(after->sequence, before.sequence + 1);
  EXPECT_EQ(collection->info().rows, before.rows + 1);
}

INSTANTIATE_TEST_SUITE_P(
    , RefusedUpsert,
    testing::Values(
        BadRow{"TooShort",
               Normalization::kNone,
               {Number(2), {1}},
               " has 1 components; collection \"docs\" has 2 dimensions"},
        BadRow{"TooLong",
               Normalization::kNone,
               {Number(2), {1, 2, 3}},
               " has 3 components; collection \"docs\" has 2 dimensions"},
        BadRow{"Empty",
               Normalization::kNone,
               {Number(2), {}},
               " has 0 components; collection \"docs\" has 2 dimensions"},
        BadRow{"NotANumber",
               Normalization::kNone,
               {Number(2), {1, kNan}},
               ": component 1 is NaN; vectors must be finite"},
        BadRow{"Infinite",
               Normalization::kNone,
               {Number(2), {kInfinity, 1}},
               ": component 0 is +infinity; vectors must be finite"},
        BadRow{"NegativeInfinite",
               Normalization::kL2,
               {Number(2), {1, -kInfinity}},
               ": component 1 is -infinity; vectors must be finite"},
        BadRow{"ZeroUnderCosine",
               Normalization::kNone,
               {Number(2), {0, -0.0f}},
               " is a zero vector, which has no direction under cosine"},
        BadRow{"ZeroToNormalise",
               Normalization::kL2,
               {Number(2), {0, 0}},
               " is a zero vector, which cannot be L2-normalised; collection \"docs\" normalises"},
        BadRow{"NotUnit",
               Normalization::kRequireUnit,
               {Number(2), {3, 4}},
               " has norm 5; collection \"docs\" requires a norm of 1 within 0.001"},
        BadRow{"ZeroNotUnit",
               Normalization::kRequireUnit,
               {Number(2), {0, 0}},
               " has norm 0; collection \"docs\" requires a norm of 1 within 0.001"},
        BadRow{"EmptyId", Normalization::kNone, {"", {1, 1}}, ": id is an empty string"},
        BadRow{"LongId",
               Normalization::kNone,
               {std::string(513, 'x'), {1, 1}},
               ": id \"" + std::string(64, 'x') + "…\" has 513 bytes; the limit is 512"},
        BadRow{"BrokenId", Normalization::kNone, {"caf\xE9", {1, 1}}, ": id is not valid UTF-8"}),
    [](const auto& instance) { return std::string(instance.param.name); });

TEST_F(CollectionTest, RefusesAnIdTwiceInOneRequest) {
  const auto collection = Make(1);
  ASSERT_THAT(Upsert(*collection, {{Number(1), {1}}, {"b", {2}}}).status(), IsOk());
  const Observed before = Observe(*collection);
  const auto message = [](const char* id, int later, int earlier) {
    return "row " + std::to_string(later) + ": id " + id + " occurs already at row " +
           std::to_string(earlier) + "; an id may occur once in a request";
  };
  EXPECT_THAT(Upsert(*collection, {{Number(9), {1}}, {Number(9), {1}}}).status(),
              StatusIs(kInvalid, message("9", 1, 0)));
  // The earliest repetition is named, whatever the order of the ids.
  EXPECT_THAT(Upsert(*collection, {{Number(9), {1}},
                                   {"b", {1}},
                                   {Number(5), {1}},
                                   {"b", {1}},
                                   {Number(9), {1}},
                                   {"b", {1}}})
                  .status(),
              StatusIs(kInvalid, message("\"b\"", 3, 1)));
  EXPECT_EQ(Observe(*collection), before);
  // Not twice the same: a number and a text.
  EXPECT_THAT(Upsert(*collection, {{Number(9), {1}}, {"9", {1}}}).status(), IsOk());
}

TEST_F(CollectionTest, RefusesEmptyRequests) {
  const auto collection = Make(1);
  EXPECT_THAT(Upsert(*collection, {}).status(),
              StatusIs(kInvalid, "the request has no points; it needs at least 1"));
  EXPECT_THAT(Delete(*collection, {}).status(),
              StatusIs(kInvalid, "the request has no ids; it needs at least 1"));
  EXPECT_THAT(Get(*collection, {}).status(),
              StatusIs(kInvalid, "the request has no ids; it needs at least 1"));
  EXPECT_EQ(collection->info().sequence, 0);
}

TEST_F(CollectionTest, ARefusedDeleteDeletesNothing) {
  const auto collection = Make(1);
  ASSERT_THAT(Upsert(*collection, {{Number(1), {1}}, {Number(2), {2}}}).status(), IsOk());
  const Observed before = Observe(*collection);
  EXPECT_THAT(Delete(*collection, {Number(1), ""}).status(),
              StatusIs(kInvalid, "id number 1: id is an empty string"));
  EXPECT_THAT(Delete(*collection, {Number(1), std::string(600, 'y')}).status(),
              StatusIs(kInvalid, StartsWith("id number 1: id \"yyy")));
  EXPECT_THAT(Delete(*collection, {Number(2), Number(1), Number(2)}).status(),
              StatusIs(kInvalid,
                       "id number 2: id 2 occurs already at id number 0; an id may occur once in a "
                       "request"));
  EXPECT_EQ(Observe(*collection), before);
}

TEST_F(CollectionTest, GetNamesTheFirstIdThatIsNotStored) {
  const auto collection = Make(1);
  ASSERT_THAT(Upsert(*collection, {{Number(1), {1}}}).status(), IsOk());
  EXPECT_THAT(Get(*collection, {Number(1), "missing", Number(3)}).status(),
              StatusIs(kNotFound, "no id \"missing\" in collection \"docs\""));
  EXPECT_THAT(Get(*collection, {Number(3)}).status(),
              StatusIs(kNotFound, "no id 3 in collection \"docs\""));
}

TEST_F(CollectionTest, GetReturnsAnIdAsOftenAsItIsAsked) {
  const auto collection = Make(1);
  ASSERT_THAT(Upsert(*collection, {{Number(1), {1}}}).status(), IsOk());
  EXPECT_EQ(Get(*collection, {Number(1), Number(1)})->points.size(), 2);
}

// A caller that is refused memory is told so, and the collection is as it was.
TEST_F(CollectionTest, AWriteWithoutMemoryChangesNothing) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers need the address space that this test takes away";
#endif
  constexpr uint32_t kDimension = 16'384;  // a segment's rows are 64 MiB
  const auto collection = Make(kDimension);
  const auto point = [](uint64_t id) {
    return Point{id, Vector(kDimension, static_cast<float>(id + 1))};
  };
  std::vector<Point> first;
  for (uint64_t id = 0; id < 1'000; ++id) first.push_back(point(id));
  ASSERT_THAT(Upsert(*collection, first).status(), IsOk());
  std::vector<Point> more;  // replaces one, fills the first segment and needs a second
  for (uint64_t id = 999; id < 1'050; ++id) more.push_back(point(id));

  size_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  rlimit unlimited;
  ASSERT_EQ(getrlimit(RLIMIT_AS, &unlimited), 0);
  rlimit limited = unlimited;
  limited.rlim_cur = pages * 4096 + (size_t{32} << 20);
  ASSERT_EQ(setrlimit(RLIMIT_AS, &limited), 0);
  const absl::Status refused = Upsert(*collection, more).status();
  ASSERT_EQ(setrlimit(RLIMIT_AS, &unlimited), 0);

  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kResourceExhausted,
                                StartsWith("cannot reserve 67108864 bytes of memory")));
  EXPECT_EQ(collection->info().rows, 1'000);
  EXPECT_EQ(collection->info().dead_rows, 0);
  EXPECT_EQ(collection->info().sequence, 1);
  EXPECT_EQ(Contents(*collection), first);
  // With memory again, the same write succeeds, over the room of the one that failed.
  const auto accepted = Upsert(*collection, more);
  ASSERT_THAT(accepted.status(), IsOk());
  EXPECT_EQ(accepted->added, 50);
  EXPECT_EQ(accepted->sequence, 2);
  first.insert(first.end(), more.begin() + 1, more.end());
  EXPECT_EQ(Contents(*collection), first);
}

// -------------------------------------------------------------------------------------- scrolling

TEST_F(CollectionTest, ScrollsInIdOrderWhateverThePageSize) {
  const auto collection = Make(1);
  std::vector<Point> points;
  for (const uint64_t id : {9, 10, 2, 1'000'000}) points.push_back({id, {1}});
  for (const char* id : {"b", "a", "10", "9", "é", "aa", "A"}) points.push_back({id, {2}});
  ASSERT_THAT(Upsert(*collection, points).status(), IsOk());
  std::sort(points.begin(), points.end(),
            [](const Point& a, const Point& b) { return oracle::IdBefore(a.id, b.id); });
  for (uint32_t page_size = 1; page_size <= 12; ++page_size) {
    EXPECT_EQ(Contents(*collection, page_size), points) << page_size;
  }
  EXPECT_EQ(Contents(*collection, kMaxPageSize), points);
}

TEST_F(CollectionTest, AFullLastPageHasNoNext) {
  const auto collection = Make(1);
  ASSERT_THAT(Upsert(*collection, {{Number(1), {1}}, {Number(2), {1}}, {"c", {1}}}).status(),
              IsOk());
  const auto whole = collection->Scroll(std::nullopt, 3);
  EXPECT_EQ(whole->points.size(), 3);
  EXPECT_EQ(whole->next, std::nullopt);
  const auto part = collection->Scroll(std::nullopt, 2);
  EXPECT_EQ(part->points.size(), 2);
  EXPECT_EQ(part->next, Id(Number(2)));
}

TEST_F(CollectionTest, ScrollContinuesAfterAnIdThatIsGone) {
  const auto collection = Make(1);
  ASSERT_THAT(
      Upsert(*collection, {{Number(1), {1}}, {Number(3), {1}}, {"b", {1}}, {"d", {1}}}).status(),
      IsOk());
  const auto ids_after = [&](IdView after) {
    std::vector<Id> ids;
    for (const Point& point : Owned(*collection->Scroll(after, 10))) ids.push_back(point.id);
    return ids;
  };
  EXPECT_THAT(ids_after(uint64_t{0}), ElementsAre(Number(1), Number(3), "b", "d"));
  EXPECT_THAT(ids_after(uint64_t{2}), ElementsAre(Number(3), "b", "d"));
  EXPECT_THAT(ids_after(std::numeric_limits<uint64_t>::max()), ElementsAre("b", "d"));
  EXPECT_THAT(ids_after("c"), ElementsAre("d"));
  EXPECT_THAT(ids_after("d"), IsEmpty());
}

TEST_F(CollectionTest, AnEmptyCollectionScrollsToNothing) {
  const auto collection = Make(1);
  const auto page = collection->Scroll(std::nullopt, 10);
  ASSERT_THAT(page.status(), IsOk());
  EXPECT_TRUE(page->points.empty());
  EXPECT_EQ(page->next, std::nullopt);
}

TEST_F(CollectionTest, PageSizeHasLimits) {
  const auto collection = Make(1);
  EXPECT_THAT(collection->Scroll(std::nullopt, 0).status(),
              StatusIs(kInvalid, "page_size is 0; it must be 1 to 10000"));
  EXPECT_THAT(collection->Scroll(std::nullopt, 10'001).status(),
              StatusIs(kInvalid, "page_size is 10001; it must be 1 to 10000"));
  EXPECT_THAT(collection->Scroll(std::nullopt, 10'000).status(), IsOk());
}

// --------------------------------------------------------------------------------------- snapshots

TEST_F(CollectionTest, AnAnswerStaysReadableWhateverHappensNext) {
  auto collection = Make(2, Metric::kL2, Normalization::kNone, SegmentsOf(64));
  std::vector<Point> points;
  for (uint64_t i = 0; i < 200; ++i) {
    points.push_back({"row " + std::to_string(i), {static_cast<float>(i), 0}});
  }
  ASSERT_THAT(Upsert(*collection, points).status(), IsOk());
  const Vector q = {0, 0};
  const Query query{.target = std::span<const float>(q)};
  const auto answer = collection->Search({&query, 1}, {.k = 200});
  const auto page = collection->Scroll(std::nullopt, 200);
  const auto some = Get(*collection, {"row 5", "row 150"});
  ASSERT_THAT(answer.status(), IsOk());
  std::vector<Id> all;
  for (const Point& point : points) all.push_back(point.id);
  ASSERT_THAT(Delete(*collection, all).status(), IsOk());
  ASSERT_THAT(collection->Compact().status(), IsOk());
  EXPECT_EQ(collection->info().rows, 0);
  collection.reset();
  EXPECT_EQ(Owned(answer->hits[0]), oracle::TopK(Metric::kL2, points, q, 200));
  EXPECT_EQ(Owned(*page).size(), 200);
  EXPECT_THAT(Owned(*some), ElementsAre(points[5], points[150]));
  EXPECT_EQ(answer->snapshot->sequence, 1);
  EXPECT_EQ(answer->snapshot->live_rows, 200);
}

}  // namespace
}  // namespace vexact

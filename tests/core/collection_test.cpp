#include "core/collection.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <memory>
#include <set>
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
  for (const bool at_the_door : {true, false}) {
    const auto collection = Make(1, Metric::kCosine);
    const float bad = at_the_door ? std::numeric_limits<float>::infinity() : 0.0f;
    const std::vector<std::vector<Point>> requests = {{{Number(1), {1}}, {Number(2), {2}}},
                                                      {{Number(2), {3}}},
                                                      {{Number(3), {bad}}},
                                                      {{Number(4), {4}}},
                                                      {{Number(1), {1.5f}}}};
    std::vector<std::vector<PointView>> views;
    std::vector<std::span<const PointView>> spans;
    for (const auto& request : requests) views.push_back(Views(request));
    for (const auto& request : views) spans.emplace_back(request);
    const auto results = collection->UpsertInOrder(spans);
    ASSERT_EQ(results.size(), 3u);
    EXPECT_EQ(results[0]->added, 2u);
    EXPECT_EQ(results[1]->replaced, 1u);
    EXPECT_EQ(results[1]->sequence, 2u);
    EXPECT_EQ(results[2].status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(collection->info().sequence, 2u);
    EXPECT_THAT(Contents(*collection), ElementsAre(Point{Number(1), {1}}, Point{Number(2), {3}}));
  }
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

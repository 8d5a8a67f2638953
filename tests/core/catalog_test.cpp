#include "core/catalog.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/str_format.h"
#include "tests/core/harness.h"

namespace vexact {
namespace {

using testing::ElementsAre;

constexpr auto kNotFound = absl::StatusCode::kNotFound;
constexpr auto kExists = absl::StatusCode::kAlreadyExists;

// NOT_FOUND for a collection, with that sentence beside the message.
MATCHER_P2(IsMissing, collection, names, "") {
  const auto said = arg.GetPayload(kCollectionNamesPayload);
  *result_listener << "which is " << arg.ToString();
  return arg.code() == kNotFound && said == absl::Cord(names) &&
         arg.message() == absl::StrFormat("no collection \"%s\".", std::string(collection));
}

class CatalogTest : public testing::Test {
 protected:
  std::vector<std::string> Names() {
    std::vector<std::string> names;
    for (const auto& collection : catalog_->List()) names.push_back(collection->name());
    return names;
  }

  std::shared_ptr<Collection> MustCreate(std::string_view name, const CollectionConfig& config) {
    const auto created = catalog_->Create(name, config);
    EXPECT_THAT(created.status(), IsOk());
    EXPECT_TRUE(created.ok() && created->created);
    return created.ok() ? created->collection : nullptr;
  }

  Workers workers_{2};
  std::optional<Catalog> catalog_{std::in_place, workers_};
};

TEST_F(CatalogTest, CreatesFindsListsAndDrops) {
  const auto words = MustCreate("words", {.dimension = 3});
  const auto docs = MustCreate("docs", {.dimension = 4, .metric = Metric::kL2});
  EXPECT_EQ(*catalog_->Get("docs"), docs);
  EXPECT_EQ(docs->name(), "docs");
  EXPECT_EQ(docs->dimension(), 4);
  EXPECT_EQ(docs->info().config, (CollectionConfig{.dimension = 4, .metric = Metric::kL2}));
  EXPECT_THAT(Names(), ElementsAre("docs", "words"));
  EXPECT_EQ(*catalog_->Drop("docs"), 0);
  EXPECT_THAT(Names(), ElementsAre("words"));
  EXPECT_THAT(catalog_->Get("docs").status(), IsMissing("docs", "There is: words."));
}

TEST_F(CatalogTest, CreatingTheSameAgainFindsIt) {
  const CollectionConfig config{.dimension = 3, .normalization = Normalization::kL2};
  const auto docs = MustCreate("docs", config);
  ASSERT_THAT(Upsert(*docs, {{uint64_t{1}, {1, 2, 3}}}).status(), IsOk());
  const auto again = catalog_->Create("docs", config);
  ASSERT_THAT(again.status(), IsOk());
  EXPECT_FALSE(again->created);
  EXPECT_EQ(again->collection, docs);
  EXPECT_EQ(again->collection->info().rows, 1);
}

TEST_F(CatalogTest, AnotherConfigurationUnderTheSameNameIsRefused) {
  const CollectionConfig config{.dimension = 3};
  const auto docs = MustCreate("docs", config);
  ASSERT_THAT(Upsert(*docs, {{uint64_t{1}, {1, 2, 3}}}).status(), IsOk());
  const Observed before = Observe(*docs);
  CollectionConfig other = config;
  other.dimension = 4;
  EXPECT_THAT(catalog_->Create("docs", other).status(),
              StatusIs(kExists, "collection \"docs\" exists with dimension 3; 4 was asked for"));
  other = config;
  other.metric = Metric::kL2;
  EXPECT_THAT(catalog_->Create("docs", other).status(),
              StatusIs(kExists, "collection \"docs\" exists with metric cosine; l2 was asked for"));
  other = config;
  other.normalization = Normalization::kRequireUnit;
  EXPECT_THAT(
      catalog_->Create("docs", other).status(),
      StatusIs(kExists,
               "collection \"docs\" exists with normalization none; require_unit was asked for"));
  EXPECT_EQ(*catalog_->Get("docs"), docs);
  EXPECT_EQ(Observe(*docs), before);
}

TEST_F(CatalogTest, TheMetricOfNowCounts) {
  const auto docs = MustCreate("docs", {.dimension = 3, .metric = Metric::kCosine});
  ASSERT_THAT(docs->SetMetric(Metric::kL2), IsOk());
  EXPECT_THAT(catalog_->Create("docs", {.dimension = 3, .metric = Metric::kL2}).status(), IsOk());
  EXPECT_THAT(catalog_->Create("docs", {.dimension = 3, .metric = Metric::kCosine}).status(),
              StatusIs(kExists, "collection \"docs\" exists with metric l2; cosine was asked for"));
}

TEST_F(CatalogTest, RefusesABadDimension) {
  EXPECT_THAT(catalog_->Create("docs", {.dimension = 0}).status(),
              StatusIs(kInvalid, "dimension is 0; it must be 1 to 65536"));
  EXPECT_THAT(catalog_->Create("docs", {.dimension = 65'537}).status(),
              StatusIs(kInvalid, "dimension is 65537; it must be 1 to 65536"));
  EXPECT_TRUE(catalog_->List().empty());
}

TEST_F(CatalogTest, AcceptsOrdinaryNames) {
  for (const std::string& name : {std::string("a"), std::string("7"),
                                  std::string("Docs_2024-01.v2"), std::string(128, 'x')}) {
    MustCreate(name, {.dimension = 1});
  }
}

TEST_F(CatalogTest, RefusesOtherNames) {
  EXPECT_THAT(catalog_->Create("", {.dimension = 1}).status(),
              StatusIs(kInvalid, "name is empty; a collection needs a name"));
  EXPECT_THAT(catalog_->Create(std::string(129, 'x'), {.dimension = 1}).status(),
              StatusIs(kInvalid, "name has 129 characters; the limit is 128"));
  const auto refused = [](const std::string& shown) {
    return "name \"" + shown +
           "\" is not allowed; it must be a letter or digit, then letters, digits, '.', '_' or '-'";
  };
  const std::pair<std::string, std::string> names[] = {
      {".hidden", ".hidden"}, {"-x", "-x"}, {"_x", "_x"},      {"a b", "a b"},
      {"a/b", "a/b"},         {"..", ".."}, {"a\nb", "a\\nb"}, {"caf\xC3\xA9", "caf\\xc3\\xa9"},
  };
  for (const auto& [name, shown] : names) {
    EXPECT_THAT(catalog_->Create(name, {.dimension = 1}).status(),
                StatusIs(kInvalid, refused(shown)));
  }
  EXPECT_TRUE(catalog_->List().empty());
}

TEST_F(CatalogTest, AnUnknownNameIsAnsweredWithThoseThereAre) {
  EXPECT_THAT(catalog_->Get("dox").status(), IsMissing("dox", "There are no collections."));
  MustCreate("words", {.dimension = 1});
  EXPECT_THAT(catalog_->Drop("dox").status(), IsMissing("dox", "There is: words."));
  MustCreate("docs", {.dimension = 1});
  EXPECT_THAT(catalog_->Get("dox").status(), IsMissing("dox", "There are: docs, words."));
  for (int i = 0; i < 10; ++i) MustCreate(absl::StrFormat("c%d", i), {.dimension = 1});
  EXPECT_THAT(catalog_->Get("dox").status(),
              IsMissing("dox", "There are c0, c1, c2, c3, c4, c5, c6, c7, c8, c9 and 2 more."));
}

TEST_F(CatalogTest, AnAbsurdNameIsNotRepeatedWhole) {
  EXPECT_THAT(catalog_->Get(std::string(5'000, 'x')).status(),
              IsMissing(std::string(128, 'x'), "There are no collections."));
  EXPECT_THAT(catalog_->Get("a\nb").status(), IsMissing("a\\nb", "There are no collections."));
}

TEST_F(CatalogTest, ADroppedNameStartsAnew) {
  const auto first = MustCreate("docs", {.dimension = 1});
  ASSERT_THAT(Upsert(*first, {{uint64_t{1}, {1}}}).status(), IsOk());
  EXPECT_EQ(*catalog_->Drop("docs"), 1);
  const auto second = MustCreate("docs", {.dimension = 7});
  EXPECT_EQ(second->info().rows, 0);
  EXPECT_EQ(first->info().rows, 1);
}

TEST_F(CatalogTest, ACollectionLivesAsLongAsSomebodyUsesIt) {
  const auto docs = MustCreate("docs", {.dimension = 2, .metric = Metric::kL2});
  std::vector<Point> points;
  for (uint64_t id = 0; id < 3'000; ++id) points.push_back({id, {static_cast<float>(id), 1}});
  ASSERT_THAT(Upsert(*docs, points).status(), IsOk());
  std::atomic<int> searches = 0;
  std::jthread searcher([&, collection = docs](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      EXPECT_THAT(Search(*collection, {0, 1}, {.k = 2}),
                  ElementsAre(Hit{uint64_t{0}, 0}, Hit{uint64_t{1}, 1}));
      ++searches;
    }
  });
  while (searches == 0) std::this_thread::yield();
  ASSERT_THAT(catalog_->Drop("docs").status(), IsOk());
  const int dropped_at = searches;
  while (searches <= dropped_at + 3) std::this_thread::yield();
  catalog_.reset();
  const int gone_at = searches;
  while (searches <= gone_at + 3) std::this_thread::yield();
  // Even garbage can still be made.
  EXPECT_EQ(Delete(*docs, {uint64_t{7}})->deleted, 1);
}

TEST_F(CatalogTest, OfManyThatCreateOneNameOneDoes) {
  for (int round = 0; round < 20; ++round) {
    std::atomic<int> created = 0;
    {
      std::vector<std::jthread> threads;
      for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&] {
          const auto result = catalog_->Create("docs", {.dimension = 3});
          ASSERT_THAT(result.status(), IsOk());
          if (result->created) ++created;
          (void)catalog_->List();
          (void)catalog_->Get("docs");
        });
      }
    }
    EXPECT_EQ(created, 1);
    ASSERT_THAT(catalog_->Drop("docs").status(), IsOk());
  }
}

std::vector<Id> Numbers(uint64_t begin, uint64_t end) {
  std::vector<Id> ids;
  for (uint64_t id = begin; id < end; ++id) ids.emplace_back(id);
  return ids;
}

TEST_F(CatalogTest, DeadRowsAreGivenUpInTheBackground) {
  const auto docs = MustCreate("docs", {.dimension = 1, .metric = Metric::kL2});
  std::vector<Point> points;
  for (uint64_t id = 0; id < 2'048; ++id) points.push_back({id, {static_cast<float>(id)}});
  ASSERT_THAT(Upsert(*docs, points).status(), IsOk());
  ASSERT_THAT(Delete(*docs, Numbers(0, 1'000)).status(), IsOk());
  // A minute is not what it takes, but what a machine under load may take.
  const auto limit = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  while (docs->info().dead_rows > 0 && std::chrono::steady_clock::now() < limit) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_EQ(docs->info().dead_rows, 0);
  EXPECT_EQ(docs->info().rows, 1'048);
  EXPECT_THAT(Search(*docs, {0}, {.k = 1}), ElementsAre(Hit{uint64_t{1'000}, 1e6}));
}

TEST_F(CatalogTest, EndsWhileCollectionsWaitToBeCompacted) {
  for (int round = 0; round < 20; ++round) {
    std::vector<std::shared_ptr<Collection>> collections;
    for (int i = 0; i < 3; ++i) {
      collections.push_back(MustCreate(absl::StrFormat("c%d", i), {.dimension = 1}));
      std::vector<Point> points;
      for (uint64_t id = 0; id < 1'024; ++id) points.push_back({id, {1}});
      ASSERT_THAT(Upsert(*collections.back(), points).status(), IsOk());
      ASSERT_THAT(Delete(*collections.back(), Numbers(0, 600)).status(), IsOk());
    }
    catalog_.reset();
    for (const auto& collection : collections) EXPECT_EQ(collection->info().rows, 424);
    catalog_.emplace(workers_);
  }
}

}  // namespace
}  // namespace vexact

// The collections of a store by name.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "core/catalog.h"
#include "tests/core/durable_fixture.h"

namespace vexact {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

constexpr auto kDataLoss = absl::StatusCode::kDataLoss;

class DurableCatalogTest : public DurableTest {
 protected:
  DurableCatalogTest() { Open(); }

  void Open() {
    catalog_.reset();
    store_.reset();
    OpenStore();
    auto opened =
        Catalog::Open(*store_, workers_, [this](const Collection&, const MaintenanceEvent& event) {
          if (event.kind == MaintenanceEvent::kRebuilt) rebuilt_.push_back(event.status);
        });
    ASSERT_THAT(opened.status(), IsOk());
    catalog_ = *std::move(opened);
  }

  std::shared_ptr<Collection> MustCreate(const std::string& name, const CollectionConfig& config) {
    const auto created = catalog_->Create(name, config);
    EXPECT_THAT(created.status(), IsOk());
    return created.ok() ? created->collection : nullptr;
  }

  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const auto& collection : catalog_->List()) names.push_back(collection->name());
    return names;
  }

  CollectionNumber NumberOf(const std::string& name) {
    const auto stored = store_->Collections();
    for (const StoredCollection& one : *stored) {
      if (one.name == name) return one.number;
    }
    ADD_FAILURE() << "no collection " << name;
    return 0;
  }

  // Makes the collection contradict itself.
  void Damage(const std::string& name) {
    StoreBatch batch;
    batch.PutState(NumberOf(name), StoredState{});
    ASSERT_THAT(store_->Commit(std::move(batch), [] { return StoreBatch(); }), IsOk());
  }

  std::vector<absl::Status> rebuilt_;
  std::unique_ptr<Catalog> catalog_;
};

TEST_F(DurableCatalogTest, CollectionsComeBackUnderTheirNames) {
  const CollectionConfig config{3, Metric::kL2, Normalization::kL2};
  ASSERT_THAT(Upsert(*MustCreate("docs", config), {{Number(1), {3, 4, 0}}}).status(), IsOk());
  ASSERT_THAT(MustCreate("words", {.dimension = 2})->SetMetric(Metric::kInnerProduct), IsOk());
  MustCreate("gone", {.dimension = 1});
  ASSERT_THAT(catalog_->Drop("gone").status(), IsOk());
  Open();
  EXPECT_THAT(Names(), ElementsAre("docs", "words"));
  EXPECT_EQ((*catalog_->Get("docs"))->info().config, config);
  EXPECT_THAT(Contents(**catalog_->Get("docs")), ElementsAre(Point{Number(1), {0.6f, 0.8f, 0}}));
  EXPECT_EQ((*catalog_->Get("words"))->info().config.metric, Metric::kInnerProduct);
  EXPECT_FALSE(catalog_->Create("docs", config)->created);
  // A name that was dropped starts anew.
  EXPECT_EQ(MustCreate("gone", {.dimension = 5})->info().rows, 0);
}

TEST_F(DurableCatalogTest, WhoHoldsADroppedCollectionGoesOnInMemory) {
  const auto docs = MustCreate("docs", {.dimension = 1, .metric = Metric::kL2});
  ASSERT_THAT(Upsert(*docs, {{Number(1), {1}}}).status(), IsOk());
  EXPECT_EQ(*catalog_->Drop("docs"), 1);
  EXPECT_THAT(Upsert(*docs, {{Number(2), {2}}}).status(), IsOk());
  EXPECT_THAT(Search(*docs, {0}), ElementsAre(Hit{Number(1), 1}, Hit{Number(2), 4}));
  EXPECT_THAT(docs->SaveCodes(), IsOk());
  EXPECT_THAT(MustCreate("docs", {.dimension = 1})->info().rows, 0);
  Open();
  EXPECT_EQ((*catalog_->Get("docs"))->info().rows, 0);
}

TEST_F(DurableCatalogTest, ADamagedCollectionDoesNotKeepTheOthersFromServing) {
  for (const char* name : {"broken", "whole"}) {
    ASSERT_THAT(Upsert(*MustCreate(name, {.dimension = 1}), {{Number(1), {1}}}).status(), IsOk());
  }
  Damage("broken");
  Open();
  const auto damaged = StatusIs(
      kDataLoss,
      AllOf(HasSubstr("collection \"broken\": there is a row 0"), HasSubstr("vexactd --repair")));
  EXPECT_THAT(Names(), ElementsAre("whole"));
  EXPECT_EQ((*catalog_->Get("whole"))->info().rows, 1);
  EXPECT_THAT(catalog_->Get("broken").status(), damaged);
  EXPECT_THAT(catalog_->Create("broken", {.dimension = 1}).status(), damaged);
  EXPECT_THAT(catalog_->damaged(), ElementsAre(Pair("broken", damaged)));
  EXPECT_EQ(*catalog_->Drop("broken"), 0);
  EXPECT_THAT(catalog_->damaged(), IsEmpty());
  MustCreate("broken", {.dimension = 2});
  Open();
  EXPECT_THAT(Names(), ElementsAre("broken", "whole"));
  EXPECT_THAT(catalog_->damaged(), IsEmpty());
}

TEST_F(DurableCatalogTest, ACreationOrDropThatFailsChangesNothing) {
  const auto docs = MustCreate("docs", {.dimension = 1, .metric = Metric::kL2});
  ASSERT_THAT(Upsert(*docs, {{Number(1), {1}}}).status(), IsOk());
  files_.SetJudge([](const FaultyEnv::Call& call) {
    FaultyEnv::Verdict verdict;
    if (call.path.ends_with(".log")) verdict.status = rocksdb::IOStatus::NoSpace();
    return verdict;
  });
  const auto full = StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr(options_.directory));
  EXPECT_THAT(catalog_->Create("more", {.dimension = 1}).status(), full);
  EXPECT_THAT(catalog_->Drop("docs").status(), full);
  EXPECT_THAT(Names(), ElementsAre("docs"));
  EXPECT_THAT(Search(*docs, {0}), ElementsAre(Hit{Number(1), 1}));
  files_.SetJudge(nullptr);
  Open();
  EXPECT_THAT(Names(), ElementsAre("docs"));
  EXPECT_EQ((*catalog_->Get("docs"))->info().rows, 1);
}

TEST_F(DurableCatalogTest, TheCodesOfDroppedCollectionsAreRemoved) {
  const auto docs = MustCreate("docs", {.dimension = 1, .metric = Metric::kL2});
  ASSERT_THAT(Upsert(*docs, RandomPoints(1, 0, 1'024, 1)).status(), IsOk());
  ASSERT_THAT(docs->SaveCodes(), IsOk());
  const fs::path folder = CodesPath(options_.directory, NumberOf("docs"));
  ASSERT_EQ(Files(folder, ".codes").size(), 1);
  // As if the process had ended before it came to that.
  const fs::path left = CodesPath(options_.directory, 4'000'000);
  fs::copy(folder, left);
  ASSERT_THAT(catalog_->Drop("docs").status(), IsOk());
  EXPECT_FALSE(fs::exists(folder));
  EXPECT_TRUE(fs::exists(left));
  Open();
  EXPECT_FALSE(fs::exists(left));
}

TEST_F(DurableCatalogTest, SaysWhichCodesWereMadeAnew) {
  const auto docs = MustCreate("docs", {.dimension = 1, .metric = Metric::kL2});
  ASSERT_THAT(Upsert(*docs, RandomPoints(1, 0, 1'024, 1)).status(), IsOk());
  ASSERT_THAT(docs->SaveCodes(), IsOk());
  const fs::path file = CodesPath(options_.directory, NumberOf("docs")) + "/0.codes";
  fs::resize_file(file, 1'000);
  Open();
  EXPECT_THAT(rebuilt_,
              ElementsAre(StatusIs(kDataLoss, file.string() + " is damaged: it is cut off")));
  EXPECT_EQ((*catalog_->Get("docs"))->info().rows, 1'024);
}

TEST_F(DurableCatalogTest, TellsHowFarEachCollectionIs) {
  for (const char* name : {"a", "b"}) {
    ASSERT_THAT(Upsert(*MustCreate(name, {.dimension = 1}), {{Number(1), {1}}}).status(), IsOk());
  }
  catalog_.reset();
  std::vector<std::string> told;
  CatalogLoadOptions options;
  options.progress = [&](std::string_view name, uint64_t rows, uint64_t total) {
    told.push_back(std::string(name) + " " + std::to_string(rows) + "/" + std::to_string(total));
  };
  ASSERT_THAT(Catalog::Open(*store_, workers_, nullptr, options).status(), IsOk());
  EXPECT_THAT(told, ElementsAre("a 1/1", "b 1/1"));
  std::stop_source stop;
  stop.request_stop();
  options.stop = stop.get_token();
  EXPECT_THAT(Catalog::Open(*store_, workers_, nullptr, options).status(),
              StatusIs(absl::StatusCode::kCancelled, "the server is stopping"));
}

}  // namespace
}  // namespace vexact

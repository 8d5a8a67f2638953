// Collections that are closed and opened again: what was acknowledged is there, to the bit, and
// answers as before.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "core/codes_file.h"
#include "tests/core/durable_fixture.h"
#include "tests/core/store_fixture.h"
#include "tests/exactness/layouts.h"

namespace vexact {
namespace {

namespace fs = std::filesystem;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr auto kDataLoss = absl::StatusCode::kDataLoss;
constexpr uint32_t kDimension = 24;

using Model = std::map<Id, Vector>;

std::vector<Point> Points(const Model& model) {
  std::vector<Point> points;
  for (const auto& [id, vector] : model) points.push_back({id, vector});
  return points;
}

class ReopeningTest : public DurableTest {
 protected:
  // One random write, and the same to the model.
  void Write(Collection& collection, Model& model, oracle::Random& random) {
    std::map<Id, Vector> points;
    std::set<Id> gone;
    for (uint64_t i = 1 + random.Below(60); i > 0; --i) {
      const uint64_t number = random.Below(400);
      const Id id = number % 3 == 0 ? Id("id " + std::to_string(number)) : Id(number);
      if (random.Chance(0.8)) {
        points[id] = random.Gaussian(kDimension);
      } else {
        gone.insert(id);
      }
    }
    if (!points.empty()) {
      ASSERT_THAT(Upsert(collection, Points(points)).status(), IsOk());
      for (const auto& [id, vector] : points) {
        model[id] =
            collection.normalization() == Normalization::kL2 ? oracle::Normalized(vector) : vector;
      }
    }
    if (!gone.empty()) {
      ASSERT_THAT(Delete(collection, {gone.begin(), gone.end()}).status(), IsOk());
      for (const Id& id : gone) model.erase(id);
    }
  }

  void Care(Collection& collection, oracle::Random& random) {
    switch (random.Below(6)) {
      case 0:
        ASSERT_THAT(collection.Compact().status(), IsOk());
        break;
      case 1:
        collection.SetLayout(AnyTrained(random));
        break;
      case 2:
        ASSERT_THAT(collection.Recode(), IsOk());
        break;
      case 3:
        ASSERT_THAT(collection.SaveCodes(), IsOk());
        break;
      case 4:
        ASSERT_THAT(collection.SetMetric(kMetrics[random.Below(3)]), IsOk());
        break;
      default:
        break;
    }
  }

  static TrainedLayout AnyTrained(oracle::Random& random) {
    std::vector<Vector> rows;
    for (int i = 0; i < 20; ++i) rows.push_back(random.Gaussian(kDimension));
    Random layouts(random.Below(1'000'000));
    TrainedLayout trained;
    trained.layout = MakeLayout(AnyForm(rows, layouts), layouts);
    trained.trained_rows = 1 + random.Below(1'000);
    return trained;
  }

  void ExpectRightAnswers(const Collection& collection, const Model& model) {
    const std::vector<Point> points = Points(model);
    oracle::Random random(5);
    for (const Metric metric : kMetrics) {
      for (int i = 0; i < 3; ++i) {
        Vector q = random.Gaussian(kDimension);
        std::vector<Hit> expected;
        if (collection.normalization() == Normalization::kL2) {
          expected = oracle::TopK(metric, points, oracle::Normalized(q), 20);
        } else {
          expected = oracle::TopK(metric, points, q, 20);
        }
        ASSERT_EQ(Search(collection, q, {.k = 20, .metric = metric}), expected) << Name(metric);
      }
    }
  }

  // Full segments, coded under a layout of their own, in files; and some rows behind them.
  Collection& MakeSaved(Model& model) {
    Collection& collection = Create("docs", {kDimension, Metric::kL2});
    oracle::Random random(11);
    for (const Point& point : RandomPoints(3, 0, 1'300, kDimension)) model[point.id] = point.vector;
    EXPECT_THAT(Upsert(collection, Points(model)).status(), IsOk());
    collection.SetLayout(AnyTrained(random));
    EXPECT_THAT(collection.Recode(), IsOk());
    EXPECT_THAT(collection.SaveCodes(), IsOk());
    return collection;
  }
};

TEST_F(ReopeningTest, AnyHistoryIsThereAgain) {
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    SCOPED_TRACE(seed);
    oracle::Random random(seed);
    const std::string names[] = {"plain " + std::to_string(seed), "unit " + std::to_string(seed)};
    Create(names[0], {kDimension, Metric::kL2});
    Create(names[1], {kDimension, Metric::kCosine, Normalization::kL2});
    std::map<std::string, Model> models;
    for (int round = 0; round < 25; ++round) {
      for (const std::string& name : names) {
        for (uint64_t i = random.Below(4); i > 0; --i) Write(Of(name), models[name], random);
        Care(Of(name), random);
      }
      if (!random.Chance(0.4)) continue;
      std::map<std::string, Observed> before;
      for (const std::string& name : names) before[name] = Lasting(Of(name));
      Reopen();
      ASSERT_FALSE(HasFatalFailure());
      for (const std::string& name : names) {
        ASSERT_EQ(Lasting(Of(name)), before[name]);
        ASSERT_EQ(Contents(Of(name)), Points(models[name]));
        EXPECT_THAT(Of(name).rebuilt().faults, IsEmpty());
        ExpectRightAnswers(Of(name), models[name]);
      }
    }
    // And the disk has just that: no row that nobody needs.
    const auto all = ReadAll(*store_);
    ASSERT_THAT(all.status(), IsOk());
    for (const auto& [number, stored] : *all) {
      if (!models.contains(stored.name)) continue;
      EXPECT_EQ(stored.rows.size(), models[stored.name].size());
      for (const auto& [row, content] : stored.rows) {
        EXPECT_LT(row, stored.state.next_row);
        EXPECT_EQ(models[stored.name].at(content.id), content.vector);
      }
    }
  }
}

TEST_F(ReopeningTest, AnEmptyCollectionIsThereAgain) {
  Create("docs", {3, Metric::kL2, Normalization::kRequireUnit});
  Reopen();
  EXPECT_EQ(Of("docs").info().config,
            (CollectionConfig{3, Metric::kL2, Normalization::kRequireUnit}));
  EXPECT_EQ(Of("docs").info().rows, 0);
  EXPECT_THAT(Upsert(Of("docs"), {{Number(1), {1, 0, 0}}}).status(), IsOk());
}

TEST_F(ReopeningTest, ZeroRowsAreRemembered) {
  Create("docs", {2, Metric::kL2});
  ASSERT_THAT(Upsert(Of("docs"), {{Number(7), {0, -0.0f}}, {"a", {1, 0}}}).status(), IsOk());
  Reopen();
  EXPECT_THAT(Of("docs").SetMetric(Metric::kCosine), StatusIs(kPrecondition, StoresZero("7")));
  EXPECT_TRUE(std::signbit(Get(Of("docs"), {Number(7)})->points[0].vector()[1]));
}

// What was trained is not trained again, what was coded is not coded again.
TEST_F(ReopeningTest, LayoutsAndCodesAreKept) {
  Model model;
  MakeSaved(model);
  const LayoutInfo before = Of("docs").layout();
  Reopen();
  const Collection& docs = Of("docs");
  const LayoutInfo after = docs.layout();
  EXPECT_EQ(HashLayout(*after.trained.layout), HashLayout(*before.trained.layout));
  EXPECT_EQ(after.trained.trained_rows, before.trained.trained_rows);
  EXPECT_EQ(after.trained.forecast.passed, before.trained.forecast.passed);
  EXPECT_EQ(after.coded_rows, after.rows);
  EXPECT_EQ(docs.rebuilt().rows, 1'300 % 64) << "only the segment that is not full";
  EXPECT_THAT(docs.rebuilt().faults, IsEmpty());
  EXPECT_EQ(docs.MaintainAgainAfter(), std::nullopt) << "nothing is left to be saved";
  ExpectRightAnswers(docs, model);
}

TEST_F(ReopeningTest, TrainingIsRemembered) {
  tuning_.segment_rows = 512;
  tuning_.training_rows = 2'000;
  Collection& docs = Create("docs", {96, Metric::kL2});
  std::vector<Point> points = RandomPoints(1, 0, 2'100, 96);
  for (Point& point : points) {
    for (size_t j = 8; j < 96; ++j) point.vector[j] *= 0.02f;
  }
  ASSERT_THAT(Upsert(docs, points).status(), IsOk());
  ASSERT_THAT(docs.Maintain(), IsOk());
  const LayoutInfo before = docs.layout();
  ASSERT_TRUE(before.trained.layout->has_basis());
  ASSERT_THAT(docs.SaveCodes(), IsOk());
  Reopen();
  EXPECT_EQ(Of("docs").layout().trained.trained_rows, 2'100);
  EXPECT_EQ(Of("docs").layout().trained.energy, before.trained.energy);
  int events = 0;
  ASSERT_THAT(Of("docs").Maintain({}, [&](const auto&, const auto&) { ++events; }), IsOk());
  EXPECT_EQ(events, 0) << "there was nothing to do";
}

// Rows die and are replaced after their codes were written: the places stay, and are empty.
TEST_F(ReopeningTest, CodesOutliveTheirRows) {
  Model model;
  MakeSaved(model);
  ASSERT_THAT(Delete(Of("docs"), Range(0, 200)).status(), IsOk());
  std::vector<Point> replaced = RandomPoints(9, 300, 50, kDimension);
  ASSERT_THAT(Upsert(Of("docs"), replaced).status(), IsOk());
  for (const Id& id : Range(0, 200)) model.erase(id);
  for (const Point& point : replaced) model[point.id] = point.vector;
  const size_t files = Files(CodesFolderOf("docs"), ".codes").size();
  Reopen();
  EXPECT_EQ(Contents(Of("docs")), Points(model));
  EXPECT_EQ(Of("docs").info().dead_rows, 8 + 50) << "whole segments of dead rows are left out";
  EXPECT_EQ(Files(CodesFolderOf("docs"), ".codes").size(), files - 3);
  ExpectRightAnswers(Of("docs"), model);
  ASSERT_THAT(Of("docs").Compact().status(), IsOk());
  ASSERT_THAT(Of("docs").SaveCodes(), IsOk());
  Reopen();
  EXPECT_THAT(Of("docs").rebuilt().faults, IsEmpty());
  EXPECT_EQ(Contents(Of("docs")), Points(model));
  ExpectRightAnswers(Of("docs"), model);
}

// A crash between the writing of joined codes and the removal of what they replace leaves both.
TEST_F(ReopeningTest, OfTwoFilesWithTheSameRowsTheNewerCounts) {
  Model model;
  MakeSaved(model);
  const fs::path folder = CodesFolderOf("docs");
  const fs::path aside = folder_.path() / "aside";
  fs::copy(folder, aside);
  ASSERT_THAT(Delete(Of("docs"), Range(0, 50)).status(), IsOk());
  for (const Id& id : Range(0, 50)) model.erase(id);
  ASSERT_GT(*Of("docs").Compact(), 0);
  ASSERT_THAT(Of("docs").SaveCodes(), IsOk());
  const size_t files = Files(folder, ".codes").size();
  fs::copy(aside, folder, fs::copy_options::skip_existing | fs::copy_options::recursive);
  ASSERT_GT(Files(folder, ".codes").size(), files);
  Reopen();
  EXPECT_EQ(Files(folder, ".codes").size(), files);
  EXPECT_THAT(Of("docs").rebuilt().faults, IsEmpty());
  EXPECT_EQ(Contents(Of("docs")), Points(model));
  ExpectRightAnswers(Of("docs"), model);
}

// Derived data may be lost in any way: that costs time and a line in the log.
TEST_F(ReopeningTest, DamagedCodesAreMadeAnew) {
  Model model;
  MakeSaved(model);
  const fs::path folder = CodesFolderOf("docs");
  const auto codes = [&](size_t i) { return folder / Files(folder, ".codes").at(i); };
  const auto layout = [&] { return folder / Files(folder, ".layout").at(0); };
  const auto flip = [](const fs::path& path, uintmax_t at) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(at));
    const char byte = static_cast<char>(file.get() ^ 4);
    file.seekp(static_cast<std::streamoff>(at));
    file.put(byte);
  };
  const std::vector<std::pair<std::string, std::function<void()>>> damages = {
      {"a bit of a hash", [&] { flip(codes(0), 40 + 8 * 64 + 3); }},
      {"a bit of the last codes", [&] { flip(codes(1), fs::file_size(codes(1)) - 9); }},
      {"cut off", [&] { fs::resize_file(codes(2), 3'000); }},
      {"empty", [&] { fs::resize_file(codes(3), 0); }},
      {"a bit of the layout", [&] { flip(layout(), 10); }},
      {"one is gone", [&] { fs::remove(codes(4)); }},
      {"all are gone", [&] { fs::remove_all(folder); }},
  };
  for (const auto& [what, damage] : damages) {
    SCOPED_TRACE(what);
    const Observed before = Lasting(Of("docs"));
    collections_.clear();
    damage();
    Reopen();
    EXPECT_EQ(Lasting(Of("docs")), before);
    EXPECT_GE(Of("docs").rebuilt().rows, 64);
    if (!what.ends_with("gone")) {
      EXPECT_THAT(Of("docs").rebuilt().faults, Contains(HasSubstr(" is damaged: ")));
    }
    ExpectRightAnswers(Of("docs"), model);
    ASSERT_THAT(Of("docs").SaveCodes(), IsOk());
    Reopen();
    EXPECT_THAT(Of("docs").rebuilt().faults, IsEmpty()) << "it is whole again";
  }
}

// The checksum is right and the rows are others: the hash of each row tells.
TEST_F(ReopeningTest, CodesOfOtherRowsAreNotBelieved) {
  Model model;
  MakeSaved(model);
  const CollectionNumber number = store_->Collections()->front().number;
  StoreBatch batch;
  for (const uint64_t row : {5, 700}) {
    const Vector other(kDimension, static_cast<float>(row));
    batch.PutRow(number, row, row, other);
    model[row] = other;
  }
  ASSERT_THAT(store_->Commit(std::move(batch), [] { return StoreBatch(); }), IsOk());
  Reopen();
  EXPECT_THAT(Of("docs").rebuilt().faults,
              ElementsAre(HasSubstr("is of other rows"), HasSubstr("is of other rows")));
  EXPECT_EQ(Contents(Of("docs")), Points(model));
  ExpectRightAnswers(Of("docs"), model);
  ASSERT_THAT(Of("docs").SaveCodes(), IsOk());
  Reopen();
  EXPECT_THAT(Of("docs").rebuilt().faults, IsEmpty());
}

TEST_F(ReopeningTest, TemporaryFilesAreRemoved) {
  Model model;
  MakeSaved(model);
  const fs::path folder = CodesFolderOf("docs");
  std::ofstream(folder / "77.codes.tmp") << "half";
  Reopen();
  EXPECT_THAT(Files(folder, ".tmp"), IsEmpty());
}

// Nothing is written before it is final, nor twice.
TEST_F(ReopeningTest, EachSegmentIsSavedOnce) {
  Collection& docs = Create("docs", {kDimension, Metric::kL2});
  ASSERT_THAT(Upsert(docs, RandomPoints(1, 0, 63, kDimension)).status(), IsOk());
  EXPECT_EQ(docs.MaintainAgainAfter(), std::nullopt) << "no segment is full";
  ASSERT_THAT(Upsert(docs, RandomPoints(2, 63, 70, kDimension)).status(), IsOk());
  EXPECT_NE(docs.MaintainAgainAfter(), std::nullopt);
  ASSERT_THAT(docs.SaveCodes(), IsOk());
  const fs::path folder = CodesFolderOf("docs");
  EXPECT_THAT(Files(folder, ".codes"), ElementsAre("0.codes", "1.codes"));
  EXPECT_EQ(docs.MaintainAgainAfter(), std::nullopt);
  ASSERT_THAT(docs.SaveCodes(), IsOk());
  ASSERT_THAT(Upsert(docs, RandomPoints(3, 200, 64, kDimension)).status(), IsOk());
  ASSERT_THAT(docs.SaveCodes(), IsOk());
  EXPECT_THAT(Files(folder, ".codes"), ElementsAre("0.codes", "1.codes", "2.codes"));
  // Coded anew they are others, and only these stay.
  oracle::Random random(1);
  docs.SetLayout(AnyTrained(random));
  ASSERT_THAT(docs.Recode(), IsOk());
  ASSERT_THAT(docs.SaveCodes(), IsOk());
  EXPECT_THAT(Files(folder, ".codes"), ElementsAre("3.codes", "4.codes", "5.codes"));
  EXPECT_THAT(Files(folder, ".layout"), SizeIs(1));
}

// What contradicts itself is not served.
TEST_F(ReopeningTest, RowsThatTheStateDoesNotKnowAreDataLoss) {
  Model model;
  MakeSaved(model);
  StoredCollection stored = store_->Collections()->front();
  StoreBatch batch;
  StoredState less = stored.state;
  less.next_row = 1'000;
  batch.PutState(stored.number, less);
  ASSERT_THAT(store_->Commit(std::move(batch), [] { return StoreBatch(); }), IsOk());
  stored = store_->Collections()->front();
  EXPECT_THAT(
      Collection::Open(stored, *store_, workers_).status(),
      StatusIs(kDataLoss, ::testing::AllOf(HasSubstr("collection \"docs\": there is a row 1000"),
                                           HasSubstr("vexactd --repair"))));
}

TEST_F(ReopeningTest, TwoRowsOfOneIdAreDataLoss) {
  Create("docs", {1, Metric::kL2});
  ASSERT_THAT(Upsert(Of("docs"), {{"a", {1}}, {"b", {2}}}).status(), IsOk());
  const StoredCollection stored = store_->Collections()->front();
  StoreBatch batch;
  batch.PutRow(stored.number, 0, "b", Vector{1});
  ASSERT_THAT(store_->Commit(std::move(batch), [] { return StoreBatch(); }), IsOk());
  EXPECT_THAT(Collection::Open(stored, *store_, workers_).status(),
              StatusIs(kDataLoss, HasSubstr("two rows have the id \"b\"")));
}

TEST_F(ReopeningTest, ProgressEndsWithAllRows) {
  Model model;
  MakeSaved(model);
  std::vector<std::pair<uint64_t, uint64_t>> told;
  LoadOptions options;
  options.progress = [&](uint64_t rows, uint64_t total) { told.emplace_back(rows, total); };
  const StoredCollection stored = store_->Collections()->front();
  ASSERT_THAT(Collection::Open(stored, *store_, workers_, options).status(), IsOk());
  ASSERT_FALSE(told.empty());
  EXPECT_EQ(told.back(), (std::pair<uint64_t, uint64_t>(1'300, 1'300)));
  std::stop_source stop;
  stop.request_stop();
  options.stop = stop.get_token();
  EXPECT_THAT(Collection::Open(stored, *store_, workers_, options).status(),
              StatusIs(absl::StatusCode::kCancelled, "the server is stopping"));
}

TEST_F(ReopeningTest, MemoryIsNoMoreThanBefore) {
  Model model;
  MakeSaved(model);
  const MemoryUse before = Of("docs").memory();
  Reopen();
  const MemoryUse after = Of("docs").memory();
  EXPECT_LE(after.rows_bytes, before.rows_bytes);
  EXPECT_LE(after.codes_bytes, before.codes_bytes);
  EXPECT_LE(after.ids_bytes, before.ids_bytes);
  EXPECT_LE(after.overhead_bytes, before.overhead_bytes);
}

}  // namespace
}  // namespace vexact

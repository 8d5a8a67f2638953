// Collections to snapshot files and back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "core/catalog.h"
#include "core/reference_score.h"
#include "core/restoration.h"
#include "core/snapshot_folder.h"
#include "core/snapshot_source.h"
#include "tests/core/collection_fixture.h"
#include "tests/support/files.h"

namespace vexact {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr auto kDataLoss = absl::StatusCode::kDataLoss;
constexpr auto kExists = absl::StatusCode::kAlreadyExists;

std::string FileOf(const Collection& collection) {
  SnapshotSource source(collection);
  std::string bytes;
  while (source.Next(bytes)) {
  }
  return bytes;
}

absl::StatusOr<Restoration::Restored> Restore(Catalog& catalog, const std::string& name,
                                              const std::string& bytes) {
  Restoration restoration(catalog, name);
  constexpr size_t kStep = 50'000;
  for (size_t at = 0; at < bytes.size(); at += kStep) {
    absl::Status status = restoration.decoder().Add(bytes.substr(at, kStep));
    if (!status.ok()) return status;
  }
  return restoration.Finish();
}

// All that lasts: a snapshot holds no dead rows.
Observed Lasting(const Collection& collection) {
  Observed observed = Observe(collection);
  observed.dead_rows = 0;
  return observed;
}

bool SameBits(const std::vector<Point>& a, const std::vector<Point>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Point& x, const Point& y) {
    return x.id == y.id && x.vector.size() == y.vector.size() &&
           std::memcmp(x.vector.data(), y.vector.data(), x.vector.size() * sizeof(float)) == 0;
  });
}

class SnapshotTest : public ::testing::Test {
 protected:
  // One catalog in memory, and one in a store.
  SnapshotTest() : memory_(workers_), directory_((temporary_.path() / "data").string()) { Open(); }

  void Open() {
    auto store = Store::Open({.directory = directory_});
    ASSERT_THAT(store.status(), IsOk());
    store_ = *std::move(store);
    auto durable = Catalog::Open(*store_, workers_);
    ASSERT_THAT(durable.status(), IsOk());
    durable_ = *std::move(durable);
    auto folder = SnapshotFolder::Open(directory_);
    ASSERT_THAT(folder.status(), IsOk());
    folder_ = *std::move(folder);
  }
  void Close() {
    folder_.reset();
    durable_.reset();
    store_.reset();
  }

  std::shared_ptr<Collection> Create(Catalog& catalog, const std::string& name,
                                     const CollectionConfig& config) {
    const auto created = catalog.Create(name, config);
    EXPECT_THAT(created.status(), IsOk());
    return created->collection;
  }

  // A collection of some rows, in memory.
  std::shared_ptr<Collection> Small(const std::string& name = "docs") {
    const auto collection = Create(memory_, name, {3, Metric::kL2, Normalization::kNone});
    EXPECT_THAT(Upsert(*collection, RandomPoints(1, 0, 40, 3)).status(), IsOk());
    return collection;
  }

  size_t StoredCollections() const { return store_->Collections()->size(); }

  // The files of all snapshots, whole or not.
  std::vector<std::string> Files() const {
    std::vector<std::string> files;
    std::error_code missing;
    for (const auto& entry :
         std::filesystem::recursive_directory_iterator(directory_ + "/snapshots", missing)) {
      if (entry.is_regular_file()) files.push_back(entry.path().filename().string());
    }
    std::sort(files.begin(), files.end());
    return files;
  }

  Workers workers_{2};
  Catalog memory_;
  testing::TempDir temporary_;
  const std::string directory_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<Catalog> durable_;
  std::unique_ptr<SnapshotFolder> folder_;
};

const auto kGoOn = [] { return absl::OkStatus(); };

struct World {
  Metric metric;
  Normalization normalization;
  uint32_t dimension;
  size_t rows;
};

// Text and number ids, some replaced, some deleted.
void Fill(Collection& collection, const World& world, uint64_t seed) {
  oracle::Random random(seed);
  std::vector<Point> points;
  for (size_t i = 0; i < world.rows; ++i) {
    Point point{uint64_t{i * 7}, random.Gaussian(world.dimension)};
    if (i % 3 == 0) point.id = "título " + std::to_string(i);
    if (i % 5 == 0) point.vector[0] = -0.0f;
    // No zero vector: of one dimension it would be.
    if (world.dimension == 1) point.vector[0] = i % 2 == 0 ? 1.5f : -2.25f;
    if (world.normalization == Normalization::kRequireUnit) {
      L2Normalize(point.vector, Dot(point.vector, point.vector), point.vector);
    }
    points.push_back(std::move(point));
  }
  for (size_t at = 0; at < points.size(); at += 1'000) {
    const size_t end = std::min(points.size(), at + 1'000);
    ASSERT_THAT(collection.Upsert(Views(std::span(points).subspan(at, end - at))).status(), IsOk());
  }
  if (points.size() < 10) return;
  ASSERT_THAT(Upsert(collection, {{points[4].id, points[5].vector}}).status(), IsOk());
  ASSERT_THAT(Delete(collection, {points[0].id, points[7].id}).status(), IsOk());
}

TEST_F(SnapshotTest, BringsBackEveryBitInMemoryAndOnTheDisk) {
  std::vector<World> worlds = {{Metric::kCosine, Normalization::kNone, 65'536, 25},
                               {Metric::kL2, Normalization::kNone, 8, 0},
                               {Metric::kL2, Normalization::kL2, 1, 1},
                               {Metric::kInnerProduct, Normalization::kNone, 7, 12'000}};
  for (const Metric metric : kMetrics) {
    for (const auto normalization :
         {Normalization::kNone, Normalization::kL2, Normalization::kRequireUnit}) {
      worlds.push_back({metric, normalization, 33, 600});
    }
  }
  std::map<std::string, Observed> expected;
  for (size_t i = 0; i < worlds.size(); ++i) {
    const World& world = worlds[i];
    const std::string name = "world" + std::to_string(i);
    SCOPED_TRACE(name);
    // The metric is changed, as it can be at any time.
    const auto original =
        Create(memory_, name, {world.dimension, Metric::kInnerProduct, world.normalization});
    Fill(*original, world, i);
    ASSERT_THAT(original->SetMetric(world.metric), IsOk());
    expected[name] = Lasting(*original);
    const std::string file = FileOf(*original);
    for (Catalog* catalog : {&memory_, durable_.get()}) {
      const auto restored = Restore(*catalog, name + "r", file);
      ASSERT_THAT(restored.status(), IsOk());
      const Collection& copy = *restored->collection;
      EXPECT_EQ(restored->header.collection, name);
      EXPECT_EQ(copy.info().sequence, original->info().sequence);
      EXPECT_EQ(Observe(copy), expected[name]);
      EXPECT_TRUE(SameBits(Contents(copy), expected[name].points));
      if (world.rows == 0) continue;
      const std::vector<float> query = expected[name].points.front().vector;
      for (const EngineKind engine : ExactEngines()) {
        EXPECT_EQ(Search(copy, query, {.k = 20, .engine = engine}),
                  Search(*original, query, {.k = 20, .engine = engine}));
      }
      // The copy goes on from there.
      ASSERT_THAT(
          Upsert(*restored->collection, {{std::string("new"), expected[name].points[0].vector}})
              .status(),
          IsOk());
      EXPECT_EQ(copy.info().sequence, original->info().sequence + 1);
      ASSERT_THAT(Delete(*restored->collection, {std::string("new")}).status(), IsOk());
    }
  }
  Close();
  Open();
  for (const auto& [name, observed] : expected) {
    SCOPED_TRACE(name);
    const auto copy = durable_->Get(name + "r");
    ASSERT_THAT(copy.status(), IsOk());
    EXPECT_TRUE(SameBits(Contents(**copy), observed.points));
    EXPECT_EQ((*copy)->info().config, observed.config);
  }
}

TEST_F(SnapshotTest, OfACopyIsTheSameFile) {
  const auto original = Small();
  const auto copy = Restore(*durable_, "copy", FileOf(*original));
  ASSERT_THAT(copy.status(), IsOk());
  const auto again = Restore(*durable_, "again", FileOf(*copy->collection));
  ASSERT_THAT(again.status(), IsOk());
  EXPECT_EQ(Observe(*again->collection), Observe(*original));
}

// What a writer did, and the sequence number that it got.
struct Done {
  std::map<Id, std::optional<std::vector<float>>> changes;  // absent: deleted
};

TEST_F(SnapshotTest, IsTheStateOfOneSequenceNumberWhileOthersWrite) {
  const auto collection = Create(*durable_, "busy", {512, Metric::kL2, Normalization::kNone});
  std::mutex mutex;
  std::map<uint64_t, Done> log;
  std::atomic<bool> stop = false;
  std::vector<std::thread> writers;
  for (uint64_t w = 0; w < 3; ++w) {
    writers.emplace_back([&, w] {
      oracle::Random random(w);
      // Ids overlap between writers.
      for (uint64_t i = 0; i < 1'000'000 && !stop; ++i) {
        Done done;
        uint64_t sequence = 0;
        if (i % 4 == 3) {
          const Id id = (w * 31 + i * 7) % 400;
          const auto result = Delete(*collection, {id});
          if (!result.ok() || result->deleted == 0) continue;
          done.changes[id] = std::nullopt;
          sequence = result->sequence;
        } else {
          std::vector<Point> points;
          for (uint64_t j = 0; j < 1 + i % 9; ++j) {
            points.push_back({(i * 13 + j * 5 + w) % 400, random.Gaussian(512)});
            if (i % 2 == 0) points.back().id = std::to_string((i + j) % 300);
          }
          const auto result = Upsert(*collection, points);
          if (!result.ok()) continue;  // an id twice
          for (const Point& point : points) done.changes[point.id] = point.vector;
          sequence = result->sequence;
        }
        std::lock_guard lock(mutex);
        log[sequence] = std::move(done);
      }
    });
  }
  // Until something was written since; a writer that is done does not come again.
  const auto await_writes = [&] {
    const uint64_t before = collection->info().sequence;
    for (int waits = 0; waits < 200 && collection->info().sequence < before + 5; ++waits) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  };
  std::vector<std::string> files;
  for (int i = 0; i < 25; ++i) {
    // Written over several writes: before the first row and between the pieces.
    SnapshotSource source(*collection);
    std::string& file = files.emplace_back();
    do await_writes();
    while (source.Next(file));
    if (i % 8 == 7) (void)collection->Compact();
  }
  stop = true;
  for (std::thread& writer : writers) writer.join();
  files.push_back(FileOf(*collection));
  std::set<uint64_t> sequences;
  for (size_t i = 0; i < files.size(); ++i) {
    const auto restored = Restore(memory_, "busy" + std::to_string(i), files[i]);
    ASSERT_THAT(restored.status(), IsOk());
    const uint64_t sequence = restored->header.sequence;
    sequences.insert(sequence);
    std::map<Id, std::vector<float>> expected;
    for (auto done = log.begin(); done != log.end() && done->first <= sequence; ++done) {
      for (const auto& [id, vector] : done->second.changes) {
        if (vector) {
          expected[id] = *vector;
        } else {
          expected.erase(id);
        }
      }
    }
    std::vector<Point> points;
    for (const auto& [id, vector] : expected) points.push_back({id, vector});
    EXPECT_TRUE(SameBits(Contents(*restored->collection), points)) << "sequence " << sequence;
  }
  EXPECT_GT(sequences.size(), 10) << "the writers hardly wrote: seen too little";
}

TEST_F(SnapshotTest, LeavesNothingOfARestorationThatIsNotFinished) {
  const auto original = Small();
  const std::string file = FileOf(*original);
  for (Catalog* catalog : {&memory_, durable_.get()}) {
    const size_t before = catalog->List().size();
    {
      Restoration restoration(*catalog, "half");
      ASSERT_THAT(restoration.decoder().Add(file.substr(0, file.size() - 50)), IsOk());
      EXPECT_EQ(catalog->Get("half").status().code(), kNotFound);
    }
    EXPECT_THAT(Restore(*catalog, "half", file.substr(0, file.size() - 1)).status(),
                StatusIs(kDataLoss, HasSubstr("the snapshot is cut off here")));
    EXPECT_THAT(Restore(*catalog, "half", file + "x").status(),
                StatusIs(kDataLoss, HasSubstr("there are bytes behind the snapshot's end")));
    EXPECT_THAT(Restore(*catalog, "half", "").status(), StatusIs(kDataLoss, HasSubstr("empty")));
    EXPECT_THAT(catalog->List(), SizeIs(before));
    EXPECT_EQ(StoredCollections(), 0);
  }
  // As a crash would leave it.
  auto restoration = std::make_unique<Restoration>(*durable_, "half");
  ASSERT_THAT(restoration->decoder().Add(file.substr(0, file.size() - 50)), IsOk());
  const auto number = store_->CreateUnnamed({3, Metric::kL2, Normalization::kNone});
  ASSERT_THAT(number.status(), IsOk());
  restoration.reset();
  Close();
  Open();
  EXPECT_EQ(StoredCollections(), 0);
  EXPECT_THAT(durable_->List(), IsEmpty());
}

TEST_F(SnapshotTest, IsRefusedWholeWhenAnyPartIsAltered) {
  const auto original = Small();
  const std::string file = FileOf(*original);
  for (size_t at = 0; at < file.size(); at += 11) {
    std::string altered = file;
    altered[at] = static_cast<char>(altered[at] ^ 0x10);
    ASSERT_FALSE(Restore(*durable_, "altered", altered).ok()) << "byte " << at;
  }
  EXPECT_THAT(durable_->List(), IsEmpty());
  EXPECT_EQ(StoredCollections(), 0);
}

// A file with good sums all over, of rows that a collection cannot hold.
std::string Forge(Metric metric, Normalization normalization, const std::vector<Point>& points) {
  snapshot::Encoder encoder({.collection = "forged",
                             .dimension = static_cast<uint32_t>(points[0].vector.size()),
                             .metric = static_cast<uint32_t>(metric) + 1,
                             .normalization = static_cast<uint32_t>(normalization) + 1,
                             .sequence = 1,
                             .rows = points.size()});
  std::string bytes;
  encoder.Begin(bytes);
  for (const Point& point : points) encoder.Add({View(point.id), point.vector}, bytes);
  encoder.Finish(bytes);
  return bytes;
}

TEST_F(SnapshotTest, OfRowsThatNoCollectionHoldsIsRefused) {
  const struct {
    Metric metric;
    Normalization normalization;
    std::vector<Point> points;
    std::string message;
  } cases[] = {
      {Metric::kL2,
       Normalization::kNone,
       {{Number(1), {1, 2}}, {Number(1), {3, 4}}},
       "two rows have the id 1"},
      {Metric::kL2,
       Normalization::kNone,
       {{std::string("a"), {1, 2}}, {std::string("a"), {3, 4}}},
       "two rows have the id \"a\""},
      {Metric::kL2,
       Normalization::kNone,
       {{Number(1), {1, 2}}, {Number(2), {3, kNan}}},
       "row 1: component 1 is NaN; vectors must be finite"},
      {Metric::kL2,
       Normalization::kNone,
       {{std::string("\xff"), {1, 2}}},
       "row 0: id is not valid UTF-8"},
      {Metric::kL2,
       Normalization::kNone,
       {{std::string(513, 'x'), {1, 2}}},
       "has 513 bytes; the limit is 512"},
      {Metric::kCosine,
       Normalization::kNone,
       {{Number(1), {0, 0}}},
       "row 0: a zero vector, which has no direction under cosine"},
      {Metric::kL2, Normalization::kL2, {{Number(1), {3, 4}}}, "row 0: its norm is 5 in"},
  };
  for (const auto& [metric, normalization, points, message] : cases) {
    EXPECT_THAT(Restore(*durable_, "forged", Forge(metric, normalization, points)).status(),
                StatusIs(kDataLoss, HasSubstr(message)));
  }
  EXPECT_THAT(durable_->List(), IsEmpty());
  EXPECT_EQ(StoredCollections(), 0);
}

TEST_F(SnapshotTest, GoesIntoNewCollectionsOnly) {
  const auto original = Small();
  const std::string file = FileOf(*original);
  const Observed before = Observe(*original);
  EXPECT_THAT(Restore(memory_, "docs", file).status(),
              StatusIs(kExists,
                       "collection \"docs\" exists; restore under another name, or drop "
                       "it first"));
  EXPECT_EQ(Observe(*original), before);
  for (const std::string name : {"", "../docs", "a/b", ".", "..", "-a", "a b", "ä"}) {
    EXPECT_THAT(Restore(memory_, name, file).status(), StatusIs(kInvalid, HasSubstr("name")));
  }
  // Of two at the same time one comes first.
  Restoration first(*durable_, "twin"), second(*durable_, "twin");
  ASSERT_THAT(first.decoder().Add(file), IsOk());
  ASSERT_THAT(second.decoder().Add(file), IsOk());
  EXPECT_THAT(second.Finish().status(), IsOk());
  EXPECT_EQ(first.Finish().status().code(), kExists);
  EXPECT_THAT(durable_->List(), SizeIs(1));
}

TEST_F(SnapshotTest, IsKeptListedAndDeleted) {
  const auto docs = Small("docs"), other = Small("other");
  const auto first = folder_->Create(*docs, "zz", kGoOn);
  ASSERT_THAT(first.status(), IsOk());
  ASSERT_THAT(folder_->Create(*docs, "aa", kGoOn).status(), IsOk());
  ASSERT_THAT(folder_->Create(*other, "zz", kGoOn).status(), IsOk());
  const auto named = folder_->Create(*docs, "", kGoOn);
  ASSERT_THAT(named.status(), IsOk());
  EXPECT_THAT(named->name, ::testing::MatchesRegex("[0-9]{8}T[0-9]{6}Z-1"));
  EXPECT_THAT(folder_->Create(*docs, "aa", kGoOn).status(),
              StatusIs(kExists, "collection \"docs\" has a snapshot \"aa\" already"));

  const auto list = folder_->List("docs");
  ASSERT_THAT(list.status(), IsOk());
  std::vector<std::string> names;
  for (const auto& stored : *list) names.push_back(stored.name);
  EXPECT_THAT(names, ElementsAre("zz", "aa", named->name));  // oldest first
  ASSERT_THAT(list->front().summary.status(), IsOk());
  EXPECT_EQ(list->front().summary->footer, first->summary->footer);
  EXPECT_EQ(list->front().summary->header, first->summary->header);
  EXPECT_EQ(list->front().bytes, first->bytes);
  EXPECT_THAT(*folder_->List(""), SizeIs(4));
  EXPECT_EQ(folder_->List("")->back().collection, "other");
  EXPECT_THAT(*folder_->List("nothing"), IsEmpty());

  const auto path = folder_->Find("docs", "zz");
  ASSERT_THAT(path.status(), IsOk());
  EXPECT_THAT(snapshot::Check(*path).status(), IsOk());
  const auto bytes = folder_->Delete("docs", "zz");
  ASSERT_THAT(bytes.status(), IsOk());
  EXPECT_EQ(*bytes, first->bytes);
  EXPECT_THAT(folder_->Delete("docs", "zz").status(),
              StatusIs(kNotFound, HasSubstr("no snapshot \"zz\" of collection \"docs\"")));
  EXPECT_THAT(*folder_->List("docs"), SizeIs(2));
  // The last one takes its folder along.
  ASSERT_THAT(folder_->Delete("other", "zz").status(), IsOk());
  EXPECT_FALSE(std::filesystem::exists(directory_ + "/snapshots/other"));
  ASSERT_THAT(folder_->Create(*other, "zz", kGoOn).status(), IsOk());
}

TEST_F(SnapshotTest, HasANameThatLeadsNowhereElse) {
  const auto docs = Small();
  std::ofstream(directory_ + "/secret.vxsnap") << "x";
  for (const std::string name : {"../secret", "../../secret", "/etc/passwd", "a/b", ".", "..",
                                 ".hidden", "a\n", std::string("a\0b", 3).c_str(), " ", "ä"}) {
    if (name == "a") continue;
    SCOPED_TRACE(name);
    const auto refused = StatusIs(kInvalid, HasSubstr("is not allowed; it must be"));
    EXPECT_THAT(folder_->Create(*docs, name, kGoOn).status(), refused);
    EXPECT_THAT(folder_->Find("docs", name).status(), refused);
    EXPECT_THAT(folder_->Delete("docs", name).status(), refused);
    EXPECT_THAT(folder_->Find(name, "secret").status(), refused);
    EXPECT_THAT(folder_->List(name).status(), refused);
  }
  EXPECT_THAT(folder_->Create(*docs, std::string(129, 'a'), kGoOn).status(),
              StatusIs(kInvalid, "name has 129 characters; the limit is 128"));
  EXPECT_THAT(folder_->Create(*docs, std::string(128, 'a'), kGoOn).status(), IsOk());
  EXPECT_TRUE(std::filesystem::exists(directory_ + "/secret.vxsnap"));
}

TEST_F(SnapshotTest, ThatIsGivenUpLeavesNoFile) {
  const auto docs = Small();
  const auto big = Create(memory_, "big", {1'000, Metric::kL2, Normalization::kNone});
  ASSERT_THAT(Upsert(*big, RandomPoints(2, 0, 2'000, 1'000)).status(), IsOk());
  int asked = 0;
  const absl::Status stop = absl::CancelledError("enough");
  EXPECT_EQ(
      folder_->Create(*big, "x", [&] { return ++asked < 3 ? absl::OkStatus() : stop; }).status(),
      stop);
  EXPECT_EQ(asked, 3);
  EXPECT_THAT(Files(), IsEmpty());
  // The name is free again.
  EXPECT_THAT(folder_->Create(*big, "x", kGoOn).status(), IsOk());
  EXPECT_THAT(Files(), ElementsAre("x.vxsnap"));
}

TEST_F(SnapshotTest, OnAFullDiskLeavesNoFileAndSaysHowMuchRoomThereIs) {
  const std::string disk = temporary_.path() / "disk";
  std::filesystem::create_directory(disk);
  if (mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=1m") != 0) {
    GTEST_SKIP() << "a small file system cannot be mounted: " << std::strerror(errno);
  }
  const auto folder = SnapshotFolder::Open(disk);
  ASSERT_THAT(folder.status(), IsOk());
  const auto docs = Small();
  const auto big = Create(memory_, "big", {1'000, Metric::kL2, Normalization::kNone});
  ASSERT_THAT(Upsert(*big, RandomPoints(2, 0, 2'000, 1'000)).status(), IsOk());
  EXPECT_THAT((*folder)->Create(*big, "x", kGoOn).status(),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       AllOf(HasSubstr("No space left on device"),
                             HasSubstr(" bytes are free on its disk"))));
  EXPECT_THAT(*(*folder)->List(""), IsEmpty());
  EXPECT_TRUE(std::filesystem::is_empty(disk + "/snapshots/big"));
  // What has room is made.
  EXPECT_THAT((*folder)->Create(*docs, "x", kGoOn).status(), IsOk());
  umount2(disk.c_str(), MNT_DETACH);
}

TEST_F(SnapshotTest, ThatIsBeingMadeIsNoneYetAndKeepsItsName) {
  const auto docs = Small();
  bool tried = false;
  const auto made = folder_->Create(*docs, "x", [&] {
    tried = true;
    EXPECT_EQ(folder_->Create(*docs, "x", kGoOn).status().code(), kExists);
    EXPECT_EQ(folder_->Find("docs", "x").status().code(), kNotFound);
    EXPECT_THAT(*folder_->List(""), IsEmpty());
    return absl::OkStatus();
  });
  EXPECT_THAT(made.status(), IsOk());
  EXPECT_TRUE(tried);
}

TEST_F(SnapshotTest, ThatWasHalfWrittenIsGoneAfterTheNextStart) {
  const auto docs = Small();
  ASSERT_THAT(folder_->Create(*docs, "whole", kGoOn).status(), IsOk());
  std::ofstream(directory_ + "/snapshots/docs/half.vxsnap.tmp") << "VXSNAP";
  Close();
  Open();
  EXPECT_THAT(Files(), ElementsAre("whole.vxsnap"));
}

TEST_F(SnapshotTest, ThatIsDamagedIsListedWithWhatIsWrong) {
  const auto docs = Small();
  ASSERT_THAT(folder_->Create(*docs, "cut", kGoOn).status(), IsOk());
  ASSERT_THAT(folder_->Create(*docs, "good", kGoOn).status(), IsOk());
  const std::string path = *folder_->Find("docs", "cut");
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 3);
  const auto list = folder_->List("docs");
  ASSERT_THAT(list.status(), IsOk());
  ASSERT_THAT(*list, SizeIs(2));
  EXPECT_EQ((*list)[0].name, "cut");
  EXPECT_THAT((*list)[0].summary.status(), StatusIs(kDataLoss, HasSubstr("is cut off here")));
  EXPECT_THAT((*list)[1].summary.status(), IsOk());
  EXPECT_THAT(folder_->Delete("docs", "cut").status(), IsOk());
}

}  // namespace
}  // namespace vexact

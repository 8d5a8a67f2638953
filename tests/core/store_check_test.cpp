// Damage to each kind of file: what the store says to it, what verifying finds, what a repair
// keeps.

#include "core/store_check.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <optional>
#include <random>
#include <set>
#include <sstream>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "core/store_database.h"
#include "tests/core/store_fixture.h"

namespace vexact {
namespace {

namespace fs = std::filesystem;
using ::testing::_;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Gt;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Lt;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

using World = std::map<CollectionNumber, StoredContents>;

constexpr auto kDataLoss = absl::StatusCode::kDataLoss;
constexpr size_t kLogTail = 3;  // commits that are in the log only

// A store that has been at work: rows added, replaced and deleted, files of each kind, and a log
// that has what the files have not, as a crash leaves it.
class Image {
 public:
  Image() {
    const testing::TempDir folder;
    StoreOptions options{.directory = (folder.path() / "data").string()};
    options.tuning.memtable_bytes = 100'000;
    auto store = *Store::Open(options);
    std::mt19937_64 random(7);
    docs_ = *store->Create("docs", {.dimension = 16, .metric = Metric::kL2});
    words_ = *store->Create("words", {.dimension = 3});
    (void)store->CreateUnnamed({.dimension = 1});
    for (int commit = 0; commit < 60; ++commit) Commit(*store, docs_, 40, random);
    for (int commit = 0; commit < 10; ++commit) Commit(*store, words_, 20, random);
    store.reset();  // all of it is in tables and files of vectors now
    store = *Store::Open(options);
    AwaitQuietLog(options.directory);
    for (size_t commit = 0; commit < kLogTail; ++commit) Commit(*store, docs_, 10, random);
    world_ = *ReadAll(*store);
    // What the background still rewrites would be copied half before and half after.
    const auto rewrites = [&] {
      const StoreStatistics statistics = store->statistics();
      return statistics.compactions_running > 0 || statistics.compactions_pending_bytes > 0;
    };
    while (true) {
      for (int quiet = 0; quiet < 5; quiet = rewrites() ? 0 : quiet + 1) {
        absl::SleepFor(absl::Milliseconds(20));
      }
      std::error_code error;
      fs::copy(options.directory, copy_.path() / "data", fs::copy_options::recursive, error);
      if (!error) return;
      fs::remove_all(copy_.path() / "data");
    }
  }

  // What the background logs, which removes the unnamed collection, is to lie before the commits
  // that tests damage.
  static void AwaitQuietLog(const fs::path& directory) {
    const auto logged = [&] {
      uintmax_t bytes = 0;
      for (const auto& entry : fs::directory_iterator(directory / "store")) {
        if (entry.path().extension() == ".log") bytes += entry.file_size();
      }
      return bytes;
    };
    uintmax_t before = logged();
    for (int quiet = 0; quiet < 10; ++quiet) {
      absl::SleepFor(absl::Milliseconds(20));
      if (std::exchange(before, logged()) != before) quiet = 0;
    }
  }

  fs::path CopyTo(const fs::path& folder) const {
    fs::copy(copy_.path() / "data", folder / "data", fs::copy_options::recursive);
    return folder / "data";
  }

  const World& world() const { return world_; }
  // What a row was, if it ever was.
  const Row* Ever(CollectionNumber collection, uint64_t row) const {
    const auto place = ever_.find({collection, row});
    return place == ever_.end() ? nullptr : &place->second;
  }
  CollectionNumber docs() const { return docs_; }
  CollectionNumber words() const { return words_; }

 private:
  void Commit(Store& store, CollectionNumber collection, int count, std::mt19937_64& random) {
    StoredContents& contents = building_[collection];
    contents.config.dimension = collection == docs_ ? 16 : 3;
    StoreBatch batch;
    for (int i = 0; i < count; ++i) {
      const uint64_t number = contents.state.next_row++;
      Row row{number % 3 == 0 ? Id(absl::StrFormat("id %d", number)) : Id(number), {}};
      // Now and then under the id of an older row, which it replaces.
      if (!contents.rows.empty() && random() % 4 == 0) {
        const auto replaced = contents.rows.begin();
        row.id = replaced->second.id;
        batch.DeleteRow(collection, replaced->first);
        contents.rows.erase(replaced);
      }
      for (uint32_t k = 0; k < contents.config.dimension; ++k) {
        row.vector.push_back(static_cast<float>(static_cast<int32_t>(random())));
      }
      batch.PutRow(collection, number, View(row.id), row.vector);
      ever_[{collection, number}] = row;
      contents.rows[number] = std::move(row);
    }
    contents.state.sequence += 1;
    batch.PutState(collection, contents.state);
    EXPECT_THAT(store.Commit(std::move(batch), [] { return StoreBatch(); }), IsOk());
  }

  testing::TempDir copy_;
  CollectionNumber docs_ = 0, words_ = 0;
  World building_, world_;
  std::map<std::pair<CollectionNumber, uint64_t>, Row> ever_;
};

const Image& TheImage() {
  static const Image image;
  return image;
}

std::string ReadFile(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

void WriteFile(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

void FlipBit(const fs::path& path, size_t offset, int bit = 3) {
  std::string bytes = ReadFile(path);
  ASSERT_LT(offset, bytes.size());
  bytes[offset] = static_cast<char>(bytes[offset] ^ (1 << bit));
  WriteFile(path, bytes);
}

class StoreCheckTest : public ::testing::Test {
 protected:
  StoreCheckTest() : directory_(TheImage().CopyTo(folder_.path())) {}

  fs::path database() const { return directory_ / "store"; }

  // The file of this ending, or beginning, with the most bytes.
  fs::path File(std::string_view kind) const {
    fs::path largest;
    for (const auto& entry : fs::directory_iterator(database())) {
      const std::string name = entry.path().filename();
      if (!name.ends_with(kind) && !name.starts_with(kind)) continue;
      if (largest.empty() || entry.file_size() > fs::file_size(largest)) largest = entry.path();
    }
    EXPECT_FALSE(largest.empty()) << kind;
    return largest;
  }

  // The largest table of a family.
  fs::path Table(Family family) const {
    auto opened = OpenDatabase(directory_, DatabaseOptions(rocksdb::Env::Default(), 1 << 20),
                               DatabaseMode::kReadOnly);
    EXPECT_THAT(opened.status(), IsOk());
    std::vector<rocksdb::LiveFileMetaData> files;
    opened->db->GetLiveFilesMetaData(&files);
    const rocksdb::LiveFileMetaData* largest = nullptr;
    for (const auto& file : files) {
      if (file.column_family_name != Name(family)) continue;
      if (largest == nullptr || file.size > largest->size) largest = &file;
    }
    return database() / largest->relative_filename;
  }

  StoreCheckOptions Options() {
    return {.directory = directory_,
            .report = [this](std::string_view line) { lines_.emplace_back(line); }};
  }

  StoreCheckResult Verify() {
    lines_.clear();
    const auto result = VerifyStore(Options());
    EXPECT_THAT(result.status(), IsOk());
    EXPECT_EQ(result.ok() ? result->problems : 0, lines_.size());
    return result.value_or(StoreCheckResult());
  }

  StoreRepairResult Repair() {
    lines_.clear();
    const auto result = RepairStore(Options());
    EXPECT_THAT(result.status(), IsOk());
    return result.value_or(StoreRepairResult());
  }

  absl::StatusOr<World> Contents() {
    auto store = Store::Open({.directory = directory_});
    if (!store.ok()) return store.status();
    return ReadAll(**store);
  }

  // Repairs, and checks what must be so after any repair. Returns what is there.
  World RepairAndCheck() {
    const StoreRepairResult repaired = Repair();
    EXPECT_TRUE(repaired.damaged.has_value());
    EXPECT_TRUE(fs::exists(repaired.damaged.value_or("none")));
    const std::vector<std::string> told = lines_;
    EXPECT_THAT(told, Not(IsEmpty()));
    EXPECT_EQ(Verify().problems, 0) << lines_.front();
    const auto contents = Contents();
    EXPECT_THAT(contents.status(), IsOk());
    if (!contents.ok()) return {};
    for (const auto& [number, collection] : *contents) {
      std::set<Id> ids;
      for (const auto& [row, kept] : collection.rows) {
        const Row* ever = TheImage().Ever(number, row);
        EXPECT_TRUE(ever != nullptr && *ever == kept) << "row " << row;
        EXPECT_TRUE(ids.insert(kept.id).second) << Describe(View(kept.id));
        EXPECT_LT(row, collection.state.next_row);
      }
    }
    lines_ = told;
    return *contents;
  }

  // The rows that were there and are not.
  static std::map<uint64_t, Row> Lost(const World& kept, CollectionNumber collection) {
    std::map<uint64_t, Row> lost = TheImage().world().at(collection).rows;
    const auto place = kept.find(collection);
    if (place == kept.end()) return lost;
    for (const auto& [row, contents] : place->second.rows) lost.erase(row);
    return lost;
  }

  testing::TempDir folder_;
  const fs::path directory_;
  std::vector<std::string> lines_;
};

TEST_F(StoreCheckTest, ASoundStoreHasNoProblemsAndNothingToRepair) {
  const World& world = TheImage().world();
  const uint64_t docs = world.at(TheImage().docs()).rows.size();
  const uint64_t words = world.at(TheImage().words()).rows.size();
  const std::vector<CheckedCollection> counts = {{"docs", docs}, {"words", words}};
  EXPECT_EQ(Verify().collections, counts);
  EXPECT_THAT(lines_, IsEmpty());
  const StoreRepairResult repaired = Repair();
  EXPECT_EQ(repaired.damaged, std::nullopt);
  EXPECT_EQ(repaired.collections, counts);
  EXPECT_FALSE(fs::exists(directory_ / "store.repair"));
  EXPECT_EQ(*Contents(), world);
}

TEST_F(StoreCheckTest, AStoreInUseIsLeftAlone) {
  const auto store = Store::Open({.directory = directory_});
  const auto in_use = StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("is in use by"));
  EXPECT_THAT(VerifyStore(Options()).status(), in_use);
  EXPECT_THAT(RepairStore(Options()).status(), in_use);
}

TEST_F(StoreCheckTest, NothingIsMadeWhereThereIsNoStore) {
  StoreCheckOptions options = Options();
  options.directory = folder_.path() / "none";
  EXPECT_THAT(VerifyStore(options).status(), StatusIs(absl::StatusCode::kNotFound, _));
  EXPECT_THAT(RepairStore(options).status(), StatusIs(absl::StatusCode::kNotFound, _));
  EXPECT_FALSE(fs::exists(options.directory));
  fs::create_directory(options.directory);
  EXPECT_THAT(VerifyStore(options).status(),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("has no store")));
  EXPECT_THAT(RepairStore(options).status(), StatusIs(absl::StatusCode::kNotFound, _));
  EXPECT_TRUE(fs::is_empty(options.directory));
}

TEST_F(StoreCheckTest, AFlippedBitOfAVectorLosesThatRowOnly) {
  const World& world = TheImage().world();
  const auto& [row, contents] = *std::prev(world.at(TheImage().docs()).rows.end(), 200);
  // The place of its bytes, which are nowhere else.
  const std::string bytes(reinterpret_cast<const char*>(contents.vector.data()), 64);
  size_t found = 0;
  for (const auto& entry : fs::directory_iterator(database())) {
    const size_t place = ReadFile(entry.path()).find(bytes);
    if (place == std::string::npos) continue;
    ++found;
    FlipBit(entry.path(), place + 10);
  }
  ASSERT_EQ(found, 1);
  EXPECT_THAT(Contents().status(),
              StatusIs(kDataLoss, AllOf(StartsWith("collection \"docs\": "),
                                        HasSubstr("Blob CRC mismatch"), HasSubstr("--repair"))));
  const std::string name =
      absl::StrFormat("collection \"docs\", row %d, id %s: ", row, Describe(View(contents.id)));
  Verify();
  EXPECT_THAT(lines_, ElementsAre(StartsWith(name + "its vector cannot be read: Corruption")));
  const World kept = RepairAndCheck();
  EXPECT_THAT(lines_, ElementsAre(StartsWith(name + "lost: its vector cannot be read: ")));
  EXPECT_THAT(Lost(kept, TheImage().docs()), ElementsAre(std::pair(row, contents)));
  EXPECT_THAT(Lost(kept, TheImage().words()), IsEmpty());
}

TEST_F(StoreCheckTest, OtherCollectionsServeWhenOneIsDamaged) {
  const fs::path ids = Table(Family::kIds);
  FlipBit(ids, 100);
  auto store = Store::Open({.directory = directory_});
  ASSERT_THAT(store.status(), IsOk());
  constexpr uint64_t kEnd = std::numeric_limits<uint64_t>::max();
  int whole = 0;
  for (const auto& [number, contents] : TheImage().world()) {
    size_t count = 0;
    const absl::Status status = (*store)->VisitIds(number, 0, kEnd, [&](uint64_t, IdView) {
      ++count;
      return absl::OkStatus();
    });
    if (status.ok()) {
      EXPECT_EQ(count, contents.rows.size());
      ++whole;
    } else {
      EXPECT_THAT(status, StatusIs(kDataLoss, StartsWith("collection \"" + contents.name + "\"")));
    }
  }
  EXPECT_EQ(whole, 1);
}

TEST_F(StoreCheckTest, DamagedTablesOfRowsLoseNothing) {
  const fs::path table = Table(Family::kRows);
  for (size_t offset = 50; offset < fs::file_size(table); offset += 500) FlipBit(table, offset);
  EXPECT_THAT(Contents().status(), StatusIs(kDataLoss, _));
  EXPECT_GT(Verify().problems, 0);
  const World kept = RepairAndCheck();
  EXPECT_THAT(lines_, Contains(HasSubstr(" vectors are kept although")));
  EXPECT_THAT(Lost(kept, TheImage().docs()), IsEmpty());
  EXPECT_THAT(Lost(kept, TheImage().words()), IsEmpty());
}

TEST_F(StoreCheckTest, AMissingTableOfRowsLosesNothing) {
  const fs::path table = Table(Family::kRows);
  fs::remove(table);
  EXPECT_THAT(Contents().status(), StatusIs(kDataLoss, HasSubstr(table.stem().string())));
  EXPECT_GT(Verify().problems, 0);
  const World kept = RepairAndCheck();
  EXPECT_THAT(lines_, Contains(HasSubstr(" vectors are kept although")));
  EXPECT_THAT(Lost(kept, TheImage().docs()), IsEmpty());
  EXPECT_THAT(Lost(kept, TheImage().words()), IsEmpty());
}

TEST_F(StoreCheckTest, ADamagedTableOfIdsLosesTheRowsOfItsDamagedBlocks) {
  const fs::path table = Table(Family::kIds);
  for (const size_t quarter : {1, 2}) FlipBit(table, fs::file_size(table) * quarter / 4);
  EXPECT_THAT(Contents().status(), StatusIs(kDataLoss, _));
  EXPECT_GT(Verify().problems, 0);
  const World kept = RepairAndCheck();
  const auto lost = Lost(kept, TheImage().docs());
  const auto lost_words = Lost(kept, TheImage().words());
  EXPECT_THAT(lost.size() + lost_words.size(), AllOf(Gt(0), Lt(1'000)));
  for (const auto& [row, contents] : lost) {
    EXPECT_THAT(lines_, Contains(StartsWith(absl::StrFormat(
                            "collection \"docs\", row %d: lost: its id cannot be read: ", row))));
  }
  EXPECT_THAT(lines_, SizeIs(lost.size() + lost_words.size()));
}

TEST_F(StoreCheckTest, AMissingFileOfVectorsLosesItsRowsByTheirIds) {
  fs::remove(File(".blob"));
  EXPECT_THAT(Contents().status(), StatusIs(kDataLoss, HasSubstr(".blob")));
  EXPECT_GT(Verify().problems, 0);
  const World kept = RepairAndCheck();
  size_t count = 0;
  for (const CollectionNumber collection : {TheImage().docs(), TheImage().words()}) {
    for (const auto& [row, contents] : Lost(kept, collection)) {
      ++count;
      EXPECT_THAT(lines_, Contains(HasSubstr(absl::StrFormat(
                              ", row %d, id %s: lost: its vector cannot be read: ", row,
                              Describe(View(contents.id))))));
    }
  }
  EXPECT_GT(count, 0);
  EXPECT_THAT(lines_, SizeIs(count));
}

TEST_F(StoreCheckTest, ATornEndOfTheLogIsNoDamage) {
  const fs::path log = File(".log");
  fs::resize_file(log, fs::file_size(log) - 5);
  EXPECT_EQ(Verify().problems, 0);
  World expected = TheImage().world();
  const auto contents = Contents();
  ASSERT_THAT(contents.status(), IsOk());
  EXPECT_EQ(contents->at(TheImage().docs()).state.sequence,
            expected.at(TheImage().docs()).state.sequence - 1);
  EXPECT_EQ(contents->at(TheImage().words()), expected.at(TheImage().words()));
}

TEST_F(StoreCheckTest, DamageWithinTheLogIsNeverSkipped) {
  const std::string sound = ReadFile(File(".log"));
  const fs::path log = File(".log");
  // A lost sector, as well as a flipped bit, in any of its records.
  for (const bool sector : {false, true}) {
    for (size_t offset = 20; offset < sound.size(); offset += sound.size() / 7) {
      SCOPED_TRACE(absl::StrFormat("offset %d, sector %d", offset, sector));
      std::string bytes = sound;
      const size_t begin = offset / 512 * 512;
      if (sector) {
        bytes.replace(begin, std::min<size_t>(512, bytes.size() - begin),
                      std::min<size_t>(512, bytes.size() - begin), '\0');
      } else {
        bytes[offset] = static_cast<char>(bytes[offset] ^ 1);
      }
      WriteFile(log, bytes);
      const auto contents = Contents();
      // A sector of the last record is what a power cut may keep from being written.
      if (sector && offset > sound.size() * 2 / 3) continue;
      EXPECT_THAT(contents.status(),
                  StatusIs(kDataLoss, AllOf(HasSubstr(log.string()), HasSubstr("--repair"))));
      EXPECT_GT(Verify().problems, 0);
    }
  }
}

TEST_F(StoreCheckTest, ARepairKeepsTheLogAroundItsDamage) {
  const fs::path log = File(".log");
  FlipBit(log, 100);
  const World kept = RepairAndCheck();
  EXPECT_THAT(lines_, Contains(HasSubstr("the write-ahead log")));
  // What was flushed before is all there, but what the lost writes replaced may be as it was.
  const uint64_t before = TheImage().world().at(TheImage().docs()).state.next_row - 10 * kLogTail;
  for (const auto& [row, contents] : Lost(kept, TheImage().docs())) EXPECT_GE(row, before);
  EXPECT_EQ(kept.at(TheImage().words()).rows, TheImage().world().at(TheImage().words()).rows);
}

TEST_F(StoreCheckTest, WithoutCurrentNothingIsLost) {
  for (const char* contents : {"", "MANIFEST-999999\n", "\x01\x02"}) {
    WriteFile(database() / "CURRENT", contents);
    EXPECT_THAT(Contents().status(), StatusIs(kDataLoss, _));
    EXPECT_GT(Verify().problems, 0);
  }
  fs::remove(database() / "CURRENT");
  EXPECT_THAT(Contents().status(), StatusIs(kDataLoss, HasSubstr("CURRENT")));
  EXPECT_GT(Verify().problems, 0);
  const World kept = RepairAndCheck();
  for (const auto& [number, collection] : TheImage().world()) {
    EXPECT_EQ(kept.at(number).rows, collection.rows);
    EXPECT_EQ(kept.at(number).config, collection.config);
    EXPECT_EQ(kept.at(number).state.sequence, collection.state.sequence);
  }
}

TEST_F(StoreCheckTest, WithoutAManifestNothingIsLost) {
  const fs::path manifest = File("MANIFEST-");
  const std::string sound = ReadFile(manifest);
  FlipBit(manifest, sound.size() / 2);
  EXPECT_THAT(Contents().status(), StatusIs(kDataLoss, HasSubstr("--repair")));
  EXPECT_GT(Verify().problems, 0);
  fs::remove(manifest);
  EXPECT_THAT(Contents().status(), StatusIs(kDataLoss, HasSubstr("--repair")));
  EXPECT_GT(Verify().problems, 0);
  const World kept = RepairAndCheck();
  for (const auto& [number, collection] : TheImage().world()) {
    EXPECT_EQ(kept.at(number).rows, collection.rows);
    EXPECT_EQ(kept.at(number).config, collection.config);
  }
}

TEST_F(StoreCheckTest, TheFileOfOptionsDoesNotMatter) {
  const fs::path file = File("OPTIONS-");
  WriteFile(file, "nonsense");
  EXPECT_EQ(Verify().problems, 0);
  EXPECT_EQ(*Contents(), TheImage().world());
}

// Whatever bit is flipped: an error or the right bits; and a repair keeps what it keeps right.
class StoreFlipTest : public StoreCheckTest, public ::testing::WithParamInterface<uint64_t> {};

TEST_P(StoreFlipTest, AnyFlippedBitIsFoundOrHarmless) {
  // --gtest_random_seed=N runs others.
  const uint64_t seed = GetParam() + 1'000 * static_cast<uint64_t>(GTEST_FLAG_GET(random_seed));
  std::mt19937_64 random(seed);
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(database())) {
    if (entry.file_size() > 0) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  const fs::path file = files[random() % files.size()];
  const size_t offset = random() % fs::file_size(file);
  SCOPED_TRACE(absl::StrFormat("seed %d: %s at %d", seed, file.filename().string(), offset));
  FlipBit(file, offset, static_cast<int>(random() % 8));
  const uint64_t problems = Verify().problems;
  const auto contents = Contents();
  if (contents.ok()) {
    EXPECT_EQ(*contents, TheImage().world());
  } else {
    EXPECT_THAT(contents.status(), StatusIs(kDataLoss, HasSubstr("--repair")));
    EXPECT_GT(problems, 0);
  }
  if (problems > 0) RepairAndCheck();
}

INSTANTIATE_TEST_SUITE_P(Seeds, StoreFlipTest, ::testing::Range(uint64_t{0}, uint64_t{20}));

}  // namespace
}  // namespace vexact

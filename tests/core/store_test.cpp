#include "core/store.h"

#include <dlfcn.h>
#include <rocksdb/write_batch.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <optional>
#include <random>
#include <thread>

#include "absl/strings/str_format.h"
#include "core/crc32c.h"
#include "core/store_database.h"
#include "tests/core/faulty_env.h"
#include "tests/core/store_fixture.h"

namespace vexact {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr auto kPrecondition = absl::StatusCode::kFailedPrecondition;
constexpr auto kDataLoss = absl::StatusCode::kDataLoss;
constexpr uint64_t kEnd = std::numeric_limits<uint64_t>::max();

class StoreTest : public ::testing::Test {
 protected:
  StoreTest() { options_.directory = (folder_.path() / "data").string(); }

  // Opens the store, anew if it is open.
  Store& MustOpen() {
    store_.reset();
    auto opened = Store::Open(options_);
    EXPECT_THAT(opened.status(), IsOk());
    if (!opened.ok()) throw std::runtime_error(opened.status().ToString());
    store_ = *std::move(opened);
    return *store_;
  }

  absl::Status OpenStatus() {
    store_.reset();
    return Store::Open(options_).status();
  }

  std::map<CollectionNumber, StoredContents> All() {
    auto all = ReadAll(*store_);
    EXPECT_THAT(all.status(), IsOk());
    return all.ok() ? *all : std::map<CollectionNumber, StoredContents>();
  }

  CollectionNumber MustCreate(std::string_view name, const CollectionConfig& config) {
    const auto created = store_->Create(name, config);
    EXPECT_THAT(created.status(), IsOk());
    return created.value_or(0);
  }

  testing::TempDir folder_;
  StoreOptions options_;
  std::unique_ptr<Store> store_;
};

Row RandomRow(uint32_t dimension, std::mt19937_64& random) {
  Row row;
  if (random() % 2 == 0) {
    row.id = uint64_t{random()};
  } else {
    row.id = absl::StrFormat("id %x", random());
  }
  for (uint32_t i = 0; i < dimension; ++i) {
    row.vector.push_back(static_cast<float>(static_cast<int64_t>(random())) * 1e-18F);
  }
  return row;
}

uint64_t DirectoryBytes(const fs::path& directory) {
  uint64_t bytes = 0;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    std::error_code gone;
    const uint64_t size = entry.is_regular_file(gone) ? entry.file_size(gone) : 0;
    if (!gone) bytes += size;
  }
  return bytes;
}

TEST_F(StoreTest, GivesBackWhatWasCommittedBitForBit) {
  MustOpen();
  const CollectionConfig config{
      .dimension = 3, .metric = Metric::kL2, .normalization = Normalization::kRequireUnit};
  const CollectionNumber docs = MustCreate("docs", config);
  const CollectionNumber words = MustCreate("words", {.dimension = 1});
  const std::map<uint64_t, Row> rows = {
      {0, {uint64_t{0}, {1, -0.0F, 1e-45F}}},
      {1, {std::string("\xC3\xA4"), {-1, 2, std::numeric_limits<float>::max()}}},
      {7, {std::numeric_limits<uint64_t>::max(), {0, 0, 0}}},
      {1ULL << 40, {std::string(kMaxIdBytes, 'x'), {3, 2, 1}}},
  };
  const StoredState state{.metric = Metric::kInnerProduct, .sequence = 9, .next_row = 1ULL << 41};
  ASSERT_THAT(PutRows(*store_, docs, state, rows), IsOk());
  const std::map<CollectionNumber, StoredContents> expected = {
      {docs, {"docs", config, state, rows}},
      {words, {"words", {.dimension = 1}, {.metric = Metric::kCosine}, {}}}};
  EXPECT_EQ(All(), expected);
  MustOpen();
  EXPECT_EQ(All(), expected);
}

TEST_F(StoreTest, ABatchReplacesAndDeletesAtOnce) {
  MustOpen();
  const CollectionNumber docs = MustCreate("docs", {.dimension = 1});
  const Row a{std::string("a"), {1}}, b{uint64_t{2}, {2}}, a2{std::string("a"), {3}};
  ASSERT_THAT(PutRows(*store_, docs, {.sequence = 1, .next_row = 2}, {{0, a}, {1, b}}), IsOk());
  StoreBatch batch;
  batch.DeleteRow(docs, 0);
  batch.PutRow(docs, 2, View(a2.id), a2.vector);
  batch.PutState(docs, {.sequence = 2, .next_row = 3});
  EXPECT_EQ(batch.bytes(), 1 + sizeof(float));
  ASSERT_THAT(store_->Commit(std::move(batch), [] { return StoreBatch(); }), IsOk());
  const std::map<uint64_t, Row> expected = {{1, b}, {2, a2}};
  EXPECT_EQ(All().at(docs).rows, expected);
  EXPECT_EQ(All().at(docs).state.sequence, 2);
}

TEST_F(StoreTest, VisitsTheRowsOfARangeUntilToldToStop) {
  MustOpen();
  const CollectionNumber docs = MustCreate("docs", {.dimension = 1});
  std::map<uint64_t, Row> rows;
  for (uint64_t row = 0; row < 600; row += 2) rows[row] = {row, {static_cast<float>(row)}};
  ASSERT_THAT(PutRows(*store_, docs, {.next_row = 600}, rows), IsOk());
  std::vector<uint64_t> seen;
  const auto visit = [&](uint64_t row, std::span<const float> vector) {
    EXPECT_EQ(vector[0], static_cast<float>(row));
    seen.push_back(row);
    return row == 258 ? absl::CancelledError("enough") : absl::OkStatus();
  };
  EXPECT_THAT(store_->VisitRows(docs, 253, 257, visit), IsOk());
  EXPECT_THAT(seen, ElementsAre(254, 256));
  seen.clear();
  EXPECT_THAT(store_->VisitRows(docs, 255, kEnd, visit),
              StatusIs(absl::StatusCode::kCancelled, "enough"));
  EXPECT_THAT(seen, ElementsAre(256, 258));
  EXPECT_THAT(store_->VisitRows(77, 0, kEnd, visit),
              StatusIs(absl::StatusCode::kNotFound, "the store has no collection 77"));
}

TEST_F(StoreTest, AnUnnamedCollectionAppearsWhenPublishedAndElseGoesWithTheProcess) {
  MustOpen();
  const auto published = store_->CreateUnnamed({.dimension = 1});
  const auto left = store_->CreateUnnamed({.dimension = 1});
  ASSERT_THAT(published.status(), IsOk());
  ASSERT_THAT(left.status(), IsOk());
  ASSERT_THAT(PutRows(*store_, *published, {.next_row = 1}, {{0, {uint64_t{1}, {1}}}}), IsOk());
  ASSERT_THAT(PutRows(*store_, *left, {.next_row = 1}, {{0, {uint64_t{1}, {1}}}}), IsOk());
  EXPECT_TRUE(All().empty());
  ASSERT_THAT(store_->Publish(*published, "docs"), IsOk());
  EXPECT_EQ(All().at(*published).name, "docs");
  MustOpen();
  EXPECT_EQ(All().size(), 1);
  EXPECT_EQ(All().at(*published).rows.size(), 1);
  EXPECT_EQ(store_->VisitRows(*left, 0, kEnd, nullptr).code(), absl::StatusCode::kNotFound);
}

TEST_F(StoreTest, NoNumberIsGivenTwice) {
  MustOpen();
  std::vector<CollectionNumber> numbers;
  for (int i = 0; i < 3; ++i) {
    numbers.push_back(MustCreate("docs", {.dimension = 1}));
    EXPECT_THAT(store_->Drop(numbers.back()), IsOk());
    const auto unnamed = store_->CreateUnnamed({.dimension = 1});
    ASSERT_THAT(unnamed.status(), IsOk());
    numbers.push_back(*unnamed);
    MustOpen();
  }
  EXPECT_TRUE(std::is_sorted(numbers.begin(), numbers.end(), std::less_equal<>()));
  EXPECT_EQ(std::adjacent_find(numbers.begin(), numbers.end()), numbers.end());
}

TEST_F(StoreTest, OneProcessHoldsTheDirectory) {
  MustOpen();
  EXPECT_THAT(Store::Open(options_).status(),
              StatusIs(kPrecondition, absl::StrFormat("data directory %s is in use by process %d",
                                                      options_.directory, getpid())));
  MustOpen();
}

TEST_F(StoreTest, ADirectoryThatIsNotAStoresIsRefusedAndLeftAlone) {
  const fs::path path = options_.directory;
  fs::create_directory(path);
  std::ofstream(path / "letters.txt") << "dear";
  EXPECT_THAT(OpenStatus(),
              StatusIs(kPrecondition,
                       "data directory " + path.string() +
                           " holds no store but other files, such as letters.txt: name an empty "
                           "or a new directory"));
  EXPECT_EQ(std::distance(fs::directory_iterator(path), {}), 1);

  fs::remove_all(path);
  std::ofstream{path} << "a file";
  EXPECT_THAT(OpenStatus(), StatusIs(kPrecondition, "data directory " + path.string() +
                                                        " is a file, not a directory"));
  options_.directory = (folder_.path() / "no" / "such").string();
  EXPECT_THAT(OpenStatus(), StatusIs(absl::StatusCode::kNotFound,
                                     "cannot create data directory " + options_.directory +
                                         ": No such file or directory"));
}

TEST_F(StoreTest, AnEmptyDirectoryBecomesAStore) {
  fs::create_directories(fs::path(options_.directory) / "lost+found");
  MustOpen();
  MustOpen();
}

TEST_F(StoreTest, NoNewStoreIsMadeOverTheRemainsOfAnOldOne) {
  MustOpen();
  const CollectionNumber docs = MustCreate("docs", {.dimension = 1});
  ASSERT_THAT(PutRows(*store_, docs, {.next_row = 1}, {{0, {uint64_t{1}, {1}}}}), IsOk());
  store_.reset();
  const fs::path data = options_.directory;
  fs::create_directories(data / "codes" / "1");
  fs::rename(data / "store", folder_.path() / "elsewhere");
  EXPECT_THAT(OpenStatus(), StatusIs(kDataLoss, HasSubstr("but not its database")));
  fs::create_directory(data / "store");
  EXPECT_THAT(OpenStatus(), StatusIs(kDataLoss, HasSubstr("but not its database")));
  fs::remove(data / "store");
  fs::rename(folder_.path() / "elsewhere", data / "store");
  fs::rename(data / "store" / "CURRENT", folder_.path() / "CURRENT");
  EXPECT_THAT(OpenStatus(),
              StatusIs(kDataLoss, AllOf(HasSubstr("CURRENT"), HasSubstr("--repair"))));
  fs::rename(folder_.path() / "CURRENT", data / "store" / "CURRENT");
  MustOpen();
  EXPECT_EQ(All().at(docs).rows.size(), 1);
}

TEST_F(StoreTest, AStoreOfANewerVersionIsRefused) {
  const auto step = [](Database&, rocksdb::WriteBatch&) { return absl::OkStatus(); };
  options_.tuning.schema = {.version = 3, .migrations = {step, step}};
  MustOpen();
  options_.tuning.schema = {};
  EXPECT_THAT(OpenStatus(),
              StatusIs(kPrecondition, HasSubstr("is of schema version 3; this program knows "
                                                "versions up to 1")));
}

TEST_F(StoreTest, AnOlderStoreIsBroughtUpStepByStepEachOnce) {
  MustOpen();
  const CollectionNumber docs = MustCreate("docs", {.dimension = 1});
  ASSERT_THAT(PutRows(*store_, docs, {.next_row = 1}, {{0, {uint64_t{1}, {1}}}}), IsOk());
  std::string steps;
  bool fail = true;
  options_.tuning.schema.version = 3;
  options_.tuning.schema.migrations = {[&](Database&, rocksdb::WriteBatch&) {
                                         steps += "1";
                                         return absl::OkStatus();
                                       },
                                       [&](Database&, rocksdb::WriteBatch& last) {
                                         steps += "2";
                                         if (std::exchange(fail, false))
                                           return absl::UnavailableError("not now");
                                         (void)last.Put(Handle(Family::kIds), RowKey(docs, 0),
                                                        Encode(IdView(uint64_t{2})));
                                         return absl::OkStatus();
                                       }};
  EXPECT_THAT(OpenStatus(), StatusIs(absl::StatusCode::kUnavailable, "not now"));
  EXPECT_EQ(steps, "12");
  MustOpen();
  MustOpen();
  EXPECT_EQ(steps, "122");
  const std::map<uint64_t, Row> expected = {{0, {uint64_t{2}, {1}}}};
  EXPECT_EQ(All().at(docs).rows, expected);
}

// Whether a thread of this process waits for something.
bool IsAsleep(pid_t thread) {
  std::ifstream file(absl::StrFormat("/proc/self/task/%d/stat", thread));
  std::string text;
  std::getline(file, text);
  const size_t end_of_name = text.rfind(") ");
  return end_of_name != std::string::npos && text[end_of_name + 2] == 'S';
}

TEST_F(StoreTest, ConcurrentCommitsShareTheirSyncs) {
  constexpr int kThreads = 16, kCommits = 25;
  FaultyEnv env;
  options_.env = env.env();
  MustOpen();
  std::vector<CollectionNumber> collections;
  for (int i = 0; i < kThreads; ++i) {
    collections.push_back(MustCreate(absl::StrFormat("c%d", i), {.dimension = 2}));
  }
  const StoreStatistics before = store_->statistics();
  // A disk so slow that whenever a sync ends, all the others have come to wait for the next: they
  // do nothing but commit, and while one syncs there is nothing else to wait for.
  std::array<std::atomic<pid_t>, kThreads> threads_at_work = {};
  const auto others_wait = [&] {
    return std::all_of(threads_at_work.begin(), threads_at_work.end(), [](const auto& thread) {
      constexpr pid_t kDone = -1;
      return thread == gettid() || thread == kDone || (thread != 0 && IsAsleep(thread));
    });
  };
  env.SetJudge([&](const FaultyEnv::Call& call) {
    if (call.operation == FaultyEnv::Operation::kSync && call.path.ends_with(".log")) {
      while (!others_wait()) std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
    return FaultyEnv::Verdict();
  });
  std::vector<std::thread> threads;
  for (int k = 0; k < kThreads; ++k) {
    threads.emplace_back([&, k] {
      threads_at_work[k] = gettid();
      for (uint64_t i = 0; i < kCommits; ++i) {
        EXPECT_THAT(PutRows(*store_, collections[k], {.next_row = i + 1}, {{i, {i, {1, 2}}}}),
                    IsOk());
      }
      threads_at_work[k] = -1;
    });
  }
  for (std::thread& thread : threads) thread.join();
  env.SetJudge(nullptr);
  const StoreStatistics after = store_->statistics();
  EXPECT_EQ(after.commits - before.commits, kThreads * kCommits);
  EXPECT_LT(after.syncs - before.syncs, kThreads * kCommits / 2);
  for (const CollectionNumber collection : collections) {
    EXPECT_EQ(All().at(collection).rows.size(), kCommits);
  }
  store_.reset();
}

TEST_F(StoreTest, DropFreesTheDisk) {
  MustOpen();
  std::mt19937_64 random(1);
  // Side by side, so that they share files.
  const CollectionNumber kept = MustCreate("kept", {.dimension = 1'000});
  const CollectionNumber gone = MustCreate("gone", {.dimension = 1'000});
  std::map<uint64_t, Row> kept_rows;
  for (uint64_t i = 0; i < 10'000; i += 500) {
    std::map<uint64_t, Row> rows;
    for (uint64_t row = i; row < i + 500; ++row) rows[row] = RandomRow(1'000, random);
    ASSERT_THAT(PutRows(*store_, gone, {.next_row = i + 500}, rows), IsOk());
    ASSERT_THAT(PutRows(*store_, kept, {.next_row = i + 500}, rows), IsOk());
    kept_rows.merge(rows);
  }
  MustOpen();  // everything is in its place now
  const uint64_t before = DirectoryBytes(options_.directory);
  EXPECT_GT(before, 80'000'000);
  ASSERT_THAT(store_->Drop(gone), IsOk());
  EXPECT_EQ(All().size(), 1);
  EXPECT_TRUE(Eventually([&] { return DirectoryBytes(options_.directory) < before * 6 / 10; }))
      << before << " bytes before, now " << DirectoryBytes(options_.directory);
  EXPECT_EQ(All().at(kept).rows, kept_rows);
  EXPECT_LT(store_->statistics().live_bytes, before * 6 / 10);
}

TEST_F(StoreTest, ReplacedRowsFreeTheDisk) {
  options_.tuning.memtable_bytes = 1 << 20;
  MustOpen();
  std::mt19937_64 random(3);
  const CollectionNumber docs = MustCreate("docs", {.dimension = 250});
  constexpr uint64_t kRows = 4'000, kBatch = 100;
  std::map<uint64_t, Row> rows;
  for (uint64_t next = 0; next < 10 * kRows;) {
    StoreBatch batch;
    for (uint64_t end = next + kBatch; next < end; ++next) {
      Row row{next % kRows, RandomRow(250, random).vector};
      batch.PutRow(docs, next, View(row.id), row.vector);
      rows[next] = std::move(row);
      if (next < kRows) continue;
      batch.DeleteRow(docs, next - kRows);
      rows.erase(next - kRows);
    }
    batch.PutState(docs, {.sequence = next, .next_row = next});
    ASSERT_THAT(store_->Commit(std::move(batch), [] { return StoreBatch(); }), IsOk());
  }
  const uint64_t written = store_->statistics().batch_bytes;
  EXPECT_TRUE(Eventually([&] { return store_->statistics().live_bytes < written / 4; }))
      << written << " bytes written, now " << store_->statistics().live_bytes;
  EXPECT_EQ(All().at(docs).rows, rows);
}

TEST_F(StoreTest, ABulkLoadWritesVectorsAboutTwice) {
  MustOpen();
  std::mt19937_64 random(2);
  const CollectionNumber docs = MustCreate("docs", {.dimension = 384});
  Row row = RandomRow(384, random);
  uint64_t next = 0;
  for (int batch = 0; batch < 100; ++batch) {
    std::map<uint64_t, Row> rows;
    for (int i = 0; i < 1'000; ++i, ++next) rows[next] = {next, row.vector};
    ASSERT_THAT(PutRows(*store_, docs, {.next_row = next}, rows), IsOk());
  }
  const StoreStatistics statistics = store_->statistics();
  EXPECT_EQ(statistics.batch_bytes, next * (384 * sizeof(float) + sizeof(uint64_t)));
  // The last rows are still in the log only.
  const double vectors = static_cast<double>(next) * 384 * sizeof(float);
  EXPECT_LT(static_cast<double>(statistics.disk_bytes), 2.2 * vectors);
  EXPECT_GT(static_cast<double>(statistics.disk_bytes), 1.5 * vectors);
  EXPECT_LT(static_cast<double>(statistics.live_bytes), 1.6 * vectors);
}

TEST(Crc32cTest, TheInstructionAndTheTablesAgree) {
  EXPECT_EQ(Crc32c("123456789"), 0xE306'9283);  // the check value of CRC-32C's definition
  std::mt19937_64 random(1);
  std::string bytes(300, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  for (size_t size = 0; size < bytes.size(); ++size) {
    const std::string_view part = std::string_view(bytes).substr(size % 9, size);
    const auto begin = static_cast<uint32_t>(random());
    ASSERT_EQ(ExtendCrc32c(begin, part), ExtendCrc32cByTables(begin, part)) << size;
    ASSERT_EQ(ExtendCrc32c(Crc32c(part.substr(0, size / 3)), part.substr(size / 3)), Crc32c(part));
  }
}

// RocksDB calls its sums through the dynamic linker, which finds ours.
TEST(Crc32cTest, RocksDBSumsByOurs) {
  void* const found = dlsym(RTLD_DEFAULT, "_ZN7rocksdb6crc32c6ExtendEjPKcm");
  ASSERT_NE(found, nullptr);
  Dl_info object;
  ASSERT_NE(dladdr(found, &object), 0);
  EXPECT_THAT(object.dli_fname, ::testing::Not(HasSubstr("librocksdb")));
}

}  // namespace
}  // namespace vexact

// Rows that come to the store as tables: Store::CommitRows.
#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <random>

#include "absl/strings/str_format.h"
#include "core/store.h"
#include "core/store_check.h"
#include "core/store_database.h"
#include "tests/core/faulty_env.h"
#include "tests/core/store_fixture.h"

namespace vexact {
namespace {

namespace fs = std::filesystem;
using rocksdb::IOStatus;
using Verdict = FaultyEnv::Verdict;
using Contents = std::map<CollectionNumber, StoredContents>;

constexpr uint32_t kDimension = 250;

class BulkRowsTest : public ::testing::Test {
 protected:
  BulkRowsTest() {
    options_.directory = (folder_.path() / "data").string();
    options_.env = env_.env();
    options_.tuning.memtable_bytes = 1 << 20;
    options_.tuning.heal_every = std::chrono::milliseconds(0);
  }
  ~BulkRowsTest() override {
    env_.SetJudge(nullptr);
    store_.reset();
  }

  void MustOpen() {
    store_.reset();
    auto opened = Store::Open(options_);
    ASSERT_THAT(opened.status(), IsOk());
    store_ = *std::move(opened);
  }

  void MustCreate() {
    ASSERT_NO_FATAL_FAILURE(MustOpen());
    const auto docs = store_->Create("docs", {.dimension = kDimension});
    ASSERT_THAT(docs.status(), IsOk());
    docs_ = *docs;
  }

  Contents All() {
    auto all = ReadAll(*store_);
    EXPECT_THAT(all.status(), IsOk());
    return all.ok() ? *all : Contents();
  }

  // As after the end of the process.
  void Kill() {
    env_.Stop();
    store_.reset();
    env_.Restart();
  }

  // Of numbers from `begin` on; ids repeat after `ids`.
  std::map<uint64_t, Row> Rows(uint64_t begin, uint64_t end, uint64_t ids = 1'000'000) {
    std::map<uint64_t, Row> rows;
    for (uint64_t row = begin; row < end; ++row) {
      rows[row] = {row % ids, std::vector<float>(kDimension)};
      for (float& x : rows[row].vector) x = static_cast<float>(random_() % 1'000);
    }
    return rows;
  }

  static StoredState State(uint64_t next_row) {
    return {.sequence = next_row, .next_row = next_row};
  }

  size_t ProblemsFound() {
    const auto verified =
        VerifyStore({.directory = options_.directory,
                     .report = [](std::string_view line) { ADD_FAILURE() << line; },
                     .env = env_.env()});
    EXPECT_THAT(verified.status(), IsOk());
    return verified.ok() ? verified->problems : 1;
  }

  // Whether the store, which is not open, has a mark of rows on their way to the collection; leaves
  // `mark` there, where it is given.
  bool HasMark(CollectionNumber collection, std::optional<RowSpan> mark = std::nullopt) {
    auto database = OpenDatabase(options_.directory, DatabaseOptions(env_.env(), 1 << 20),
                                 DatabaseMode::kReadWrite);
    EXPECT_THAT(database.status(), IsOk());
    rocksdb::DB& db = *database->db;
    const std::string key = IncomingKey(collection);
    if (mark && !db.Put({}, key, Encode(*mark)).ok()) ADD_FAILURE() << "no mark was left";
    std::string value;
    return db.Get({}, key, &value).ok();
  }

  // Files that are on their way to the database.
  size_t Incoming() const {
    const fs::path folder = fs::path(options_.directory) / "store.incoming";
    return fs::exists(folder) ? std::distance(fs::directory_iterator(folder), {}) : 0;
  }

  testing::TempDir folder_;
  FaultyEnv env_;
  StoreOptions options_;
  std::unique_ptr<Store> store_;
  CollectionNumber docs_ = 0;
  std::mt19937_64 random_{1};
};

TEST_F(BulkRowsTest, AreWrittenOnceAndComeBackBitForBit) {
  ASSERT_NO_FATAL_FAILURE(MustCreate());
  std::map<uint64_t, Row> all;
  for (uint64_t begin = 0; begin < 10'000; begin += 1'000) {
    const auto rows = Rows(begin, begin + 1'000);
    ASSERT_THAT(PutTables(*store_, docs_, State(begin + 1'000), rows), IsOk());
    all.insert(rows.begin(), rows.end());
  }
  EXPECT_EQ(All().at(docs_).rows, all);
  const StoreStatistics statistics = store_->statistics();
  EXPECT_EQ(statistics.commits, 10);
  EXPECT_EQ(statistics.batch_bytes, 10'000 * (kDimension * sizeof(float) + sizeof(uint64_t)));
  EXPECT_LT(statistics.disk_bytes, statistics.batch_bytes * 11 / 10);
  EXPECT_GT(statistics.disk_bytes, statistics.batch_bytes);
  EXPECT_EQ(Incoming(), 0);
  Kill();
  EXPECT_EQ(ProblemsFound(), 0);
  ASSERT_NO_FATAL_FAILURE(MustOpen());
  EXPECT_EQ(All().at(docs_).rows, all);
  EXPECT_EQ(All().at(docs_).state, State(10'000));
}

TEST_F(BulkRowsTest, RowsThatTheSameWriteReplacesAreGone) {
  ASSERT_NO_FATAL_FAILURE(MustCreate());
  auto rows = Rows(0, 100);
  StoreBatch rest;
  for (uint64_t row = 0; row < 50; ++row) rest.DeleteRow(docs_, row);
  ASSERT_THAT(PutTables(*store_, docs_, State(100), rows, std::move(rest)), IsOk());
  rows.erase(rows.begin(), rows.find(50));
  EXPECT_EQ(All().at(docs_).rows, rows);
}

// The process, or the machine, ends at each operation in turn.
TEST_F(BulkRowsTest, AnEndAtAnyPointLeavesAllOrNothing) {
  for (const bool power_cut : {false, true}) {
    bool finished = false;
    for (int64_t end = 0; !finished; ++end) {
      SCOPED_TRACE(absl::StrFormat("ended at operation %d, power cut %d", end, power_cut));
      options_.directory = (folder_.path() / absl::StrFormat("%d.%d", end, power_cut)).string();
      ASSERT_NO_FATAL_FAILURE(MustCreate());
      ASSERT_THAT(PutTables(*store_, docs_, State(300), Rows(0, 300)), IsOk());
      const Contents before = All();
      Contents after = before;
      const auto rows = Rows(300, 700);
      StoreBatch rest;
      for (uint64_t row = 0; row < 100; ++row) {
        rest.DeleteRow(docs_, row);
        after[docs_].rows.erase(row);
      }
      after[docs_].rows.insert(rows.begin(), rows.end());
      after[docs_].state = State(700);
      std::atomic<int64_t> left = end;
      env_.SetJudge([&](const FaultyEnv::Call&) {
        if (left-- > 0) return Verdict();
        env_.Stop();
        return Verdict{IOStatus::IOError("injected")};
      });
      const absl::Status put =
          PutTables(*store_, docs_, State(700), rows, std::move(rest), State(300));
      finished = left >= 0;
      env_.SetJudge(nullptr);
      env_.Stop();
      store_.reset();
      if (power_cut) {
        env_.LosePower(random_);
      } else {
        env_.Restart();
      }
      EXPECT_EQ(ProblemsFound(), 0);
      ASSERT_NO_FATAL_FAILURE(MustOpen());
      EXPECT_EQ(Incoming(), 0);
      const Contents found = All();
      if (put.ok()) {
        ASSERT_EQ(found, after);
      } else {
        ASSERT_TRUE(found == before || found == after);
      }
      // Numbers of rows that were cut off are given out again.
      const uint64_t next = found.at(docs_).state.next_row;
      const auto more = Rows(next, next + 500);
      ASSERT_THAT(PutTables(*store_, docs_, State(next + 500), more), IsOk());
      Contents with_more = found;
      with_more[docs_].rows.insert(more.begin(), more.end());
      with_more[docs_].state = State(next + 500);
      ASSERT_EQ(All(), with_more);
      Kill();
      EXPECT_EQ(ProblemsFound(), 0);
      ASSERT_NO_FATAL_FAILURE(MustOpen());
      ASSERT_EQ(All(), with_more);
      store_.reset();
    }
  }
}

// Each operation in turn fails, and the disk works again.
TEST_F(BulkRowsTest, AFailureAtAnyPointLeavesNothingAndWritingGoesOn) {
  ASSERT_NO_FATAL_FAILURE(MustCreate());
  Contents world = All();
  uint64_t next = 0;
  for (int64_t fails = 0;; ++fails) {
    SCOPED_TRACE(absl::StrFormat("operation %d failed", fails));
    const bool full = fails % 2 == 0;
    std::atomic<int64_t> left = fails;
    env_.SetJudge([&](const FaultyEnv::Call& call) {
      if (left-- != 0) return Verdict();
      return Verdict{full ? IOStatus::NoSpace("injected") : IOStatus::IOError("injected"),
                     call.bytes / 2};
    });
    const auto rows = Rows(next, next + 100);
    const absl::Status put =
        PutTables(*store_, docs_, State(next + 100), rows, StoreBatch(), world.at(docs_).state);
    const bool failed = left < 0;
    env_.SetJudge(nullptr);
    if (put.ok()) {
      world[docs_].rows.insert(rows.begin(), rows.end());
      world[docs_].state = State(next + 100);
    } else {
      EXPECT_TRUE(absl::IsUnavailable(put) || absl::IsResourceExhausted(put)) << put;
    }
    ASSERT_EQ(All(), world);
    next += 100;
    if (!failed) break;
  }
  Kill();
  EXPECT_EQ(ProblemsFound(), 0);
  ASSERT_NO_FATAL_FAILURE(MustOpen());
  EXPECT_EQ(All(), world);
}

// On a full disk the rows that were cut off cannot be removed; nobody sees them all the same.
TEST_F(BulkRowsTest, RowsThatWereCutOffAreNotReadOnAFullDisk) {
  ASSERT_NO_FATAL_FAILURE(MustCreate());
  ASSERT_THAT(PutTables(*store_, docs_, State(100), Rows(0, 100)), IsOk());
  const Contents before = All();
  std::atomic<bool> linked = false;
  env_.SetJudge([&](const FaultyEnv::Call& call) {
    const bool log = call.path.ends_with(".log");
    linked = linked || call.operation == FaultyEnv::Operation::kLink;
    if (!linked || !log) return Verdict();
    env_.Stop();
    return Verdict{IOStatus::IOError("injected")};
  });
  ASSERT_FALSE(
      PutTables(*store_, docs_, State(200), Rows(100, 200), StoreBatch(), State(100)).ok());
  ASSERT_TRUE(linked);
  Kill();
  env_.SetJudge([](const FaultyEnv::Call& call) {
    const bool needs_room = call.operation == FaultyEnv::Operation::kAppend ||
                            call.operation == FaultyEnv::Operation::kCreate;
    return needs_room ? Verdict{IOStatus::NoSpace("injected")} : Verdict();
  });
  ASSERT_NO_FATAL_FAILURE(MustOpen());
  EXPECT_EQ(All(), before);
  env_.SetJudge(nullptr);
  const auto rows = Rows(100, 150);
  ASSERT_THAT(PutTables(*store_, docs_, State(150), rows, StoreBatch(), State(100)), IsOk());
  Contents after = before;
  after[docs_].rows.insert(rows.begin(), rows.end());
  after[docs_].state = State(150);
  EXPECT_EQ(All(), after);
}

TEST_F(BulkRowsTest, AMarkThatNothingIsLeftOfGoesWithTheNextStart) {
  ASSERT_NO_FATAL_FAILURE(MustCreate());
  ASSERT_THAT(PutTables(*store_, docs_, State(100), Rows(0, 100)), IsOk());
  const Contents before = All();
  store_.reset();
  const CollectionNumber dropped = docs_ + 1;
  EXPECT_FALSE(HasMark(docs_));
  // Of rows that count by now, and of a collection that is gone.
  EXPECT_TRUE(HasMark(docs_, RowSpan{50, 80}));
  EXPECT_TRUE(HasMark(dropped, RowSpan{0, 10}));
  ASSERT_NO_FATAL_FAILURE(MustOpen());
  EXPECT_EQ(All(), before);
  store_.reset();
  EXPECT_FALSE(HasMark(docs_));
  EXPECT_FALSE(HasMark(dropped));
}

// Everything around a damaged place in a table of vectors can be kept.
TEST_F(BulkRowsTest, DamageIsFoundAndTheRestIsKept) {
  ASSERT_NO_FATAL_FAILURE(MustCreate());
  const auto rows = Rows(0, 5'000);
  ASSERT_THAT(PutTables(*store_, docs_, State(5'000), rows), IsOk());
  Kill();
  fs::path largest;
  for (const auto& file : fs::directory_iterator(fs::path(options_.directory) / "store")) {
    if (file.path().extension() != ".sst") continue;
    if (largest.empty() || file.file_size() > fs::file_size(largest)) largest = file.path();
  }
  std::fstream table(largest, std::ios::in | std::ios::out | std::ios::binary);
  table.seekp(1'000'000);
  table.put('x').put('y').put('z');
  table.close();

  std::vector<std::string> lines;
  const StoreCheckOptions check{.directory = options_.directory,
                                .report = [&](std::string_view line) { lines.emplace_back(line); },
                                .env = env_.env()};
  const auto verified = VerifyStore(check);
  ASSERT_THAT(verified.status(), IsOk());
  EXPECT_GT(verified->problems, 0);
  EXPECT_THAT(lines, ::testing::Each(::testing::HasSubstr("collection \"docs\", row ")));
  const auto repaired = RepairStore(check);
  ASSERT_THAT(repaired.status(), IsOk());
  EXPECT_EQ(repaired->lost_rows, verified->problems);
  ASSERT_NO_FATAL_FAILURE(MustOpen());
  const auto kept = All().at(docs_).rows;
  EXPECT_EQ(kept.size(), rows.size() - repaired->lost_rows);
  EXPECT_GT(kept.size(), rows.size() * 9 / 10);
  for (const auto& [number, row] : kept) ASSERT_EQ(row, rows.at(number)) << number;
}

TEST_F(BulkRowsTest, DropFreesTheDisk) {
  ASSERT_NO_FATAL_FAILURE(MustCreate());
  const auto gone = store_->Create("gone", {.dimension = kDimension});
  ASSERT_THAT(gone.status(), IsOk());
  const auto rows = Rows(0, 5'000);
  ASSERT_THAT(PutTables(*store_, docs_, State(5'000), rows), IsOk());
  // Some by the log: these come to lie in other files.
  ASSERT_THAT(PutRows(*store_, *gone, State(500), Rows(0, 500)), IsOk());
  ASSERT_THAT(PutTables(*store_, *gone, State(5'500), Rows(500, 5'500)), IsOk());
  const uint64_t before = store_->statistics().live_bytes;
  EXPECT_GT(before, 10'000'000);
  ASSERT_THAT(store_->Drop(*gone), IsOk());
  EXPECT_TRUE(Eventually([&] { return store_->statistics().live_bytes < before * 6 / 10; }))
      << before << " bytes before, now " << store_->statistics().live_bytes;
  EXPECT_EQ(All().at(docs_).rows, rows);
  EXPECT_EQ(All().size(), 1);
}

TEST_F(BulkRowsTest, ReplacedRowsFreeTheDisk) {
  ASSERT_NO_FATAL_FAILURE(MustCreate());
  constexpr uint64_t kRows = 4'000, kBatch = 1'000;
  std::map<uint64_t, Row> rows;
  for (uint64_t next = 0; next < 10 * kRows; next += kBatch) {
    const auto added = Rows(next, next + kBatch, kRows);
    StoreBatch rest;
    for (uint64_t row = next; row < next + kBatch && next >= kRows; ++row) {
      rest.DeleteRow(docs_, row - kRows);
      rows.erase(row - kRows);
    }
    ASSERT_THAT(PutTables(*store_, docs_, State(next + kBatch), added, std::move(rest)), IsOk());
    rows.insert(added.begin(), added.end());
  }
  const uint64_t written = store_->statistics().batch_bytes;
  EXPECT_TRUE(Eventually([&] { return store_->statistics().live_bytes < written / 4; }))
      << written << " bytes written, now " << store_->statistics().live_bytes;
  EXPECT_EQ(All().at(docs_).rows, rows);
  Kill();
  ASSERT_NO_FATAL_FAILURE(MustOpen());
  EXPECT_EQ(All().at(docs_).rows, rows);
}

}  // namespace
}  // namespace vexact

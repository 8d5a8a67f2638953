// The store over files that fail, and over what a power cut leaves of them.

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <mutex>
#include <optional>
#include <random>
#include <thread>

#include "absl/strings/str_format.h"
#include "core/store.h"
#include "core/store_check.h"
#include "tests/core/faulty_env.h"
#include "tests/core/store_fixture.h"

namespace vexact {
namespace {

namespace fs = std::filesystem;
using Operation = FaultyEnv::Operation;
using Verdict = FaultyEnv::Verdict;
using rocksdb::IOStatus;
using ::testing::AllOf;
using ::testing::HasSubstr;

// Everything in a store, by name: whoever created a collection and got an error has no number.
using World = std::map<std::string, StoredContents>;

// One change of a store: what it does to it, and to a world.
struct Change {
  std::function<absl::Status(Store&)> apply;
  std::function<void(World&)> record;
};

class History {
 public:
  explicit History(uint64_t seed) : random_(seed) {}

  std::mt19937_64& random() { return random_; }
  bool Chance(double probability) { return std::bernoulli_distribution(probability)(random_); }
  uint64_t Below(uint64_t end) {
    return std::uniform_int_distribution<uint64_t>(0, end - 1)(random_);
  }

  // A change that can follow on `world`. Row numbers and names are given out once only.
  Change Next(const World& world, const std::map<std::string, CollectionNumber>& numbers) {
    if (world.empty() || (world.size() < 4 && Chance(0.05))) return Create();
    auto chosen = world.begin();
    std::advance(chosen, Below(world.size()));
    const CollectionNumber number = numbers.at(chosen->first);
    if (world.size() > 1 && Chance(0.02)) return Drop(chosen->first, number);
    return Write(chosen->first, chosen->second, number);
  }

 private:
  Change Create() {
    const std::string name = absl::StrFormat("c%d", next_name_++);
    const CollectionConfig config{.dimension = static_cast<uint32_t>(1 + Below(40))};
    return {[=](Store& store) { return store.Create(name, config).status(); },
            [=](World& world) {
              world[name] = {name, config, {.metric = config.metric}, {}};
            }};
  }

  static Change Drop(const std::string& name, CollectionNumber number) {
    return {[=](Store& store) { return store.Drop(number); },
            [=](World& world) { world.erase(name); }};
  }

  Change Write(const std::string& name, const StoredContents& before, CollectionNumber number) {
    StoredContents after = before;
    std::vector<uint64_t> deleted;
    std::map<uint64_t, Row> added;
    for (const auto& [row, contents] : before.rows) {
      if (Chance(0.2)) deleted.push_back(row);
    }
    for (uint64_t count = Below(Chance(0.1) ? 300 : 6); count > 0; --count) {
      Row row{uint64_t{random_()}, {}};
      for (uint32_t i = 0; i < before.config.dimension; ++i) {
        row.vector.push_back(Chance(0.2) ? 0 : static_cast<float>(Below(1'000)));
      }
      added[next_row_++] = std::move(row);
    }
    for (const uint64_t row : deleted) after.rows.erase(row);
    after.rows.insert(added.begin(), added.end());
    after.state.sequence += 1;
    after.state.next_row = next_row_;
    after.state.metric = static_cast<Metric>(Below(3));
    const bool as_tables = !added.empty() && Chance(0.3);
    return {[=](Store& store) {
              StoreBatch batch;
              for (const uint64_t row : deleted) batch.DeleteRow(number, row);
              std::vector<NewRow> rows;
              for (const auto& [row, contents] : added) {
                rows.push_back({row, View(contents.id), contents.vector});
                if (as_tables) continue;
                batch.PutRow(number, row, View(contents.id), contents.vector);
              }
              batch.PutState(number, after.state);
              const auto take_back = [&] {
                StoreBatch undo;
                for (const auto& [row, contents] : added) undo.DeleteRow(number, row);
                for (const uint64_t row : deleted) {
                  const Row& contents = before.rows.at(row);
                  undo.PutRow(number, row, View(contents.id), contents.vector);
                }
                undo.PutState(number, before.state);
                return undo;
              };
              return as_tables ? store.CommitRows(number, rows, std::move(batch), take_back)
                               : store.Commit(std::move(batch), take_back);
            },
            [=](World& world) { world[name] = after; }};
  }

  std::mt19937_64 random_;
  int next_name_ = 0;
  uint64_t next_row_ = 0;
};

// Faults to come: after some operations, a number of them fail, or all.
class Faults {
 public:
  void Plan(History& history, FaultyEnv& env) {
    auto left = std::make_shared<std::atomic<int64_t>>(history.Below(60));
    const bool fatal = history.Chance(0.4);
    const bool full = history.Chance(0.5);
    const auto failing = static_cast<int64_t>(1 + history.Below(12));
    const double written = std::uniform_real_distribution<>(0, 1)(history.random());
    env.SetJudge([=, &env](const FaultyEnv::Call& call) {
      const int64_t place = (*left)--;
      if (place > 0 || (!fatal && place <= -failing)) return Verdict();
      if (full && call.operation != Operation::kAppend && call.operation != Operation::kCreate) {
        return Verdict();
      }
      if (fatal) env.Stop();
      const auto bytes = static_cast<size_t>(written * static_cast<double>(call.bytes));
      return Verdict{full ? IOStatus::NoSpace("injected") : IOStatus::IOError("injected"), bytes};
    });
  }
};

class StoreFaultTest : public ::testing::Test {
 protected:
  StoreFaultTest() {
    options_.directory = (folder_.path() / "data").string();
    options_.env = env_.env();
    options_.tuning.memtable_bytes = 20'000;
    options_.tuning.heal_every = std::chrono::milliseconds(0);
  }
  ~StoreFaultTest() override {
    env_.SetJudge(nullptr);
    store_.reset();
  }

  World Read() {
    World world;
    const auto all = ReadAll(*store_);
    EXPECT_THAT(all.status(), IsOk());
    if (!all.ok()) return world;
    numbers_.clear();
    for (const auto& [number, contents] : *all) {
      world[contents.name] = contents;
      numbers_[contents.name] = number;
    }
    return world;
  }

  void MustOpen() {
    auto opened = Store::Open(options_);
    ASSERT_THAT(opened.status(), IsOk());
    store_ = *std::move(opened);
  }

  // Ends the store in one way or another and opens it again, perhaps not at the first try.
  void Reopen(History& history) {
    const bool crash = history.Chance(0.8);
    if (crash) env_.Stop();
    store_.reset();
    for (bool first = true; !store_; first = false) {
      if (history.Chance(0.7)) {
        env_.LosePower(history.random());
      } else {
        env_.Restart();
      }
      const bool faulty = first && history.Chance(0.3);
      if (faulty) Faults().Plan(history, env_);
      auto opened = Store::Open(options_);
      env_.SetJudge(nullptr);
      if (opened.ok() && !env_.stopped()) {
        store_ = *std::move(opened);
      } else {
        ASSERT_TRUE(faulty) << opened.status();
        ASSERT_FALSE(absl::IsDataLoss(opened.status())) << opened.status();
      }
    }
  }

  testing::TempDir folder_;
  FaultyEnv env_;
  StoreOptions options_;
  std::unique_ptr<Store> store_;
  std::map<std::string, CollectionNumber> numbers_;
};

// The worlds that can be there when each of the failed changes may have happened or not.
std::vector<World> Possible(const World& certain, const std::vector<Change>& failed) {
  std::vector<World> worlds = {certain};
  for (const Change& change : failed) {
    const size_t count = worlds.size();
    for (size_t i = 0; i < count; ++i) {
      worlds.push_back(worlds[i]);
      change.record(worlds.back());
    }
  }
  return worlds;
}

class StoreHistoryTest : public StoreFaultTest, public ::testing::WithParamInterface<uint64_t> {};

TEST_P(StoreHistoryTest, WhatWasAcknowledgedStaysAndWhatFailedIsWholeOrAbsent) {
  // --gtest_random_seed=N runs others.
  const uint64_t seed = GetParam() + 1'000 * static_cast<uint64_t>(GTEST_FLAG_GET(random_seed));
  SCOPED_TRACE(absl::StrFormat("seed %d", seed));
  History history(seed);
  World world;
  std::vector<Change> failed;  // since a change last succeeded
  ASSERT_NO_FATAL_FAILURE(MustOpen());
  for (int step = 0; step < 400; ++step) {
    SCOPED_TRACE(absl::StrFormat("step %d", step));
    if (history.Chance(0.05)) Faults().Plan(history, env_);
    const Change change = history.Next(world, numbers_);
    const absl::Status status = change.apply(*store_);
    if (status.ok()) {
      change.record(world);
      failed.clear();
      if (history.Chance(0.1) || world.size() != numbers_.size()) {
        env_.SetJudge(nullptr);
        if (!env_.stopped()) {
          ASSERT_EQ(Read(), world);
        }
      }
    } else {
      ASSERT_TRUE(absl::IsUnavailable(status) || absl::IsResourceExhausted(status)) << status;
      failed.push_back(change);
    }
    if (failed.size() == 4 || history.Chance(0.04)) {
      ASSERT_NO_FATAL_FAILURE(Reopen(history));
      const World found = Read();
      const std::vector<World> possible = Possible(world, failed);
      ASSERT_NE(std::find(possible.begin(), possible.end(), found), possible.end())
          << failed.size() << " failed";
      world = found;
      failed.clear();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, StoreHistoryTest, ::testing::Range(uint64_t{0}, uint64_t{4}));

// Writers of several collections while the disk fails now and then: what one of them was told is
// so, and what another's failure takes back is only the other's.
TEST_F(StoreFaultTest, WritersTogetherKeepWhatTheyWereToldAndNothingElse) {
  constexpr int kThreads = 6;
  constexpr uint64_t kCommits = 150;
  ASSERT_NO_FATAL_FAILURE(MustOpen());
  World world;
  for (int k = 0; k < kThreads; ++k) {
    const std::string name = absl::StrFormat("c%d", k);
    ASSERT_THAT(store_->Create(name, {.dimension = 30}).status(), IsOk());
    world[name] = {name, {.dimension = 30}, {}, {}};
  }
  ASSERT_EQ(Read(), world);
  // Each hundredth operation and the next three fail.
  std::atomic<uint64_t> operations = 0;
  env_.SetJudge([&](const FaultyEnv::Call& call) {
    if (operations++ % 100 < 96) return Verdict();
    return Verdict{IOStatus::IOError("injected"), call.bytes / 2};
  });
  std::atomic<int> failures = 0;
  std::vector<std::thread> threads;
  for (auto& [name, contents] : world) {
    threads.emplace_back([&, number = numbers_.at(name)] {
      for (uint64_t row = 0; row < kCommits; ++row) {
        StoredState next = contents.state;
        next.sequence += 1;
        next.next_row = row + 1;
        const std::map<uint64_t, Row> rows = {
            {row, {row, std::vector<float>(30, static_cast<float>(row))}}};
        const absl::Status status = PutRows(*store_, number, next, rows, contents.state);
        if (status.ok()) {
          contents.rows.insert(rows.begin(), rows.end());
          contents.state = next;
        } else {
          EXPECT_TRUE(absl::IsUnavailable(status)) << status;
          ++failures;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  env_.SetJudge(nullptr);
  EXPECT_GT(failures, 0);
  EXPECT_LT(failures, kThreads * kCommits);
  EXPECT_EQ(Read(), world);
  env_.Stop();
  store_.reset();
  std::mt19937_64 random(1);
  env_.LosePower(random);
  ASSERT_NO_FATAL_FAILURE(MustOpen());
  EXPECT_EQ(Read(), world);
}

// What a power cut leaves under kAsync is a state that was there once, after the last Sync; or the
// store says that it is damaged, and can be repaired.
TEST_F(StoreFaultTest, WithoutSyncsAPowerCutLosesTheLastWritesOnly) {
  options_.durability = Durability::kAsync;
  options_.tuning.memtable_bytes = 1 << 20;
  int whole = 0;
  for (uint64_t seed = 0; seed < 12; ++seed) {
    SCOPED_TRACE(absl::StrFormat("seed %d", seed));
    options_.directory = (folder_.path() / absl::StrFormat("data%d", seed)).string();
    History history(seed);
    ASSERT_NO_FATAL_FAILURE(MustOpen());
    const auto docs = store_->Create("docs", {.dimension = 10});
    ASSERT_THAT(docs.status(), IsOk());
    std::vector<World> worlds = {Read()};
    const uint64_t synced = history.Below(20);
    for (uint64_t row = 0; row < 20; ++row) {
      const StoredState state{.sequence = row + 1, .next_row = row + 1};
      const std::map<uint64_t, Row> rows = {{row, {row, std::vector<float>(10, 1.5F)}}};
      ASSERT_THAT(PutRows(*store_, *docs, state, rows), IsOk());
      worlds.push_back(worlds.back());
      worlds.back()["docs"].rows.insert(rows.begin(), rows.end());
      worlds.back()["docs"].state = state;
      if (row == synced) {
        ASSERT_THAT(store_->Sync(), IsOk());
        worlds.erase(worlds.begin(), worlds.end() - 1);
      }
    }
    env_.Stop();
    store_.reset();
    env_.LosePower(history.random());
    auto opened = Store::Open(options_);
    if (opened.ok()) {
      ++whole;
      store_ = *std::move(opened);
      EXPECT_THAT(worlds, ::testing::Contains(Read()));
      store_.reset();
    } else {
      ASSERT_TRUE(absl::IsDataLoss(opened.status())) << opened.status();
      ASSERT_THAT(RepairStore({.directory = options_.directory, .env = env_.env()}).status(),
                  IsOk());
      ASSERT_NO_FATAL_FAILURE(MustOpen());
      const World kept = Read();
      for (const auto& [row, contents] : worlds.front().at("docs").rows) {
        EXPECT_TRUE(kept.at("docs").rows.contains(row)) << row;
      }
      store_.reset();
    }
  }
  EXPECT_GT(whole, 0);
}

// Nothing can be made and nothing appended, for that reason.
FaultyEnv::Judge NoRoom(const IOStatus& reason) {
  return [reason](const FaultyEnv::Call& call) {
    const bool needs_room =
        call.operation == Operation::kAppend || call.operation == Operation::kCreate;
    return needs_room ? Verdict{reason, 3} : Verdict();
  };
}

class FullStartTest : public StoreFaultTest, public ::testing::WithParamInterface<bool> {
 protected:
  static IOStatus Reason() {
    return GetParam() ? IOStatus::NoSpace("injected", std::strerror(ENOSPC))
                      : IOStatus::IOError("injected", std::strerror(EDQUOT));
  }
  void Kill() {
    env_.Stop();
    store_.reset();
    env_.Restart();
  }
  absl::Status PutOne(uint64_t row) {
    World world = Read();
    const StoredState before = world.at("docs").state;
    return PutRows(*store_, numbers_.at("docs"), {.sequence = row + 1, .next_row = row + 1},
                   {{row, {row, {static_cast<float>(row)}}}}, before);
  }
};

TEST_P(FullStartTest, ReadsAreServedAndWritingResumesByItself) {
  ASSERT_NO_FATAL_FAILURE(MustOpen());
  ASSERT_THAT(store_->Create("docs", {.dimension = 1}).status(), IsOk());
  const auto dropped = store_->Create("dropped", {.dimension = 1});
  const auto unnamed = store_->CreateUnnamed({.dimension = 1});
  ASSERT_THAT(unnamed.status(), IsOk());
  for (uint64_t row = 0; row < 40; ++row) ASSERT_THAT(PutOne(row), IsOk());
  ASSERT_THAT(store_->Drop(*dropped), IsOk());
  World world = Read();
  ASSERT_EQ(world.size(), 1);
  Kill();

  env_.SetJudge(NoRoom(Reason()));
  ASSERT_NO_FATAL_FAILURE(MustOpen());
  const auto refused =
      StatusIs(absl::StatusCode::kResourceExhausted,
               AllOf(HasSubstr("the disk of data directory " + options_.directory + " is full; "),
                     HasSubstr(" bytes are free on its disk")));
  EXPECT_THAT(store_->failure(), refused);
  EXPECT_EQ(Read(), world);
  for (int i = 0; i < 3; ++i) {
    EXPECT_THAT(PutOne(40), refused);
    EXPECT_THAT(store_->Create("more", {.dimension = 1}).status(), refused);
    EXPECT_THAT(store_->Sync(), refused);
    EXPECT_EQ(Read(), world) << "what is refused takes nothing that is there";
  }
  env_.SetJudge(nullptr);
  EXPECT_THAT(PutOne(40), IsOk());
  EXPECT_THAT(store_->failure(), IsOk());
  world["docs"].rows[40] = {uint64_t{40}, {40}};
  world["docs"].state = {.sequence = 41, .next_row = 41};
  EXPECT_EQ(Read(), world);
  EXPECT_THAT(store_->Publish(*unnamed, "found"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("has no collection")))
      << "nobody has named it, and its process is gone";
  Kill();
  ASSERT_NO_FATAL_FAILURE(MustOpen());
  EXPECT_EQ(Read(), world);
}

TEST_P(FullStartTest, AListOfFilesThatIsTornIsNoHindrance) {
  ASSERT_NO_FATAL_FAILURE(MustOpen());
  ASSERT_THAT(store_->Create("docs", {.dimension = 1}).status(), IsOk());
  ASSERT_THAT(PutOne(0), IsOk());
  const World world = Read();
  Kill();
  const fs::path database = fs::path(options_.directory) / "store";
  std::string manifest;
  std::getline(std::ifstream(database / "CURRENT"), manifest);
  // A checksum, the length 100, a whole record, and the first three of its bytes.
  std::ofstream(database / manifest, std::ios::app | std::ios::binary)
      << std::string_view("abcd\x64\0\1xyz", 10);
  env_.SetJudge(NoRoom(Reason()));
  ASSERT_NO_FATAL_FAILURE(MustOpen());
  EXPECT_EQ(Read(), world);
}

TEST_P(FullStartTest, WhereNothingCanBeReadTheStartIsRefused) {
  env_.SetJudge(NoRoom(Reason()));
  EXPECT_THAT(Store::Open(options_).status(),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr(" is full; ")));
  env_.SetJudge(nullptr);
  ASSERT_NO_FATAL_FAILURE(MustOpen());
  EXPECT_THAT(store_->Create("docs", {.dimension = 1}).status(), IsOk());
}

INSTANTIATE_TEST_SUITE_P(DiskAndQuota, FullStartTest, ::testing::Bool());

TEST_F(StoreFaultTest, AFullDiskRefusesWritesAndWritingResumesByItself) {
  ASSERT_NO_FATAL_FAILURE(MustOpen());
  const auto docs = store_->Create("docs", {.dimension = 1});
  ASSERT_THAT(docs.status(), IsOk());
  const StoredState first{.sequence = 1, .next_row = 1}, second{.sequence = 2, .next_row = 5};
  ASSERT_THAT(PutRows(*store_, *docs, first, {{0, {uint64_t{1}, {1}}}}), IsOk());
  World world = Read();
  env_.SetJudge([](const FaultyEnv::Call& call) {
    return call.operation == Operation::kAppend ? Verdict{IOStatus::NoSpace("injected"), 3}
                                                : Verdict();
  });
  for (uint64_t row = 1; row < 4; ++row) {
    EXPECT_THAT(
        PutRows(*store_, *docs, {.next_row = row + 1}, {{row, {row, {1}}}}, first),
        StatusIs(absl::StatusCode::kResourceExhausted,
                 AllOf(HasSubstr("the disk of data directory " + options_.directory + " is full; "),
                       HasSubstr(" bytes are free on its disk"))));
  }
  env_.SetJudge(nullptr);
  EXPECT_EQ(Read(), world);
  ASSERT_THAT(PutRows(*store_, *docs, second, {{4, {uint64_t{4}, {4}}}}, first), IsOk());
  world["docs"].rows[4] = {uint64_t{4}, {4}};
  world["docs"].state = second;
  EXPECT_EQ(Read(), world);
}

}  // namespace
}  // namespace vexact

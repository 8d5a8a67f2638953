// Searches, pages and gets while rows are replaced, deleted, added and compacted: each answer must
// be the state of exactly one sequence number.
#include "core/snapshot.h"

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <latch>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/core/harness.h"

namespace vexact {
namespace {

using Vector = std::vector<float>;

constexpr size_t kDimension = 20;
constexpr uint64_t kIdsPerWriter = 60;
constexpr int kWriters = 2;

// The version that each stored id has.
using State = std::map<Id, uint64_t>;

// Every component says which id and which version it belongs to: a row made of two is recognised.
Vector Encode(const Id& id, uint64_t version) {
  const auto number = static_cast<float>(std::holds_alternative<uint64_t>(id)
                                             ? std::get<uint64_t>(id)
                                             : 1'000 + std::stoull(std::get<std::string>(id)));
  Vector vector(kDimension, number);
  for (size_t j = 1; j < kDimension; j += 2) vector[j] = static_cast<float>(version);
  return vector;
}

std::vector<Point> Points(const State& state) {
  std::vector<Point> points;
  for (const auto& [id, version] : state) points.push_back({id, Encode(id, version)});
  return points;
}

// What one writer's ids were after each of its writes.
class Log {
 public:
  void Add(uint64_t sequence, const State& state) { states_[sequence] = state; }
  const State& At(uint64_t sequence) const {
    static const State nothing;
    const auto later = states_.upper_bound(sequence);
    return later == states_.begin() ? nothing : std::prev(later)->second;
  }

 private:
  std::map<uint64_t, State> states_;
};

// What a reader got: checked against the state of its sequence number once the logs are complete.
struct Answer {
  uint64_t sequence;
  std::function<void(const State&)> check;
};

class SnapshotTest : public testing::TestWithParam<EngineKind> {
 protected:
  SnapshotTest() {
    CollectionTuning tuning;
    tuning.segment_rows = 48;  // many segments, often compacted
    tuning.layout = Layout::Identity(kDimension, 8);
    collection_ = std::make_unique<Collection>("docs", CollectionConfig{kDimension, Metric::kL2},
                                               workers_, nullptr, tuning);
  }

  static Id IdOf(int writer, uint64_t i) {
    if (i % 3 == 0) return std::to_string(kIdsPerWriter * writer + i);
    return kIdsPerWriter * writer + i;
  }

  // Replaces all of its ids, deletes some, adds some again, each in one write.
  void Write(int writer, Log& log) {
    oracle::Random random(100 + writer);
    State state;
    for (uint64_t version = 1; version == 1 || !readers_are_done(); ++version) {
      std::vector<Point> points;
      const bool all = version % 4 == 1;
      for (uint64_t i = 0; i < kIdsPerWriter; ++i) {
        if (!all && random.Chance(0.6)) continue;
        points.push_back({IdOf(writer, i), Encode(IdOf(writer, i), version)});
      }
      if (!points.empty()) {
        const auto written = Upsert(*collection_, points);
        ASSERT_THAT(written.status(), IsOk());
        for (const Point& point : points) state[point.id] = version;
        log.Add(written->sequence, state);
      }
      std::vector<Id> gone;
      for (const auto& [id, of] : state) {
        if (random.Chance(0.3)) gone.push_back(id);
      }
      if (!gone.empty()) {
        const auto deleted = Delete(*collection_, gone);
        ASSERT_THAT(deleted.status(), IsOk());
        EXPECT_EQ(deleted->deleted, gone.size());
        for (const Id& id : gone) state.erase(id);
        log.Add(deleted->sequence, state);
      }
      // Takes a sequence number and changes no row.
      if (version % 8 == 0) {
        ASSERT_THAT(collection_->SetMetric(version % 16 == 0 ? Metric::kL2 : Metric::kInnerProduct),
                    IsOk());
      }
    }
  }

  void Read(int reader, std::vector<Answer>& answers) {
    oracle::Random random(200 + reader);
    // Until it has met the writers often enough.
    std::set<uint64_t> sequences;
    while (answers.size() < kAnswersPerReader || sequences.size() < kSequencesPerReader) {
      switch (random.Below(4)) {
        case 0:
          SearchByVector(random, answers);
          break;
        case 1:
          SearchById(random, answers);
          break;
        case 2:
          Scroll(random, answers);
          break;
        default:
          GetSome(random, answers);
      }
      if (HasFatalFailure()) break;
      if (!answers.empty()) sequences.insert(answers.back().sequence);
    }
    --readers_left_;
  }

  SearchOptions AnyOptions(oracle::Random& random) const {
    return {.k = random.Chance(0.5) ? 1'000 : 1 + static_cast<uint32_t>(random.Below(30)),
            .metric = random.Chance(0.5) ? Metric::kL2 : Metric::kInnerProduct,
            .engine = GetParam()};
  }

  Id AnyId(oracle::Random& random) const {
    return IdOf(static_cast<int>(random.Below(kWriters)), random.Below(kIdsPerWriter));
  }

  void SearchByVector(oracle::Random& random, std::vector<Answer>& answers) const {
    const SearchOptions options = AnyOptions(random);
    const Vector q = random.Gaussian(kDimension);
    const Query query{.target = std::span<const float>(q)};
    const auto result = collection_->Search({&query, 1}, options);
    ASSERT_THAT(result.status(), IsOk());
    answers.push_back(
        {result->snapshot->sequence,
         [=, compared = result->rows_compared, hits = Owned(result->hits[0])](const State& state) {
           ASSERT_EQ(compared, state.size());
           ASSERT_EQ(hits, oracle::TopK(*options.metric, Points(state), q, options.k));
         }});
  }

  void SearchById(oracle::Random& random, std::vector<Answer>& answers) const {
    const SearchOptions options = AnyOptions(random);
    const Id id = AnyId(random);
    const Query query{.target = id, .exclude_self = true};
    const auto result = collection_->Search({&query, 1}, options);
    if (!result.ok()) {
      ASSERT_THAT(result.status(), StatusIs(absl::StatusCode::kNotFound, testing::_));
      return;
    }
    answers.push_back({result->snapshot->sequence, [=, hits = Owned(result->hits[0])](State state) {
                         ASSERT_TRUE(state.contains(id)) << "found by an id that was not stored";
                         const Vector q = Encode(id, state.at(id));
                         state.erase(id);
                         ASSERT_EQ(hits,
                                   oracle::TopK(*options.metric, Points(state), q, options.k));
                       }});
  }

  void Scroll(oracle::Random& random, std::vector<Answer>& answers) const {
    const auto page_size = 1 + static_cast<uint32_t>(random.Below(150));
    const Id after = AnyId(random);
    const bool from_start = random.Chance(0.5);
    const auto page =
        collection_->Scroll(from_start ? std::nullopt : std::optional(View(after)), page_size);
    ASSERT_THAT(page.status(), IsOk());
    answers.push_back({page->snapshot->sequence, [=, points = Owned(*page)](const State& state) {
                         std::vector<Point> expected = Points(state);
                         std::erase_if(expected, [&](const Point& point) {
                           return !from_start && !oracle::IdBefore(after, point.id);
                         });
                         if (expected.size() > page_size) expected.resize(page_size);
                         ASSERT_EQ(points, expected);
                       }});
  }

  void GetSome(oracle::Random& random, std::vector<Answer>& answers) const {
    std::vector<Id> ids;
    for (uint64_t i = 1 + random.Below(3); i > 0; --i) ids.push_back(AnyId(random));
    const auto result = Get(*collection_, ids);
    if (!result.ok()) {
      ASSERT_THAT(result.status(), StatusIs(absl::StatusCode::kNotFound, testing::_));
      return;
    }
    answers.push_back(
        {result->snapshot->sequence, [=, points = Owned(*result)](const State& state) {
           std::vector<Point> expected;
           for (const Id& id : ids) {
             ASSERT_TRUE(state.contains(id)) << "an id that was not stored";
             expected.push_back({id, Encode(id, state.at(id))});
           }
           ASSERT_EQ(points, expected);
         }});
  }

  bool readers_are_done() const { return readers_left_ == 0; }

  static constexpr int kReaders = 3;
  static constexpr size_t kAnswersPerReader = 250;
  static constexpr size_t kSequencesPerReader = 25;

  Workers workers_{2};
  std::unique_ptr<Collection> collection_;
  std::atomic<int> readers_left_ = kReaders;
};

INSTANTIATE_TEST_SUITE_P(, SnapshotTest, testing::ValuesIn(kEngineKinds),
                         [](const auto& instance) { return std::string(Name(instance.param)); });

TEST_P(SnapshotTest, EveryAnswerIsTheStateOfOneSequenceNumber) {
  std::vector<Log> logs(kWriters);
  std::vector<std::vector<Answer>> answers(kReaders);
  {
    std::latch start(kWriters + kReaders + 1);
    std::vector<std::jthread> threads;
    for (int writer = 0; writer < kWriters; ++writer) {
      threads.emplace_back([&, writer] {
        start.arrive_and_wait();
        Write(writer, logs[writer]);
      });
    }
    for (int reader = 0; reader < kReaders; ++reader) {
      threads.emplace_back([&, reader] {
        start.arrive_and_wait();
        Read(reader, answers[reader]);
      });
    }
    threads.emplace_back([&] {
      start.arrive_and_wait();
      while (!readers_are_done()) {
        ASSERT_THAT(collection_->Compact().status(), IsOk());
        std::this_thread::yield();
      }
    });
  }
  for (const std::vector<Answer>& of_reader : answers) {
    for (const Answer& answer : of_reader) {
      State state;
      for (const Log& log : logs) {
        const State& own = log.At(answer.sequence);
        state.insert(own.begin(), own.end());
      }
      SCOPED_TRACE(answer.sequence);
      answer.check(state);
      if (HasFatalFailure()) return;
    }
  }
}

// A reader that looks twice never goes back in time.
TEST_P(SnapshotTest, SequenceNumbersOnlyGrow) {
  ASSERT_THAT(Upsert(*collection_, {{uint64_t{1}, Vector(kDimension, 1)}}).status(), IsOk());
  std::atomic<bool> done = false;
  std::jthread writer([&] {
    for (int i = 0; i < 300; ++i) {
      EXPECT_THAT(
          Upsert(*collection_, {{uint64_t{1}, Vector(kDimension, static_cast<float>(i))}}).status(),
          IsOk());
    }
    done = true;
  });
  uint64_t last = 0;
  while (!done) {
    const Vector q(kDimension, 1);
    const Query query{.target = std::span<const float>(q)};
    const auto result = collection_->Search({&query, 1}, {.engine = GetParam()});
    ASSERT_THAT(result.status(), IsOk());
    ASSERT_EQ(result->hits[0].size(), 1) << "a replaced row was seen twice or not at all";
    ASSERT_GE(result->snapshot->sequence, last);
    last = result->snapshot->sequence;
    ASSERT_GE(collection_->info().sequence, last);
  }
}

}  // namespace
}  // namespace vexact

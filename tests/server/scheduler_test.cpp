// Searches that share scans: each gets what it would get alone, whoever else waits.
#include "server/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <stop_token>
#include <thread>
#include <vector>

#include "tests/core/collection_fixture.h"
#include "tests/core/harness.h"

namespace vexact::server {
namespace {

using ::testing::HasSubstr;

constexpr uint32_t kDimension = 24;
constexpr uint64_t kManyWaiting = 1'000'000;

// A search that owns what it is made of.
struct OneSearch {
  std::vector<Vector> vectors;
  std::vector<Id> ids;
  SearchOptions options;
  std::stop_source stop;
  SlowSearch trace;
  std::promise<absl::StatusOr<SearchResult>> promise;

  std::future<absl::StatusOr<SearchResult>> Submit(Scheduler& scheduler,
                                                   std::shared_ptr<const Collection> collection,
                                                   absl::Time deadline = absl::InfiniteFuture()) {
    std::vector<Query> queries;
    for (const Vector& vector : vectors) queries.push_back({.target = std::span(vector)});
    for (const Id& id : ids) queries.push_back({.target = id, .exclude_self = true});
    auto result = promise.get_future();
    scheduler.Submit({.collection = std::move(collection),
                      .queries = std::move(queries),
                      .options = options,
                      .interrupt = {.stop = stop.get_token(), .deadline = deadline},
                      .trace = &trace,
                      .done = [this](absl::StatusOr<SearchResult> found) {
                        promise.set_value(std::move(found));
                      }});
    return result;
  }
};

class SchedulerTest : public testing::Test {
 protected:
  std::shared_ptr<Collection> Make(const std::vector<Point>& points) {
    auto collection = std::make_shared<Collection>(
        "docs", CollectionConfig{kDimension, Metric::kL2, Normalization::kNone}, workers_, nullptr,
        SegmentsOf(100));
    if (!points.empty()) {
      EXPECT_THAT(Upsert(*collection, points).status(), IsOk());
    }
    return collection;
  }

  // A search that no patience would outlast: it goes on until it is stopped.
  std::future<absl::StatusOr<SearchResult>> Occupy(Scheduler& scheduler, OneSearch& search) {
    search.vectors.assign(kMaxQueries, random_.Gaussian(kDimension));
    search.options = {.k = 1, .engine = EngineKind::kReference};
    return search.Submit(scheduler, large_);
  }

  Workers workers_{2};
  oracle::Random random_{1};
  Metrics metrics_;
  // Scored row by row: some milliseconds a query.
  std::shared_ptr<Collection> large_ = Make(RandomPoints(9, 0, 200'000, kDimension));
};

void ExpectSame(const SearchResult& found, const SearchResult& alone) {
  ASSERT_EQ(found.hits.size(), alone.hits.size());
  EXPECT_EQ(found.metric, alone.metric);
  EXPECT_EQ(found.rows_compared, alone.rows_compared);
  for (size_t q = 0; q < alone.hits.size(); ++q) {
    ASSERT_EQ(found.hits[q].size(), alone.hits[q].size());
    for (size_t i = 0; i < alone.hits[q].size(); ++i) {
      ASSERT_EQ(Own(found.hits[q][i].row.id()), Own(alone.hits[q][i].row.id()));
      ASSERT_EQ(oracle::Bits(found.hits[q][i].score), oracle::Bits(alone.hits[q][i].score));
    }
  }
}

// Whoever gives the answers: the scheduler's threads or the lone poller.
class SchedulerAnswersTest : public SchedulerTest, public testing::WithParamInterface<bool> {};

INSTANTIATE_TEST_SUITE_P(LonePoller, SchedulerAnswersTest, testing::Bool());

TEST_P(SchedulerAnswersTest, EachGetsWhatItWouldGetAlone) {
  const auto collection = Make(RandomPoints(2, 0, 3'000, kDimension));
  constexpr size_t kThreads = 8, kSearches = 60;
  std::vector<std::vector<std::unique_ptr<OneSearch>>> searches(kThreads);
  for (auto& some : searches) {
    for (size_t i = 0; i < kSearches; ++i) {
      auto& search = *some.emplace_back(std::make_unique<OneSearch>());
      for (uint64_t n = random_.Below(random_.Chance(0.1) ? 600 : 3) + 1; n > 0; --n) {
        search.vectors.push_back(random_.Gaussian(kDimension));
      }
      if (random_.Chance(0.3)) search.ids.push_back(Number(random_.Below(3'000)));
      search.options.k = random_.Chance(0.5) ? 10 : 1 + static_cast<uint32_t>(random_.Below(20));
      if (random_.Chance(0.3)) search.options.metric = Metric::kInnerProduct;
      if (random_.Chance(0.1)) search.options.engine = EngineKind::kReference;
    }
  }
  std::atomic<uint64_t> shared = 0;
  {
    Scheduler scheduler(metrics_, kManyWaiting, /*lone_poller=*/GetParam());
    std::vector<std::jthread> threads;
    for (auto& some : searches) {
      threads.emplace_back([&] {
        // All at once, so that they wait for one another.
        std::vector<std::future<absl::StatusOr<SearchResult>>> results;
        for (auto& search : some) results.push_back(search->Submit(scheduler, collection));
        for (size_t i = 0; i < some.size(); ++i) {
          const auto found = results[i].get();
          ASSERT_THAT(found.status(), IsOk());
          OneSearch& search = *some[i];
          std::vector<Query> queries;
          for (const Vector& v : search.vectors) queries.push_back({.target = std::span(v)});
          for (const Id& id : search.ids) queries.push_back({.target = id, .exclude_self = true});
          const auto alone = collection->Search(queries, search.options);
          ASSERT_THAT(alone.status(), IsOk());
          ExpectSame(*found, *alone);
          if (search.trace.scanned_queries > queries.size()) ++shared;
        }
      });
    }
  }
  EXPECT_GT(shared, 0u);
  EXPECT_EQ(metrics_.waiting(), 0);
}

// Row i comes with sequence number i + 1: an answer says by its sequence number what it must hold.
TEST_F(SchedulerTest, AnAnswerIsOfOneMomentWhileRowsAreWritten) {
  constexpr size_t kRows = 400;
  const std::vector<Point> points = RandomPoints(3, 0, kRows, kDimension);
  const auto collection = Make({});
  ASSERT_THAT(Upsert(*collection, {points[0]}).status(), IsOk());
  Scheduler scheduler(metrics_, kManyWaiting);
  std::jthread writer([&] {
    for (size_t i = 1; i < kRows; ++i) {
      ASSERT_THAT(Upsert(*collection, {points[i]}).status(), IsOk());
    }
  });
  std::vector<std::jthread> readers;
  for (int reader = 0; reader < 4; ++reader) {
    readers.emplace_back([&, reader] {
      oracle::Random random(static_cast<uint64_t>(reader) + 10);
      for (int round = 0; round < 40; ++round) {
        OneSearch search;
        for (int q = 0; q < 1 + round % 2 * 300; ++q) {
          search.vectors.push_back(random.Gaussian(kDimension));
        }
        search.options.k = 3;
        const auto found = search.Submit(scheduler, collection).get();
        ASSERT_THAT(found.status(), IsOk());
        const uint64_t rows = found->snapshot->sequence;
        ASSERT_EQ(found->rows_compared, rows);
        for (size_t q = 0; q < search.vectors.size(); q += 37) {
          ASSERT_EQ(Owned(found->hits[q]),
                    oracle::TopK(Metric::kL2, {points.data(), rows}, search.vectors[q], 3));
        }
      }
    });
  }
}

// Each comes back as soon as it is answered. Were the first of them scanned alone while the others
// come, most would share their scan with a few. A busy machine may keep them from coming in time:
// they may try again.
TEST_F(SchedulerTest, CallersThatAreAnsweredTogetherAreScannedTogetherAgain) {
  constexpr size_t kCallers = 8;
  constexpr int kSearches = 50, kTries = 20;
  const auto collection = Make(RandomPoints(4, 0, 20'000, kDimension));
  const Vector query = random_.Gaussian(kDimension);
  double mean = 0;  // searches in a scan, as a search sees it
  for (int tries = 0; mean < 7 && tries < kTries; ++tries) {
    std::atomic<uint64_t> together = 0;
    Scheduler scheduler(metrics_, kManyWaiting);
    std::vector<std::jthread> callers;
    for (size_t caller = 0; caller < kCallers; ++caller) {
      callers.emplace_back([&] {
        for (int i = 0; i < kSearches; ++i) {
          OneSearch search;
          search.vectors = {query};
          search.options = {.k = 1, .engine = EngineKind::kReference};
          EXPECT_THAT(search.Submit(scheduler, collection).get().status(), IsOk());
          together += search.trace.scanned_queries;
        }
      });
    }
    callers.clear();
    mean = static_cast<double>(together) / (kCallers * kSearches);
  }
  EXPECT_GE(mean, 7);
}

// Brings the searches of several callers one after the other, as the one thread of gRPC's does that
// polls: while it is kept, none of the others is read.
class Poller {
 public:
  explicit Poller(Scheduler& scheduler) : scheduler_(scheduler) {}

  // What a caller does whose search is done: it is read again later, and where the answer of a
  // search was sent, the poller sees to what is left to give.
  void Send(std::function<void()> submit) {
    const std::lock_guard lock(mutex_);
    sent_.push_back(std::move(submit));
    changed_.notify_all();
  }

  // Until `stop`.
  void Run(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    while (changed_.wait(lock, stop, [this] { return !sent_.empty(); })) {
      const auto submit = std::move(sent_.front());
      sent_.pop_front();
      lock.unlock();
      scheduler_.GiveAnswers();
      submit();
      lock.lock();
    }
  }

 private:
  Scheduler& scheduler_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<std::function<void()>> sent_;
};

// A brief search that is alone is scanned by the poller. Were each of many, none would ever share a
// scan.
TEST_F(SchedulerTest, TheLonePollerLeavesTheSearchesOfManyToBeScannedTogether) {
  constexpr size_t kCallers = 8;
  constexpr int kSearches = 400;
  const auto collection = Make(RandomPoints(4, 0, 20'000, kDimension));
  const Vector query = random_.Gaussian(kDimension);
  const std::vector<Query> queries = {{.target = std::span(query)}};
  Scheduler scheduler(metrics_, kManyWaiting, /*lone_poller=*/true);
  Poller poller(scheduler);
  struct Caller {
    std::function<void()> submit;
    SlowSearch trace;
    int left = kSearches;
    uint64_t together = 0;
    std::promise<void> done;
  };
  std::vector<Caller> callers(kCallers);
  for (Caller& caller : callers) {
    caller.submit = [&] {
      caller.trace = {};
      scheduler.Submit({.collection = collection,
                        .queries = queries,
                        .options = {.k = 1},
                        .interrupt = {},
                        .trace = &caller.trace,
                        .done = [&](const absl::StatusOr<SearchResult>& found) {
                          EXPECT_THAT(found.status(), IsOk());
                          caller.together += caller.trace.scanned_queries;
                          if (--caller.left == 0) return caller.done.set_value();
                          poller.Send(caller.submit);
                        }});
    };
    poller.Send(caller.submit);
  }
  std::jthread thread([&](const std::stop_token& stop) { poller.Run(stop); });
  uint64_t together = 0;
  for (Caller& caller : callers) {
    caller.done.get_future().get();
    together += caller.together;
  }
  EXPECT_GE(static_cast<double>(together) / (kCallers * kSearches), 2);
}

// Nobody tells that the first answer is sent: its client does not read it.
TEST_F(SchedulerTest, AnAnswerThatIsNotSentHoldsUpNoOther) {
  const auto collection = Make(RandomPoints(4, 0, 1'000, kDimension));
  Scheduler scheduler(metrics_, kManyWaiting, /*lone_poller=*/true);
  OneSearch huge;
  auto huge_result = Occupy(scheduler, huge);  // meanwhile the others come together
  std::vector<std::unique_ptr<OneSearch>> searches;
  std::vector<std::future<absl::StatusOr<SearchResult>>> results;
  for (int i = 0; i < 50; ++i) {
    auto& search = *searches.emplace_back(std::make_unique<OneSearch>());
    search.vectors = {random_.Gaussian(kDimension)};
    search.options = {.k = 3, .engine = EngineKind::kReference};
    results.push_back(search.Submit(scheduler, collection));
  }
  huge.stop.request_stop();
  uint64_t shared = 0;
  for (size_t i = 0; i < results.size(); ++i) {
    const auto found = results[i].get();
    ASSERT_THAT(found.status(), IsOk());
    ExpectSame(*found, *collection->Search(
                           std::vector<Query>{{.target = std::span(searches[i]->vectors[0])}},
                           searches[i]->options));
    shared += searches[i]->trace.scanned_queries > 1 ? 1 : 0;
  }
  EXPECT_GT(shared, 4u);
  EXPECT_EQ(huge_result.get().status().code(), absl::StatusCode::kCancelled);
}

TEST_F(SchedulerTest, ASmallSearchIsNotStuckBehindAHugeOne) {
  Scheduler scheduler(metrics_, kManyWaiting);
  OneSearch huge, small, elsewhere;
  auto huge_result = Occupy(scheduler, huge);
  small.vectors = {random_.Gaussian(kDimension)};
  EXPECT_THAT(small.Submit(scheduler, large_).get().status(), IsOk());
  const auto other = Make(RandomPoints(4, 0, 10, kDimension));
  elsewhere.vectors = {random_.Gaussian(kDimension)};
  EXPECT_THAT(elsewhere.Submit(scheduler, other).get().status(), IsOk());
  EXPECT_EQ(huge_result.wait_for(std::chrono::seconds(0)), std::future_status::timeout);
  huge.stop.request_stop();
  EXPECT_EQ(huge_result.get().status().code(), absl::StatusCode::kCancelled);
}

TEST_F(SchedulerTest, WhoHasGoneIsDroppedBeforeItsScan) {
  Scheduler scheduler(metrics_, kManyWaiting);
  OneSearch huge, cancelled, late;
  auto huge_result = Occupy(scheduler, huge);
  cancelled.vectors = late.vectors = {random_.Gaussian(kDimension)};
  cancelled.stop.request_stop();
  EXPECT_EQ(cancelled.Submit(scheduler, large_).get().status().code(),
            absl::StatusCode::kCancelled);
  EXPECT_EQ(late.Submit(scheduler, large_, absl::InfinitePast()).get().status().code(),
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(cancelled.trace.scanned_queries + late.trace.scanned_queries, 0u);
  huge.stop.request_stop();
  EXPECT_EQ(huge_result.get().status().code(), absl::StatusCode::kCancelled);
}

TEST_F(SchedulerTest, RefusesAtOnceWhatIsTooMuchAndSaysWhenToComeAgain) {
  Scheduler scheduler(metrics_, 2);
  OneSearch huge, refused, accepted;
  auto huge_result = Occupy(scheduler, huge);  // nobody waited, so that its size does not matter
  refused.vectors = accepted.vectors = {random_.Gaussian(kDimension)};
  const absl::Status status = refused.Submit(scheduler, large_).get().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("max_waiting_queries is 2; try again in"));
  EXPECT_EQ(metrics_.refused(Refusal::kQueue), 1u);
  huge.stop.request_stop();
  EXPECT_EQ(huge_result.get().status().code(), absl::StatusCode::kCancelled);
  EXPECT_THAT(accepted.Submit(scheduler, large_).get().status(), IsOk());
}

TEST_F(SchedulerTest, AnErrorIsTheErrorOfOneSearchAlone) {
  const auto collection = Make(RandomPoints(5, 0, 50, kDimension));
  Scheduler scheduler(metrics_, kManyWaiting);
  std::vector<std::unique_ptr<OneSearch>> searches;
  std::vector<std::future<absl::StatusOr<SearchResult>>> results;
  for (uint64_t i = 0; i < 100; ++i) {
    auto& search = *searches.emplace_back(std::make_unique<OneSearch>());
    search.ids = {Number(i)};
    results.push_back(search.Submit(scheduler, collection));
  }
  for (size_t i = 0; i < results.size(); ++i) {
    EXPECT_EQ(results[i].get().status().code(),
              i < 50 ? absl::StatusCode::kOk : absl::StatusCode::kNotFound);
  }
}

}  // namespace
}  // namespace vexact::server

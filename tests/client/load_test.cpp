// The load generator against a server that does as the test says: what it counts, and from when.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <mutex>
#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "client/bench/latency_histogram.h"
#include "client/bench/load.h"
#include "client/bench/workload.h"
#include "vexact/v1/search.grpc.pb.h"

namespace vexact::client {
namespace {

using ::testing::AllOf;
using ::testing::Ge;
using ::testing::Le;

constexpr int64_t kMillisecond = 1'000'000;

TEST(LatencyHistogram, QuantilesAreAtMostOneStepTooLong) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937_64 random(seed);
  // From 1 ns to 18 minutes, every order of magnitude as often.
  std::uniform_real_distribution<double> exponent(0, 40);
  LatencyHistogram histogram;
  std::vector<int64_t> times;
  for (int i = 0; i < 20'000; ++i) {
    times.push_back(static_cast<int64_t>(std::exp2(exponent(random))));
    histogram.Record(times.back());
  }
  std::sort(times.begin(), times.end());
  for (double share : {0.0001, 0.01, 0.25, 0.5, 0.9, 0.99, 0.999, 1.0}) {
    const auto place = static_cast<size_t>(std::ceil(share * 20'000)) - 1;
    EXPECT_THAT(histogram.Quantile(share), AllOf(Ge(times[place]), Le(times[place] * 129 / 128)))
        << share;
  }
  EXPECT_EQ(histogram.max(), times.back());
  EXPECT_EQ(histogram.count(), 20'000);
  double sum = 0;
  for (int64_t time : times) sum += static_cast<double>(time);
  EXPECT_DOUBLE_EQ(histogram.mean(), sum / 20'000);
}

TEST(LatencyHistogram, TakesWhatIsBeyondItsBuckets) {
  LatencyHistogram histogram;
  EXPECT_EQ(histogram.Quantile(0.5), 0);
  histogram.Record(-5);
  EXPECT_EQ(histogram.Quantile(1), 0);
  histogram.Record(int64_t{1} << 60);
  EXPECT_EQ(histogram.Quantile(1), int64_t{1} << 60);
}

TEST(Workload, SpreadsUpsertsEvenly) {
  const Workload workload({.collection = "c", .upsert_share = 0.25}, {{1, 2}}, std::nullopt);
  for (uint64_t number = 0; number < 1000; ++number) {
    EXPECT_EQ(workload.IsUpsert(number), number % 4 == 3) << number;
  }
}

// Answers searches as `answer` says, and holds back those that come before Release().
class FakeServer : public v1::Search::CallbackService {
 public:
  explicit FakeServer(std::function<grpc::Status(uint64_t number)> answer, bool holds = false)
      : answer_(std::move(answer)), holds_(holds) {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    connections_.push_back(std::make_unique<Connection>(absl::StrCat("127.0.0.1:", port)));
  }
  ~FakeServer() override {
    Release();
    server_->Shutdown();
  }

  grpc::ServerUnaryReactor* Search(grpc::CallbackServerContext* context, const v1::SearchRequest*,
                                   v1::SearchResponse*) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    const std::lock_guard lock(mutex_);
    const uint64_t number = received_++;
    arrived_.notify_all();
    if (holds_) {
      held_.emplace_back(reactor, number);
    } else {
      reactor->Finish(answer_(number));
    }
    return reactor;
  }

  void AwaitRequests(uint64_t count) {
    std::unique_lock lock(mutex_);
    arrived_.wait(lock, [&] { return received_ >= count; });
  }
  void Release() {
    const std::lock_guard lock(mutex_);
    holds_ = false;
    for (const auto& [reactor, number] : held_) reactor->Finish(answer_(number));
    held_.clear();
  }
  uint64_t received() {
    const std::lock_guard lock(mutex_);
    return received_;
  }

  const std::vector<std::unique_ptr<Connection>>& connections() const { return connections_; }

 private:
  const std::function<grpc::Status(uint64_t)> answer_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  bool holds_;
  uint64_t received_ = 0;
  std::vector<std::pair<grpc::ServerUnaryReactor*, uint64_t>> held_;
  std::unique_ptr<grpc::Server> server_;
  std::vector<std::unique_ptr<Connection>> connections_;
};

class LoadTest : public ::testing::Test {
 protected:
  static grpc::Status Good(uint64_t) { return grpc::Status::OK; }
  static void NoProgress(absl::Duration) {}

  const Workload searches_{{.collection = "c"}, {{1, 2}}, std::nullopt};
};

// The server answers nothing for half a second. Requests go on being made meanwhile, and each has
// waited from its own time on: a generator that waited with it would have seen one slow answer.
TEST_F(LoadTest, OpenLoopChargesAStallToEveryRequestThatMetIt) {
  FakeServer server(Good, /*holds=*/true);
  Load load(
      {.clients = 1000, .rate = 200, .arrivals = Arrivals::kEven, .duration = absl::Seconds(1)},
      searches_, server.connections());
  std::thread stall([&] {
    server.AwaitRequests(1);
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    server.Release();
  });
  load.Run(NoProgress);
  stall.join();
  const Measured& measured = load.measured();
  EXPECT_THAT(measured.searches.latency.count(), AllOf(Ge(199), Le(201)));
  EXPECT_EQ(measured.not_sent, 0);
  EXPECT_THAT(measured.failures, ::testing::IsEmpty());
  // The first 80 of 200 were due at least 100 ms before the end of the stall.
  EXPECT_GE(measured.searches.latency.Quantile(0.65), 100 * kMillisecond);
  EXPECT_GE(measured.searches.latency.max(), 500 * kMillisecond);
}

TEST_F(LoadTest, OpenLoopCountsWhatItCouldNotSend) {
  FakeServer server(Good, /*holds=*/true);
  Load load({.clients = 5,
             .rate = 100,
             .arrivals = Arrivals::kEven,
             .duration = absl::Seconds(1),
             .timeout = absl::Milliseconds(300)},
            searches_, server.connections());
  load.Run(NoProgress);
  const Measured& measured = load.measured();
  ASSERT_TRUE(measured.failures.contains(absl::StatusCode::kDeadlineExceeded));
  const uint64_t failed = measured.failures.at(absl::StatusCode::kDeadlineExceeded).count;
  EXPECT_GE(failed, 5);
  EXPECT_GT(measured.not_sent, 0);
  EXPECT_THAT(failed + measured.not_sent, AllOf(Ge(99), Le(101)));
  EXPECT_EQ(measured.searches.latency.count(), 0);
}

TEST_F(LoadTest, PoissonArrivalsHaveTheRateThatWasAskedFor) {
  FakeServer server(Good);
  Load load({.clients = 10'000, .rate = 2000, .duration = absl::Seconds(1)}, searches_,
            server.connections());
  load.Run(NoProgress);
  // Six standard deviations of a Poisson variable, whatever the machine: requests are counted by
  // the time for which they were due.
  const uint64_t made = load.measured().searches.latency.count() + load.measured().not_sent;
  EXPECT_THAT(made, AllOf(Ge(2000 - 270), Le(2000 + 270)));
}

TEST_F(LoadTest, ClosedLoopHasAsManyInFlightAsClients) {
  FakeServer server(Good, /*holds=*/true);
  Load load({.clients = 32, .duration = absl::Milliseconds(500)}, searches_, server.connections());
  std::thread release([&] {
    server.AwaitRequests(32);
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    EXPECT_EQ(server.received(), 32) << "one more was sent while 32 waited";
    server.Release();
  });
  load.Run(NoProgress);
  release.join();
  const Measured& measured = load.measured();
  EXPECT_EQ(measured.searches.latency.count(), server.received());
  EXPECT_GE(measured.searches.latency.count(), 32);
  EXPECT_LE(measured.searches.in_time, measured.searches.latency.count());
}

TEST_F(LoadTest, RefusalsAreNoAnswers) {
  FakeServer server([](uint64_t number) {
    return number % 2 == 0 ? grpc::Status::OK
                           : grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED,
                                          absl::StrCat("full at ", number));
  });
  Load load({.clients = 1, .duration = absl::Milliseconds(300)}, searches_, server.connections());
  load.Run(NoProgress);
  const Measured& measured = load.measured();
  ASSERT_EQ(measured.failures.size(), 1);
  const Failures& refused = measured.failures.at(absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(refused.message, "full at 1");
  EXPECT_EQ(refused.count, measured.refused.count());
  EXPECT_EQ(refused.count, server.received() / 2);
  EXPECT_EQ(measured.searches.latency.count(), (server.received() + 1) / 2);
}

TEST_F(LoadTest, TheWarmUpIsNotMeasured) {
  FakeServer server([](uint64_t number) {
    return number == 0 ? grpc::Status(grpc::StatusCode::INTERNAL, "cold") : grpc::Status::OK;
  });
  Load load({.clients = 1, .warmup = absl::Milliseconds(300), .duration = absl::Milliseconds(300)},
            searches_, server.connections());
  bool warmed_up = false;
  load.Run([&](absl::Duration time) { warmed_up |= time < absl::ZeroDuration(); });
  EXPECT_TRUE(warmed_up);
  EXPECT_THAT(load.measured().failures, ::testing::IsEmpty());
  EXPECT_LT(load.measured().searches.latency.count(), server.received());
  EXPECT_DOUBLE_EQ(load.measured().seconds, 0.3);
}

}  // namespace
}  // namespace vexact::client

#include "server/rate_limit.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace vexact::server {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;

constexpr RateLimit::Clock::time_point kStart{hours(1)};

// How many of `requests` are let in at one moment.
int LetIn(RateLimit& limit, RateLimit::Clock::time_point now, int requests) {
  int let_in = 0;
  for (int i = 0; i < requests; ++i) let_in += limit.Take(now).count() == 0 ? 1 : 0;
  return let_in;
}

TEST(RateLimitTest, LetsASecondsWorthInAtOnceAndThenAsManyAsComeAnew) {
  RateLimit limit(10);
  EXPECT_EQ(LetIn(limit, kStart, 100), 10);
  EXPECT_EQ(LetIn(limit, kStart + milliseconds(99), 5), 0);
  EXPECT_EQ(LetIn(limit, kStart + milliseconds(100), 5), 1);
  EXPECT_EQ(LetIn(limit, kStart + milliseconds(400), 5), 3);
  EXPECT_EQ(LetIn(limit, kStart + hours(1), 100), 10) << "a pause saves no more than a second";
}

TEST(RateLimitTest, NeverLetsInMoreThanTheRateOverAnyTime) {
  RateLimit limit(50);
  int let_in = 0;
  for (int ms = 0; ms < 10'000; ++ms) let_in += LetIn(limit, kStart + milliseconds(ms), 3);
  EXPECT_LE(let_in, 50 + 10 * 50);
  EXPECT_GE(let_in, 10 * 50);
}

TEST(RateLimitTest, SaysHowLongItIsUntilTheNextIsLetIn) {
  RateLimit limit(4);
  ASSERT_EQ(LetIn(limit, kStart, 4), 4);
  const nanoseconds wait = limit.Take(kStart);
  EXPECT_EQ(wait, milliseconds(250));
  EXPECT_EQ(limit.Take(kStart + wait - nanoseconds(1)), nanoseconds(1));
  EXPECT_EQ(limit.Take(kStart + wait), nanoseconds(0));
}

TEST(RateLimitTest, HoldsFromOneToTheMost) {
  RateLimit least(1);
  EXPECT_EQ(LetIn(least, kStart, 3), 1);
  EXPECT_EQ(LetIn(least, kStart + seconds(1), 3), 1);
  RateLimit most(RateLimit::kMostPerSecond);
  EXPECT_EQ(LetIn(most, kStart, 1'000'100), 1'000'000);
}

TEST(RateLimitTest, ThreadsShareIt) {
  RateLimit limit(1'000);
  std::atomic<int> let_in = 0;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] { let_in += LetIn(limit, kStart, 1'000); });
    }
  }
  EXPECT_EQ(let_in.load(), 1'000);
}

}  // namespace
}  // namespace vexact::server

#include "core/workers.h"

#include <gtest/gtest.h>

#include <atomic>
#include <numeric>
#include <thread>
#include <vector>

namespace vexact {
namespace {

TEST(Workers, VisitsEveryIndexOnce) {
  for (int threads = 1; threads <= 4; ++threads) {
    Workers workers(threads);
    EXPECT_EQ(workers.threads(), threads);
    for (const size_t n : {0, 1, 2, 3, 4, 5, 1'000}) {
      // Not atomic: an index visited twice at once is a data race as well.
      std::vector<int> visits(n);
      workers.ForEach(n, [&](int, size_t index) { ++visits[index]; });
      EXPECT_EQ(visits, std::vector<int>(n, 1)) << threads << " threads";
    }
  }
}

TEST(Workers, ASlotIsUsedByOneCallAtATime) {
  for (int threads = 1; threads <= 4; ++threads) {
    Workers workers(threads);
    std::vector<std::atomic<int>> busy(threads);
    std::atomic<int> collisions = 0;
    std::atomic<int> outside = 0;
    workers.ForEach(2'000, [&](int slot, size_t) {
      if (slot < 0 || slot >= threads) {
        ++outside;
        return;
      }
      if (busy[slot].fetch_add(1) != 0) ++collisions;
      std::this_thread::yield();
      busy[slot].fetch_sub(1);
    });
    EXPECT_EQ(collisions, 0);
    EXPECT_EQ(outside, 0);
  }
}

TEST(Workers, WritesAreSeenOnBothSides) {
  Workers workers(4);
  std::vector<uint64_t> input(5'000);
  for (uint64_t round = 1; round <= 20; ++round) {
    std::iota(input.begin(), input.end(), round);
    std::vector<uint64_t> output(input.size());
    workers.ForEach(input.size(), [&](int, size_t i) { output[i] = 2 * input[i]; });
    for (size_t i = 0; i < output.size(); ++i) ASSERT_EQ(output[i], 2 * (round + i));
  }
}

// Every caller's own loop is complete when it returns, whoever else is using the threads.
TEST(Workers, ServesManyCallersAtOnce) {
  for (int threads = 1; threads <= 3; ++threads) {
    Workers workers(threads);
    std::vector<std::jthread> callers;
    for (int caller = 0; caller < 6; ++caller) {
      callers.emplace_back([&workers, threads] {
        for (int round = 0; round < 30; ++round) {
          std::vector<std::vector<size_t>> seen(threads);  // by slot
          std::atomic<int> outside = 0;
          workers.ForEach(50, [&](int slot, size_t index) {
            if (slot < 0 || slot >= threads) {
              ++outside;
            } else {
              seen[slot].push_back(index);
            }
          });
          ASSERT_EQ(outside, 0) << "calls with a slot outside [0, " << threads << ")";
          std::vector<int> visits(50);
          for (const auto& own : seen) {
            for (const size_t index : own) ++visits[index];
          }
          ASSERT_EQ(visits, std::vector<int>(50, 1));
        }
      });
    }
  }
}

}  // namespace
}  // namespace vexact

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

TEST(Workers, ReturnsAtOnceFromNothingToDo) {
  for (int threads = 1; threads <= 3; ++threads) {
    Workers workers(threads);
    std::vector<std::jthread> callers;
    for (int caller = 0; caller < 4; ++caller) {
      callers.emplace_back([&] {
        for (int round = 0; round < 200; ++round) {
          workers.ForEach(0, [](int, size_t) { ADD_FAILURE() << "called for nothing"; });
        }
      });
    }
  }
}

// A call that has plenty to do does not keep the other threads from one that came later: the one
// thread that is shared here looks after both before it is through with either.
TEST(Workers, LongCallsShareTheThreadsFairly) {
  constexpr size_t kIndices = 1'000'000;
  Workers workers(2);
  std::atomic<int> started = 0;
  std::atomic<bool> helped[2] = {false, false};
  std::atomic<size_t> helped_indices[2] = {0, 0};
  std::atomic<size_t> done_when_both[2] = {0, 0};
  std::vector<std::jthread> callers;
  for (int call = 0; call < 2; ++call) {
    callers.emplace_back([&, call] {
      bool entered = false;
      workers.ForEach(kIndices, [&](int slot, size_t) {
        if (slot == 0) {
          // The caller itself waits until the other thread has been here and there.
          if (!entered) ++started;
          entered = true;
          while (!helped[0] || !helped[1]) std::this_thread::yield();
          return;
        }
        while (started < 2) std::this_thread::yield();
        if (!helped[call].exchange(true)) {
          for (int i = 0; i < 2; ++i) done_when_both[i] = helped_indices[i].load();
        }
        ++helped_indices[call];
      });
    });
  }
  callers.clear();
  EXPECT_TRUE(helped[0] && helped[1]);
  EXPECT_LT(done_when_both[0], kIndices / 2);
  EXPECT_LT(done_when_both[1], kIndices / 2);
}

TEST(Workers, TellsHowManyCallsAreRunning) {
  for (int threads = 1; threads <= 3; ++threads) {
    for (const size_t n : {1, 5}) {
      SCOPED_TRACE(testing::Message() << threads << " threads, " << n << " indices");
      Workers workers(threads);
      EXPECT_EQ(workers.active(), 0);
      std::atomic<int> inside = 0;
      std::atomic<bool> seen = false;
      std::vector<std::jthread> callers;
      for (int caller = 0; caller < 3; ++caller) {
        callers.emplace_back([&] {
          bool counted = false;
          workers.ForEach(n, [&](int slot, size_t) {
            // All wait, so that each caller is left an index: there are more than threads.
            if (slot == 0 && !counted) {
              counted = true;
              ++inside;
            }
            while (!seen) std::this_thread::yield();
          });
        });
      }
      while (inside < 3) std::this_thread::yield();
      EXPECT_EQ(workers.active(), 3);
      seen = true;
      callers.clear();
      EXPECT_EQ(workers.active(), 0);
    }
  }
}

}  // namespace
}  // namespace vexact

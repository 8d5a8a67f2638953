#include "core/write_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <latch>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace vexact {
namespace {

using testing::ElementsAre;

struct Item : QueuedWrite {
  Item(int name_given, uint64_t bytes = 1, bool alone = false)
      : QueuedWrite(bytes, alone), name(name_given) {}
  const int name;
  int carried_out = 0;
};

// Lets the first group wait until all other items are queued, so that the groups behind it are
// known.
class WriteQueueTest : public testing::Test {
 protected:
  std::vector<std::vector<int>> GroupsBehindTheFirst(std::vector<Item*> items) {
    std::vector<std::vector<int>> groups;
    std::latch first_runs(1), all_wait(1);
    const auto carry_out = [&](std::span<Item* const> group) {
      std::vector<int>& names = groups.emplace_back();
      for (Item* item : group) {
        names.push_back(item->name);
        ++item->carried_out;
      }
      if (groups.size() > 1) return;
      first_runs.count_down();
      all_wait.wait();
    };
    Item first(-1);
    std::vector<std::jthread> threads;
    threads.emplace_back([&] { queue_.Pass(std::array{&first}, carry_out); });
    first_runs.wait();
    for (size_t i = 0; i < items.size(); ++i) {
      threads.emplace_back([&, i] { queue_.Pass(std::array{items[i]}, carry_out); });
      while (queue_.waiting() < i + 2) std::this_thread::yield();
    }
    all_wait.count_down();
    threads.clear();
    EXPECT_THAT(groups.front(), ElementsAre(-1));
    for (const Item* item : items) EXPECT_EQ(item->carried_out, 1);
    return {groups.begin() + 1, groups.end()};
  }

  WriteQueue<Item> queue_;
};

TEST_F(WriteQueueTest, WritersThatWaitGoTogetherInTheirOrder) {
  Item a(1), b(2), c(3);
  EXPECT_THAT(GroupsBehindTheFirst({&a, &b, &c}), ElementsAre(ElementsAre(1, 2, 3)));
}

TEST_F(WriteQueueTest, AGroupHasALimitAndOneWriteMayExceedIt) {
  Item a(1, kGroupBytes / 2), b(2, kGroupBytes / 2), c(3), d(4, 3 * kGroupBytes), e(5), f(6);
  EXPECT_THAT(GroupsBehindTheFirst({&a, &b, &c, &d, &e, &f}),
              ElementsAre(ElementsAre(1, 2), ElementsAre(3), ElementsAre(4), ElementsAre(5, 6)));
}

TEST_F(WriteQueueTest, OneThatGoesAloneEndsTheGroupBeforeIt) {
  Item a(1), b(2), c(3, 1, true), d(4, 1, true), e(5), f(6);
  EXPECT_THAT(GroupsBehindTheFirst({&a, &b, &c, &d, &e, &f}),
              ElementsAre(ElementsAre(1, 2), ElementsAre(3), ElementsAre(4), ElementsAre(5, 6)));
}

// A caller's writes go in their order, through as many groups as they take, between others'.
TEST_F(WriteQueueTest, OneCallMayBringMany) {
  std::vector<std::vector<int>> groups;
  const auto carry_out = [&](std::span<Item* const> group) {
    std::vector<int>& names = groups.emplace_back();
    for (Item* item : group) names.push_back(item->name);
  };
  Item a(1, kGroupBytes), b(2), c(3), d(4, 1, true), e(5);
  queue_.Pass(std::array{&a, &b, &c, &d, &e}, carry_out);
  EXPECT_THAT(groups,
              ElementsAre(ElementsAre(1), ElementsAre(2, 3), ElementsAre(4), ElementsAre(5)));
  EXPECT_EQ(queue_.waiting(), 0u);
}

TEST_F(WriteQueueTest, CallsWithManyWritesShareGroupsAndNoneIsLeftWaiting) {
  constexpr int kCalls = 1'000;
  std::mutex mutex;
  std::vector<int> last(4, -1);  // by thread: the number of its last write
  bool in_order = true;
  std::vector<std::jthread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      for (int call = 0; call < kCalls; ++call) {
        std::vector<std::unique_ptr<Item>> items;
        std::vector<Item*> writes;
        for (int i = 0; i < 3; ++i) {
          items.push_back(std::make_unique<Item>((call * 3 + i) * 4 + thread, kGroupBytes / 5));
          writes.push_back(items.back().get());
        }
        queue_.Pass(writes, [&](std::span<Item* const> group) {
          const std::lock_guard lock(mutex);
          for (Item* item : group) {
            ++item->carried_out;
            in_order &= item->name / 4 == std::exchange(last[item->name % 4], item->name / 4) + 1;
          }
        });
        for (const Item* item : writes) ASSERT_EQ(item->carried_out, 1);
      }
    });
  }
  threads.clear();
  EXPECT_TRUE(in_order);
  EXPECT_THAT(last, testing::Each(kCalls * 3 - 1));
}

TEST_F(WriteQueueTest, EachIsCarriedOutOnceAndByOneThreadAtATime) {
  std::atomic<int> inside = 0;
  int total = 0;  // guarded by the queue itself
  std::vector<std::jthread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < 2'000; ++i) {
        Item item(thread, 1, i % 7 == 0);
        queue_.Pass(std::array{&item}, [&](std::span<Item* const> group) {
          EXPECT_EQ(inside.fetch_add(1), 0);
          for (Item* each : group) ++each->carried_out;
          total += static_cast<int>(group.size());
          inside.fetch_sub(1);
        });
        ASSERT_EQ(item.carried_out, 1);
      }
    });
  }
  threads.clear();
  EXPECT_EQ(total, 8'000);
}

}  // namespace
}  // namespace vexact

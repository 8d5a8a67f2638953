#include "core/published.h"

#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <optional>
#include <thread>
#include <vector>

namespace vexact {
namespace {

// Knows how many of its kind are alive, and notices being used or destroyed when it is not.
class Tracked {
 public:
  explicit Tracked(uint64_t version) : version_(version) { ++alive; }
  Tracked(Tracked&& other) noexcept : version_(other.version()) { ++alive; }
  ~Tracked() {
    if (magic_ != kAlive) ++broken;
    magic_ = kDead;
    --alive;
  }

  uint64_t version() const {
    if (magic_ != kAlive) ++broken;
    return version_;
  }

  static inline std::atomic<int64_t> alive = 0;
  static inline std::atomic<int64_t> broken = 0;

 private:
  static constexpr uint64_t kAlive = 0x5AFE'5AFE'5AFE'5AFE;
  static constexpr uint64_t kDead = 0xDEAD'DEAD'DEAD'DEAD;
  // volatile: the mark must reach memory although the object ends.
  volatile uint64_t magic_ = kAlive;
  const uint64_t version_;
};

using Versions = Published<Tracked>;

class PublishedTest : public testing::Test {
 protected:
  void SetUp() override {
    Tracked::alive = 0;
    Tracked::broken = 0;
  }
  void TearDown() override {
    EXPECT_EQ(Tracked::alive, 0) << "values left behind";
    EXPECT_EQ(Tracked::broken, 0) << "values used or destroyed after their end";
  }
};

TEST_F(PublishedTest, TakesTheNewestValue) {
  Versions versions(Tracked(1));
  EXPECT_EQ(versions.Take()->version(), 1);
  versions.Publish(Tracked(2));
  EXPECT_EQ(versions.Take()->version(), 2);
  EXPECT_EQ((*versions.Take()).version(), 2);
}

TEST_F(PublishedTest, FreesAValueWithItsLastReferenceAndNotBefore) {
  Versions versions(Tracked(1));
  std::optional first = versions.Take();
  std::optional second = versions.Take();
  versions.Publish(Tracked(2));
  EXPECT_EQ(Tracked::alive, 2);
  EXPECT_EQ(first->operator->()->version(), 1);
  first.reset();
  EXPECT_EQ(Tracked::alive, 2);
  EXPECT_EQ(second->operator->()->version(), 1);
  second.reset();
  EXPECT_EQ(Tracked::alive, 1);
}

TEST_F(PublishedTest, FreesAValueThatNobodyTookWhenItIsReplaced) {
  Versions versions(Tracked(1));
  for (uint64_t version = 2; version < 100; ++version) {
    versions.Publish(Tracked(version));
    EXPECT_EQ(Tracked::alive, 1);
  }
}

TEST_F(PublishedTest, KeepsTheCurrentValueWhenEveryReferenceIsReturned) {
  Versions versions(Tracked(1));
  for (int i = 0; i < 100; ++i) versions.Take();
  EXPECT_EQ(Tracked::alive, 1);
  EXPECT_EQ(versions.Take()->version(), 1);
}

TEST_F(PublishedTest, ReferencesOutliveThePublisher) {
  Versions::Ref ref;
  {
    Versions versions(Tracked(1));
    ref = versions.Take();
  }
  EXPECT_EQ(ref->version(), 1);
  EXPECT_EQ(Tracked::alive, 1);
  ref = {};
  EXPECT_EQ(Tracked::alive, 0);
}

TEST_F(PublishedTest, ReferencesCopyMoveAndAssign) {
  Versions versions(Tracked(1));
  Versions::Ref empty;
  EXPECT_FALSE(empty);
  Versions::Ref one = versions.Take();
  versions.Publish(Tracked(2));
  Versions::Ref copy = one;
  Versions::Ref moved = std::move(one);
  EXPECT_TRUE(copy && moved);
  Versions::Ref& itself = copy;
  copy = itself;
  EXPECT_EQ(copy->version(), 1);
  moved = versions.Take();  // lets go of the first
  EXPECT_EQ(moved->version(), 2);
  EXPECT_EQ(Tracked::alive, 2);
  copy = moved;  // the last reference to version 1
  EXPECT_EQ(Tracked::alive, 1);
  EXPECT_EQ(copy->version(), 2);
  copy = empty;
  EXPECT_FALSE(copy);
  EXPECT_EQ(moved->version(), 2);
}

// The word counts hand-outs in 16 bits and settles after 2^14 of them: both borders are crossed.
TEST_F(PublishedTest, CountsMoreReferencesThanTheWordHolds) {
  for (const size_t references : {(1u << 14) - 1, 1u << 14, (1u << 14) + 1, (1u << 15) + 3,
                                  (1u << 16) - 1, 1u << 16, (1u << 16) + 1, 200'000u}) {
    SCOPED_TRACE(references);
    Versions versions(Tracked(1));
    std::vector<Versions::Ref> refs;
    for (size_t i = 0; i < references; ++i) refs.push_back(versions.Take());
    EXPECT_EQ(Tracked::alive, 1);
    versions.Publish(Tracked(2));
    EXPECT_EQ(Tracked::alive, 2);
    while (refs.size() > 1) refs.pop_back();
    EXPECT_EQ(Tracked::alive, 2) << "freed before the last reference";
    EXPECT_EQ(refs.front()->version(), 1);
    refs.clear();
    EXPECT_EQ(Tracked::alive, 1) << "kept after the last reference";
    EXPECT_EQ(versions.Take()->version(), 2);
  }
}

TEST_F(PublishedTest, SettlesTakesThatAreReturnedAtOnce) {
  Versions versions(Tracked(1));
  for (int i = 0; i < 200'000; ++i) ASSERT_EQ(versions.Take()->version(), 1);
  versions.Publish(Tracked(2));
  EXPECT_EQ(Tracked::alive, 1);
}

// Runs `work` on `n` threads that start together.
template <typename Work>
void Together(int n, Work work) {
  std::latch start(n);
  std::vector<std::jthread> threads;
  for (int i = 0; i < n; ++i) {
    threads.emplace_back([&, i] {
      start.arrive_and_wait();
      work(i);
    });
  }
}

TEST_F(PublishedTest, ManyThreadsSettleOneValueTogether) {
  Versions versions(Tracked(1));
  Together(4, [&](int) {
    std::vector<Versions::Ref> kept;
    for (int i = 0; i < 1'000'000; ++i) {
      Versions::Ref ref = versions.Take();
      if (i % 100 == 0) kept.push_back(std::move(ref));
    }
    EXPECT_EQ(kept.back()->version(), 1);
  });
  EXPECT_EQ(Tracked::alive, 1);
  versions.Publish(Tracked(2));
  EXPECT_EQ(Tracked::alive, 1) << "the settlements lost or invented references";
}

TEST_F(PublishedTest, ReadersSeeWholeValuesInOrderWhileAWriterPublishes) {
  constexpr int kReaders = 3;
  Versions versions(Tracked(0));
  std::atomic<int> reading = kReaders;
  std::atomic<uint64_t> published = 0;
  Together(kReaders + 1, [&](int thread) {
    if (thread == kReaders) {
      while (reading > 0) {
        versions.Publish(Tracked(published + 1));
        ++published;
      }
      return;
    }
    uint64_t last = 0;
    std::vector<Versions::Ref> kept(64);
    for (size_t i = 0; i < 100'000; ++i) {
      const uint64_t at_least = published;
      Versions::Ref ref = versions.Take();
      const uint64_t version = ref->version();
      EXPECT_GE(version, at_least) << "a published value was not seen";
      EXPECT_GE(version, last) << "a reader went back in time";
      last = version;
      Versions::Ref& slot = kept[i % kept.size()];
      if (slot) {
        EXPECT_LE(slot->version(), version);
      }
      slot = ref;  // a copy
    }
    --reading;
  });
  EXPECT_EQ(versions.Take()->version(), published);
  EXPECT_EQ(Tracked::alive, 1);
}

// Settlement and replacement race: a value is replaced about as often as it is settled.
TEST_F(PublishedTest, SettlementAndPublicationRace) {
  constexpr int kReaders = 3;
  Versions versions(Tracked(0));
  std::atomic<uint64_t> taken = 0;
  std::atomic<int> reading = kReaders;
  Together(kReaders + 1, [&](int thread) {
    if (thread < kReaders) {
      for (int i = 0; i < 150'000; ++i) {
        versions.Take();
        taken.fetch_add(1, std::memory_order_relaxed);
      }
      --reading;
      return;
    }
    // One value for each 2^14 takes or so: the border at which readers settle.
    for (uint64_t version = 1; reading > 0; ++version) {
      const uint64_t until = version * (1u << 14);
      while (reading > 0 && taken.load(std::memory_order_relaxed) < until) {
        std::this_thread::yield();
      }
      versions.Publish(Tracked(version));
    }
  });
  EXPECT_EQ(Tracked::alive, 1);
}

}  // namespace
}  // namespace vexact

#include "server/pace.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <thread>

namespace vexact::server {
namespace {

int Policy() { return sched_getscheduler(0); }

TEST(PaceTest, IsOfTheCallingThreadAlone) {
  std::jthread([] {
    SetPace(Pace::kAtOnce);
    EXPECT_EQ(Policy(), SCHED_OTHER);
    SetPace(Pace::kInTurn);
    EXPECT_EQ(Policy(), SCHED_BATCH);
    SetPace(Pace::kAtOnce);
    EXPECT_EQ(Policy(), SCHED_OTHER);
  }).join();
  EXPECT_EQ(Policy(), SCHED_OTHER);
}

TEST(PaceTest, LeavesAPolicyThatSomebodyElseChose) {
  std::jthread([] {
    const sched_param parameter{};
    ASSERT_EQ(sched_setscheduler(0, SCHED_IDLE, &parameter), 0);
    SetPace(Pace::kInTurn);
    EXPECT_EQ(Policy(), SCHED_IDLE);
    SetPace(Pace::kAtOnce);
    EXPECT_EQ(Policy(), SCHED_IDLE);
  }).join();
}

}  // namespace
}  // namespace vexact::server

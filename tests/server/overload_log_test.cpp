#include "server/overload_log.h"

#include <gtest/gtest.h>

#include "tests/server/captured_log.h"

namespace vexact::server {
namespace {

using std::chrono::milliseconds;

TEST(OverloadLogTest, CountsWhatWasRefusedInOneLineASecond) {
  vexact::testing::CapturedLog log;
  Metrics metrics;
  OverloadLog overload(metrics);
  const auto start = OverloadLog::Clock::now();
  overload.Poll(start);
  EXPECT_EQ(log.Take(), "") << "nothing was refused";

  for (int i = 0; i < 3; ++i) metrics.CountRefusal(Refusal::kQueue);
  metrics.CountRefusal(Refusal::kRate);
  metrics.CountRefusal(Refusal::kPermission);  // has a line of its own
  overload.Poll(start);
  EXPECT_EQ(log.Take(), "overload refused=4 queue=3 bytes_in_flight=0 rate=1 connections=0\n");

  metrics.CountRefusal(Refusal::kBytesInFlight);
  overload.Poll(start + milliseconds(999));
  EXPECT_EQ(log.Take(), "") << "the last line is not a second old";
  metrics.CountRefusal(Refusal::kBytesInFlight);
  overload.Poll(start + milliseconds(1'000));
  EXPECT_EQ(log.Take(), "overload refused=2 queue=0 bytes_in_flight=2 rate=0 connections=0\n");
  overload.Poll(start + milliseconds(5'000));
  EXPECT_EQ(log.Take(), "") << "all that was refused is said";
}

}  // namespace
}  // namespace vexact::server

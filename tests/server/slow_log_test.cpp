// Why a request was slow, in words, and how often that is said.
#include "server/slow_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/workers.h"
#include "tests/server/captured_log.h"

namespace vexact::server {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// A search of one query over a million rows that was scanned for most of a second.
SlowSearch Scanned() {
  return {.collection = nullptr,
          .queries = 1,
          .k = 10,
          .rows = 1'000'000,
          .scan = milliseconds(900),
          .scanned_queries = 1,
          .bytes_read = uint64_t{200} << 20};
}
constexpr SlowTimes kASecond{.total = seconds(1)};

TEST(SlowReasonTest, OfASearchIsWhereMostOfItsTimeWent) {
  EXPECT_EQ(LikelyReason(Scanned(), kASecond),
            "200.0 MiB of codes and rows were read to compare 1,000,000 rows");
  SlowSearch waited = Scanned();
  waited.scan = milliseconds(100);
  waited.ahead = 1'234;
  SlowTimes queued = kASecond;
  queued.queue = milliseconds(800);
  EXPECT_EQ(LikelyReason(waited, queued), "waited in the queue behind 1,234 queries");
  waited.ahead = 0;
  EXPECT_EQ(LikelyReason(waited, queued),
            "waited for a thread: the server was busy with other requests");
  SlowSearch answered = Scanned();
  answered.scan = milliseconds(100);
  answered.with_vectors = true;
  answered.answer_bytes = uint64_t{30} << 20;
  EXPECT_EQ(LikelyReason(answered, kASecond), "the answer, with vectors, takes 30.0 MiB");
  SlowTimes paged = kASecond;
  paged.page_faults = 20'000;
  EXPECT_THAT(LikelyReason(Scanned(), paged),
              StartsWith("20,000 pages had to be read from the disk"));
}

TEST(SlowReasonTest, OfALongScanIsWhatMadeItLong) {
  SlowSearch search = Scanned();
  search.engine = EngineKind::kReference;
  EXPECT_THAT(LikelyReason(search, kASecond),
              StartsWith("engine reference reads every row in full"));
  search = Scanned();
  search.k = 5'000;
  search.rows_rescored = 70'000;
  EXPECT_EQ(LikelyReason(search, kASecond), "k is 5,000: 70,000 rows were scored");
  search = Scanned();
  search.queries = search.scanned_queries = 256;
  EXPECT_EQ(LikelyReason(search, kASecond), "the request has 256 queries");
  search = Scanned();
  search.scanned_queries = 100;
  EXPECT_EQ(LikelyReason(search, kASecond), "was scanned together with 99 queries of others");
}

TEST(SlowReasonTest, NamesTheLayoutWhereManyRowsAreReadFurther) {
  Workers workers(1);
  SlowSearch search = Scanned();
  search.collection =
      std::make_shared<Collection>("docs", CollectionConfig{.dimension = 2}, workers);
  search.rows_refined = 400'000;
  EXPECT_EQ(LikelyReason(search, kASecond),
            "40 % of rows were read further than their first slab: no layout is trained for them "
            "yet, or none is better");
}

TEST(SlowReasonTest, OfAWriteIsTheDiskTheQueueOrItsSize) {
  const SlowWrite small{.collection = "docs", .rows = 1};
  SlowTimes times = kASecond;
  times.sync = milliseconds(700);
  EXPECT_EQ(LikelyReason(small, times), "the disk took 700 ms to sync");
  times = kASecond;
  times.queue = milliseconds(700);
  EXPECT_THAT(LikelyReason(small, times), StartsWith("waited for a thread"));
  EXPECT_EQ(LikelyReason({.collection = "docs", .rows = 50'000}, kASecond),
            "the request has 50,000 rows");
  EXPECT_THAT(LikelyReason(small, kASecond), StartsWith("waited for other writes"));
}

class SlowLogTest : public ::testing::Test {
 protected:
  void Consider(std::chrono::steady_clock::time_point end, milliseconds took) {
    if (!log_.IsSlow(took)) return;
    log_.Write({.method = "Points/Upsert",
                .id = id_,
                .who = who_,
                .arrival = end - took,
                .begin = end - took,
                .end = end,
                .mark = {}},
               SlowWrite{.collection = "docs", .rows = 1});
  }
  std::string TakeLines() { return lines_.Take(); }

  const std::string id_ = "id", who_ = " key=reports";
  Metrics metrics_;
  SlowLog log_{metrics_, seconds(1)};

 private:
  vexact::testing::CapturedLog lines_;
};

TEST_F(SlowLogTest, HasWhatTookAsLongAsTheThresholdOrLonger) {
  const auto now = std::chrono::steady_clock::now();
  Consider(now, milliseconds(999));
  EXPECT_EQ(TakeLines(), "");
  Consider(now, milliseconds(1'000));
  EXPECT_THAT(TakeLines(), ContainsRegex("^slow method=Points/Upsert ms=1000\\.000 request_id=id "
                                         "key=reports collection=docs rows=1 queue_ms=0\\.000 "));
  log_.SetThreshold(milliseconds(5));
  Consider(now, milliseconds(5));
  EXPECT_THAT(TakeLines(), HasSubstr("ms=5.000 "));
  log_.SetThreshold(milliseconds(0));
  Consider(now, seconds(1'000));
  EXPECT_EQ(TakeLines(), "") << "0 is off";
}

TEST_F(SlowLogTest, LeavesOutWhatIsTooMuchAndSaysHowMany) {
  const auto now = std::chrono::steady_clock::now();
  for (int i = 0; i < SlowLog::kMostLines + 7; ++i) Consider(now, seconds(2));
  const std::string lines = TakeLines();
  EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), SlowLog::kMostLines);
  Consider(now + seconds(1), seconds(2));
  EXPECT_THAT(TakeLines(), HasSubstr(" left_out=7 reason="));
  Consider(now + seconds(1), seconds(2));
  EXPECT_THAT(TakeLines(), ::testing::Not(HasSubstr("left_out")));
}

}  // namespace
}  // namespace vexact::server

// The parts of the server that need no running server.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <random>
#include <utility>

#include "server/admission.h"
#include "server/log.h"
#include "server/memory_quota.h"
#include "server/page_token.h"
#include "server/request_threads.h"

namespace vexact::server {
namespace {

TEST(PageTokenTest, BringsBackEveryId) {
  for (const Id& id : {Id(uint64_t{0}), Id(~uint64_t{0}), Id(std::string("a")),
                       Id(std::string(kMaxIdBytes, 'z')), Id(std::string("n\0\xff", 3))}) {
    const absl::StatusOr<Id> read = ReadPageToken("docs", MakePageToken("docs", View(id)));
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(*read, id);
  }
}

TEST(PageTokenTest, RefusesWhateverWasNotGivenOut) {
  const std::string token = MakePageToken("docs", IdView(uint64_t{77}));
  const auto refused = [](std::string_view collection, const std::string& bytes) {
    const absl::Status status = ReadPageToken(collection, bytes).status();
    return status.code() == absl::StatusCode::kInvalidArgument &&
           status.message().find("page_token of") == 0;
  };
  EXPECT_TRUE(refused("dogs", token));
  for (size_t length = 0; length < token.size(); ++length) {
    EXPECT_TRUE(refused("docs", token.substr(0, length))) << length;
  }
  for (size_t bit = 0; bit < 8 * token.size(); ++bit) {
    std::string damaged = token;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_TRUE(refused("docs", damaged)) << bit;
  }
}

TEST(LogValueTest, CannotBreakALineOrPoseAsAKey) {
  EXPECT_EQ(LogValue("127.0.0.1:7700"), "127.0.0.1:7700");
  EXPECT_EQ(LogValue(""), "\"\"");
  EXPECT_EQ(LogValue("a b"), "\"a b\"");
  EXPECT_EQ(LogValue("a=b"), "\"a=b\"");
  EXPECT_EQ(LogValue("a\"\\\n\r\x7f"), "\"a\\\"\\\\\\n\\x0d\\x7f\"");
}

TEST(RequestThreadsTest, RunsEveryTaskBeforeItEnds) {
  std::atomic<int> ran = 0;
  {
    RequestThreads threads(3);
    for (int i = 0; i < 1000; ++i) {
      threads.Run([&, i] {
        ++ran;
        if (i % 10 == 0) threads.Run([&] { ++ran; });
      });
    }
  }
  EXPECT_EQ(ran.load(), 1100);
}

TEST(RequestThreadsTest, RunsAsManyTasksAtOnceAsItHasThreads) {
  RequestThreads threads(2);
  std::promise<void> first, second;
  std::promise<void> both;
  // Each waits for the other: one thread could not finish them.
  threads.Run([&] {
    first.set_value();
    second.get_future().wait();
    both.set_value();
  });
  threads.Run([&] {
    first.get_future().wait();
    second.set_value();
  });
  EXPECT_EQ(both.get_future().wait_for(std::chrono::minutes(1)), std::future_status::ready);
}

TEST(MemoryQuotaTest, WhatIsReservedIsTakenUntilTheReservationEnds) {
  Workers workers(1);
  const Catalog catalog(workers);
  MemoryQuota quota(100'000);  // some 170 rows of 100 dimensions
  {
    auto first = quota.Reserve(catalog, 150, 100);
    ASSERT_TRUE(first.ok()) << first.status();
    EXPECT_TRUE(absl::IsResourceExhausted(quota.Reserve(catalog, 50, 100).status()));
    EXPECT_TRUE(absl::IsResourceExhausted(quota.Admit(catalog, 50, 100)));
    EXPECT_TRUE(quota.Admit(catalog, 10, 100).ok());
    const MemoryQuota::Reservation moved = *std::move(first);
    EXPECT_TRUE(absl::IsResourceExhausted(quota.Reserve(catalog, 50, 100).status()));
  }
  EXPECT_TRUE(quota.Reserve(catalog, 150, 100).ok());
}

TEST(MemoryQuotaTest, RefusesNumbersThatNobodyCouldMean) {
  Workers workers(1);
  const Catalog catalog(workers);
  MemoryQuota quota(100'000);
  for (const uint64_t rows : {UINT64_MAX, UINT64_MAX / 300'000, UINT64_MAX / 2}) {
    EXPECT_TRUE(absl::IsResourceExhausted(quota.Reserve(catalog, rows, 65'536).status()));
    EXPECT_TRUE(absl::IsResourceExhausted(quota.Admit(catalog, rows, 65'536)));
  }
  EXPECT_TRUE(MemoryQuota(0).Reserve(catalog, UINT64_MAX, 65'536).ok()) << "no limit";
}

TEST(AdmissionTest, TellsThoseWhoComeBeforeItOpensHowFarTheStartIs) {
  Admission admission(100);
  EXPECT_EQ(admission.Enter(1).status(),
            absl::UnavailableError("starting: the store is being opened; try again"));
  admission.SetProgress("3 of 5 rows are loaded");
  EXPECT_EQ(admission.Enter(1).status(),
            absl::UnavailableError("starting: 3 of 5 rows are loaded; try again"));
  EXPECT_TRUE(admission.Open());
  EXPECT_TRUE(admission.Enter(1).ok());
}

TEST(AdmissionTest, StopsWhileItStarts) {
  Admission admission(100);
  EXPECT_EQ(admission.Close(), 0);
  admission.SetProgress("3 of 5 rows are loaded");
  EXPECT_FALSE(admission.Open());
  EXPECT_EQ(admission.Enter(1).status(), absl::UnavailableError("the server is stopping"));
}

TEST(AdmissionTest, TheBytesInsideHaveALimitThatOneAloneMayExceed) {
  Admission admission(100);
  admission.Open();
  {
    const absl::StatusOr<Admission::Ticket> large = admission.Enter(1'000);
    ASSERT_TRUE(large.ok());
    EXPECT_EQ(admission.Enter(1).status().code(), absl::StatusCode::kResourceExhausted);
  }
  absl::StatusOr<Admission::Ticket> first = admission.Enter(60);
  const absl::StatusOr<Admission::Ticket> second = admission.Enter(40);
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(admission.Enter(1).status().message(),
            "the requests in hand have 100 bytes, and this one has 1; max_request_bytes is 100; "
            "try again in 100 ms");
  { const Admission::Ticket moved = *std::move(first); }
  EXPECT_TRUE(admission.Enter(60).ok());
}

TEST(AdmissionTest, CountsThoseInsideAndTurnsAwayOnceClosed) {
  Admission admission(100);
  admission.Open();
  absl::StatusOr<Admission::Ticket> first = admission.Enter(1);
  absl::StatusOr<Admission::Ticket> second = admission.Enter(1);
  ASSERT_TRUE(first.ok() && second.ok());
  { const Admission::Ticket moved = *std::move(first); }
  EXPECT_TRUE(admission.status().ok());
  EXPECT_EQ(admission.Close(), 1);
  EXPECT_FALSE(admission.status().ok());
  EXPECT_EQ(admission.Enter(1).status(), absl::UnavailableError("the server is stopping"));
  EXPECT_EQ(admission.AwaitEmpty(absl::ZeroDuration()), 1);
  std::future<uint64_t> empty =
      std::async(std::launch::async, [&] { return admission.AwaitEmpty(absl::Minutes(1)); });
  *second = Admission::Ticket();
  EXPECT_EQ(empty.get(), 0);
}

}  // namespace
}  // namespace vexact::server

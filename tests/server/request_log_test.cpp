// Request ids, and the log of slow requests.
#include <gtest/gtest.h>

#include <algorithm>
#include <regex>
#include <string>

#include "tests/server/long_search.h"
#include "tests/server/running_server.h"
#include "tests/support/files.h"

namespace vexact::testing {
namespace {

using ::grpc::StatusCode;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;

constexpr char kKey[] = "x-request-id";

std::string IdOfAnswer(const grpc::ClientContext& context) {
  const auto& metadata = context.GetServerTrailingMetadata();
  const auto found = metadata.find(kKey);
  return found == metadata.end() ? "" : std::string(found->second.data(), found->second.size());
}

// Asks for a collection that is not there; gives the id that comes back.
std::string Ask(RunningServer& server, const std::string& id) {
  PatientContext context;
  if (!id.empty()) context.AddMetadata(kKey, id);
  v1::GetCollectionRequest request;
  request.set_name("none");
  v1::GetCollectionResponse response;
  EXPECT_EQ(server.collections->GetCollection(&context, request, &response).error_code(),
            StatusCode::NOT_FOUND);
  return IdOfAnswer(context);
}

TEST(RequestIdTest, IsTheClientsOwnInTheAnswerAndInTheLog) {
  RunningServer server;
  EXPECT_EQ(Ask(server, "checkout-4711"), "checkout-4711");
  EXPECT_TRUE(server.process.WaitForLog(" request_id=checkout-4711 message="));
  EXPECT_EQ(Ask(server, "two words"), "two words");
  EXPECT_TRUE(server.process.WaitForLog(" request_id=\"two words\" message="));
  const std::string longest(128, 'x');
  EXPECT_EQ(Ask(server, longest), longest);
}

TEST(RequestIdTest, IsMadeWhereTheClientSendsNone) {
  RunningServer server;
  const std::string id = Ask(server, "");
  EXPECT_THAT(id, MatchesRegex("[0-9a-f]{12}"));
  EXPECT_NE(Ask(server, ""), id);
  EXPECT_TRUE(server.process.WaitForLog(" request_id=" + id + " message="));
}

TEST(RequestIdTest, IsReplacedWhereItIsTooLongAndTheLogSaysSo) {
  RunningServer server({"--log-level", "debug"});
  const std::string id = Ask(server, std::string(129, 'x'));
  EXPECT_THAT(id, MatchesRegex("[0-9a-f]{12}"));
  EXPECT_TRUE(
      server.process.WaitForLog("debug request_id_replaced method=Collections/GetCollection "));
  EXPECT_THAT(server.process.log(), HasSubstr(" request_id=" + id + " message=\"the client's "));
}

TEST(RequestIdTest, IsInTheAnswersOfSuccessesAndStreamsToo) {
  RunningServer server;
  server.Create("docs", 1);
  PatientContext context;
  v1::GetInfoResponse info;
  ASSERT_THAT(server.server->GetInfo(&context, v1::GetInfoRequest(), &info), IsOk());
  EXPECT_THAT(IdOfAnswer(context), MatchesRegex("[0-9a-f]{12}"));
  PatientContext of_stream;
  of_stream.AddMetadata(kKey, "load-1");
  const auto stream = server.points->BulkUpsert(&of_stream);
  stream->Write(Block("docs", 1, {{kNan}}));
  v1::BulkUpsertResponse acknowledgement;
  EXPECT_FALSE(stream->Read(&acknowledgement));
  EXPECT_EQ(stream->Finish().error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(IdOfAnswer(of_stream), "load-1");
  EXPECT_TRUE(server.process.WaitForLog(" request_id=load-1 message="));
}

TEST(SlowLogTest, SaysOfASlowSearchWhereItsTimeWentAndWhy) {
  RunningServer server({"--slow-query-ms", "20"});
  const LongSearch slow(server, LongSearch::kLong);
  PatientContext context;
  context.AddMetadata(kKey, "slow-1");
  v1::SearchResponse response;
  ASSERT_THAT(server.search->Search(&context, slow.request(), &response), IsOk());
  ASSERT_TRUE(server.process.WaitForLog("warning slow method=Search/Search "));
  EXPECT_THAT(server.process.log(),
              ContainsRegex("warning slow method=Search/Search ms=[0-9.]+ request_id=slow-1 "
                            "collection=slow queries=4096 k=1 rows=2000 queue_ms=[0-9.]+ "
                            "scan_ms=[0-9.]+ answer_ms=[0-9.]+ reason=\"engine reference reads "
                            "every row in full; "));
}

TEST(SlowLogTest, SaysOfASlowWriteWhatItWaitedFor) {
  const TempDir folder;
  RunningServer server({"--slow-query-ms", "1", "--data-dir", folder.path() / "data"});
  server.Create("docs", 1024);
  // Some 40 MB: no disk and no processor has that done within a millisecond.
  std::vector<std::vector<float>> rows(10'000, std::vector<float>(1024, 1));
  ASSERT_THAT(server.Upsert(Block("docs", 0, rows)), IsOk());
  ASSERT_TRUE(server.process.WaitForLog("warning slow method=Points/Upsert "));
  EXPECT_THAT(server.process.log(),
              ContainsRegex("slow method=Points/Upsert ms=[0-9.]+ request_id=[0-9a-f]+ "
                            "collection=docs rows=10000 queue_ms=[0-9.]+ sync_ms=[0-9.]+ "
                            "reason=\"[^\"]+\"\n"));
}

TEST(SlowLogTest, SaysNothingWhereItIsOffOrAllIsQuick) {
  for (const char* threshold : {"0", "3600000"}) {
    RunningServer server({"--slow-query-ms", threshold});
    const LongSearch slow(server, LongSearch::kLong);
    ASSERT_THAT(server.Search(slow.request()), IsOk());
    server.process.Signal(SIGTERM);
    EXPECT_EQ(server.process.Wait(), 0);
    EXPECT_THAT(server.process.log(), Not(HasSubstr("warning slow")));
  }
}

}  // namespace
}  // namespace vexact::testing

// Sizes, streams, deadlines and cancellation.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <thread>

#include "tests/server/long_search.h"
#include "tests/server/running_server.h"

namespace vexact::testing {
namespace {

using ::grpc::StatusCode;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::StartsWith;

std::vector<std::vector<float>> Rows(size_t count, size_t dimension) {
  std::vector<std::vector<float>> rows(count, std::vector<float>(dimension, 1));
  for (size_t i = 0; i < count; ++i) rows[i][i % dimension] = static_cast<float>(i + 2);
  return rows;
}

TEST(SizeTest, RefusesAMessageAboveTheLimitAndSaysBothSizes) {
  RunningServer server({"--max-message-bytes", "10000"});
  server.Create("docs", 100);
  const std::string before = server.Contents();
  const v1::UpsertRequest request = Block("docs", 1, Rows(25, 100));
  ASSERT_GT(request.ByteSizeLong(), 10'000);
  EXPECT_THAT(server.Upsert(request),
              IsRefusal(StatusCode::RESOURCE_EXHAUSTED, "Received message larger than max (" +
                                                            std::to_string(request.ByteSizeLong()) +
                                                            " vs. 10000)"));
  EXPECT_EQ(server.Contents(), before);
  EXPECT_THAT(server.Upsert(Block("docs", 1, Rows(24, 100))), IsOk());
}

TEST(SizeTest, RefusesAnAnswerThatCannotFitBeforeSearchingForIt) {
  RunningServer server({"--max-message-bytes", "4096"});
  server.Create("docs", 8);
  for (uint64_t first = 0; first < 1000; first += 100) {
    ASSERT_THAT(server.Upsert(Block("docs", first, Rows(100, 8))), IsOk());
  }
  const v1::Query query = ByVector({1, 2, 3, 4, 5, 6, 7, 8});
  EXPECT_THAT(server.Search(MakeSearch("docs", 10'000, {query})),
              IsRefusal(StatusCode::RESOURCE_EXHAUSTED,
                        "the answer takes at least 6000 bytes; the server's message limit is 4096 "
                        "(max_message_bytes); ask for less at a time"));
  EXPECT_THAT(server.Search(MakeSearch("docs", 100, std::vector<v1::Query>(7, query))),
              IsRefusal(StatusCode::RESOURCE_EXHAUSTED, HasSubstr("at least 4200 bytes")));
  v1::SearchRequest with_vectors = MakeSearch("docs", 200, {query});
  with_vectors.set_with_vectors(true);
  EXPECT_THAT(server.Search(with_vectors),
              IsRefusal(StatusCode::RESOURCE_EXHAUSTED, HasSubstr("at least 7600 bytes")));
  // Fits by that count, and is found too large by its own size.
  EXPECT_THAT(server.Search(MakeSearch("docs", 100, std::vector<v1::Query>(6, query))),
              IsRefusal(StatusCode::RESOURCE_EXHAUSTED, HasSubstr("the answer takes")));
  EXPECT_THAT(server.Search(MakeSearch("docs", 100, {query})), IsOk());
}

TEST(SizeTest, AllowsAnAnswerOfExactlyTheLimit) {
  // The size of an answer to `get`, from a server that allows it.
  v1::GetPointsRequest get;
  get.set_collection("docs");
  for (uint64_t id = 0; id < 50; ++id) *get.add_ids() = NumberId(id);
  v1::ScrollPointsRequest scroll;
  scroll.set_collection("docs");
  scroll.set_with_vectors(true);
  const auto fill = [](RunningServer& server) {
    server.Create("docs", 10);
    ASSERT_THAT(server.Upsert(Block("docs", 0, Rows(50, 10))), IsOk());
  };
  v1::GetPointsResponse answer;
  {
    RunningServer server;
    fill(server);
    ASSERT_THAT(server.Get(get, &answer), IsOk());
  }
  const size_t size = answer.ByteSizeLong();
  {
    RunningServer server({"--max-message-bytes", std::to_string(size)});
    fill(server);
    EXPECT_THAT(server.Get(get), IsOk());
    EXPECT_THAT(server.Scroll(scroll), IsOk());
  }
  RunningServer server({"--max-message-bytes", std::to_string(size - 1)});
  fill(server);
  const auto refused = IsRefusal(
      StatusCode::RESOURCE_EXHAUSTED,
      "the answer takes " + std::to_string(size) + " bytes; the server's message limit is " +
          std::to_string(size - 1) + " (max_message_bytes); ask for less at a time");
  EXPECT_THAT(server.Get(get), refused);
  EXPECT_THAT(server.Scroll(scroll), refused);
  get.set_without_vectors(true);
  EXPECT_THAT(server.Get(get), IsOk());
}

TEST(MalformedTest, SaysWhatIsWrongWithATextThatIsNotUtf8) {
  RunningServer server;
  server.Create("docs", 1);
  EXPECT_THAT(server.Upsert(Points("docs", {MakePoint(TextId("\xff"), Values({1}))})),
              IsRefusal(StatusCode::INVALID_ARGUMENT,
                        "the bytes received are not a vexact.v1.UpsertRequest; is a text not "
                        "UTF-8?"));
  EXPECT_THAT(server.Search(MakeSearch("docs", 1, {ById(TextId("\xc0\x80"))})),
              IsRefusal(StatusCode::INVALID_ARGUMENT, HasSubstr("not a vexact.v1.SearchRequest")));
}

// A BulkUpsert stream, seen from its client.
struct Stream {
  explicit Stream(RunningServer& server) : stream(server.points->BulkUpsert(&context)) {}

  // Sends one request and waits for its acknowledgement; false when the stream has ended instead.
  bool Send(const v1::UpsertRequest& request) {
    return stream->Write(request) && stream->Read(&acknowledgement);
  }
  grpc::Status End() {
    stream->WritesDone();
    while (stream->Read(&acknowledgement)) {
    }
    return stream->Finish();
  }

  PatientContext context;
  std::unique_ptr<grpc::ClientReaderWriter<v1::UpsertRequest, v1::BulkUpsertResponse>> stream;
  v1::BulkUpsertResponse acknowledgement;
};

TEST(BulkUpsertTest, EndsAtTheFirstRefusedRequestAndGoesOnInANewStream) {
  RunningServer server;
  server.Create("docs", 2);
  const std::vector<v1::UpsertRequest> requests = {
      Block("docs", 0, {{1, 0}, {2, 0}}), Block("docs", 2, {{3, 0}, {4, 0}}),
      Block("docs", 4, {{5, 0}, {kNan, 0}}), Block("docs", 6, {{7, 0}, {8, 0}})};
  {
    Stream stream(server);
    ASSERT_TRUE(stream.Send(requests[0]));
    ASSERT_TRUE(stream.Send(requests[1]));
    EXPECT_EQ(stream.acknowledgement.acknowledged(), 2);
    EXPECT_EQ(stream.acknowledgement.result().added(), 2);
    EXPECT_FALSE(stream.Send(requests[2]));
    EXPECT_THAT(stream.End(), IsRefusal(StatusCode::INVALID_ARGUMENT,
                                        "request 3 of the stream: row 1: component "
                                        "0 is NaN; vectors must be finite"));
    EXPECT_EQ(stream.acknowledgement.acknowledged(), 2);
  }
  v1::ScrollPointsRequest scroll;
  scroll.set_collection("docs");
  v1::ScrollPointsResponse page;
  ASSERT_THAT(server.Scroll(scroll, &page), IsOk());
  EXPECT_EQ(page.points_size(), 4);
  {
    Stream stream(server);
    ASSERT_TRUE(stream.Send(Block("docs", 4, {{5, 0}, {6, 0}})));
    ASSERT_TRUE(stream.Send(requests[3]));
    ASSERT_TRUE(stream.Send(requests[1]));  // again: the same rows
    EXPECT_EQ(stream.acknowledgement.result().replaced(), 2);
    EXPECT_THAT(stream.End(), IsOk());
  }
  ASSERT_THAT(server.Scroll(scroll, &page), IsOk());
  EXPECT_EQ(page.points_size(), 8);
}

// A client that does not wait for acknowledgements: what has come together is applied together, and
// comes out as if it had come one by one.
TEST(BulkUpsertTest, RequestsThatComeTogetherAreAppliedInTheirOrder) {
  RunningServer server;
  server.Create("docs", 1);
  server.Create("notes", 1);
  constexpr uint64_t kRequests = 300;
  Stream stream(server);
  std::jthread writer([&] {
    for (uint64_t i = 0; i < kRequests; ++i) {
      // Runs of three for either collection; each run replaces one row again and again.
      const float value = static_cast<float>(i + 1);
      ASSERT_TRUE(stream.stream->Write(Block(i / 3 % 2 == 0 ? "docs" : "notes", 7, {{value}})));
    }
    stream.stream->WritesDone();
  });
  uint64_t acknowledged = 0, added = 0;
  while (stream.stream->Read(&stream.acknowledgement)) {
    ASSERT_EQ(stream.acknowledgement.acknowledged(), ++acknowledged);
    added += stream.acknowledgement.result().added();
    // Either collection's own count.
    ASSERT_EQ(stream.acknowledgement.result().sequence(),
              (acknowledged - 1) / 6 * 3 + (acknowledged - 1) % 3 + 1);
  }
  writer.join();
  EXPECT_THAT(stream.stream->Finish(), IsOk());
  EXPECT_EQ(acknowledged, kRequests);
  EXPECT_EQ(added, 2);
  for (const char* name : {"docs", "notes"}) {
    v1::ScrollPointsRequest scroll;
    scroll.set_collection(name);
    scroll.set_with_vectors(true);
    v1::ScrollPointsResponse page;
    ASSERT_THAT(server.Scroll(scroll, &page), IsOk());
    ASSERT_EQ(page.points_size(), 1);
    float last = 0;
    std::memcpy(&last, page.points(0).vector().packed().data(), sizeof(last));
    EXPECT_EQ(last, name == std::string("docs") ? 297 : 300);
  }
}

TEST(BulkUpsertTest, NothingBehindARefusedRequestIsApplied) {
  RunningServer server;
  server.Create("cosines", 2);
  Stream stream(server);
  const std::vector<v1::UpsertRequest> requests = {
      Block("cosines", 0, {{1, 0}}), Block("cosines", 1, {{2, 0}}), Block("cosines", 2, {{0, 0}}),
      Block("cosines", 3, {{4, 0}}), Block("cosines", 4, {{5, 0}})};
  // The stream may end before all is written.
  for (const v1::UpsertRequest& request : requests) (void)stream.stream->Write(request);
  EXPECT_THAT(stream.End(), IsRefusal(StatusCode::INVALID_ARGUMENT,
                                      HasSubstr("request 3 of the stream: row 0 is a zero")));
  EXPECT_EQ(stream.acknowledgement.acknowledged(), 2);
  v1::ScrollPointsRequest scroll;
  scroll.set_collection("cosines");
  v1::ScrollPointsResponse page;
  ASSERT_THAT(server.Scroll(scroll, &page), IsOk());
  EXPECT_EQ(page.points_size(), 2);
}

TEST(BulkUpsertTest, NamesTheRequestThatCannotBeRead) {
  RunningServer server({"--max-message-bytes", "2048"});
  server.Create("docs", 1);
  {
    Stream stream(server);
    ASSERT_TRUE(stream.Send(Block("docs", 0, {{1}})));
    EXPECT_FALSE(stream.Send(Points("docs", {MakePoint(TextId("\xff"), Values({1}))})));
    EXPECT_THAT(stream.End(),
                IsRefusal(StatusCode::INVALID_ARGUMENT,
                          StartsWith("request 2 of the stream: the bytes received are not a")));
  }
  {
    Stream stream(server);
    ASSERT_TRUE(stream.Send(Block("docs", 1, {{1}})));
    EXPECT_FALSE(stream.Send(Block("docs", 2, Rows(1000, 1))));
    EXPECT_THAT(
        stream.End(),
        IsRefusal(StatusCode::RESOURCE_EXHAUSTED,
                  MatchesRegex("Received message larger than max \\([0-9]+ vs\\. 2048\\)")));
  }
  {
    Stream stream(server);
    EXPECT_FALSE(stream.Send(Block("dox", 0, {{1}})));
    EXPECT_THAT(stream.End(),
                IsRefusal(StatusCode::NOT_FOUND,
                          "request 1 of the stream: no collection \"dox\". There is: docs."));
  }
  v1::ScrollPointsRequest scroll;
  scroll.set_collection("docs");
  v1::ScrollPointsResponse page;
  ASSERT_THAT(server.Scroll(scroll, &page), IsOk());
  EXPECT_EQ(page.points_size(), 2);
}

TEST(BulkUpsertTest, KeepsWhatItAcknowledgedWhenTheClientGoesAway) {
  RunningServer server;
  server.Create("docs", 1);
  {
    Stream stream(server);
    ASSERT_TRUE(stream.Send(Block("docs", 0, {{1}})));
    stream.context.TryCancel();
    EXPECT_EQ(stream.End().error_code(), StatusCode::CANCELLED);
  }
  EXPECT_TRUE(server.process.WaitForLog(
      "the stream ended while it waited for a request; 1 requests were acknowledged"));
  v1::ScrollPointsRequest scroll;
  scroll.set_collection("docs");
  v1::ScrollPointsResponse page;
  ASSERT_THAT(server.Scroll(scroll, &page), IsOk());
  EXPECT_EQ(page.points_size(), 1);
}

TEST(OverloadTest, RefusesAtOnceAndTellsTheClientWhenToComeAgain) {
  RunningServer server({"--max-waiting-queries", "1"});
  LongSearch slow(server, LongSearch::kLonger);
  grpc::ClientContext slow_context;
  v1::SearchResponse slow_response;
  std::thread caller(
      [&] { (void)server.search->Search(&slow_context, slow.request(), &slow_response); });
  slow.WaitUntilItRuns();
  PatientContext context;
  v1::SearchResponse response;
  v1::SearchRequest request = slow.request();
  request.mutable_queries()->DeleteSubrange(1, request.queries_size() - 1);
  EXPECT_THAT(server.search->Search(&context, request, &response),
              IsRefusal(StatusCode::RESOURCE_EXHAUSTED,
                        MatchesRegex("[0-9]+ queries wait already; max_waiting_queries is 1; "
                                     "try again in [0-9]+ ms")));
  const auto& metadata = context.GetServerTrailingMetadata();
  const auto retry = metadata.find("grpc-retry-pushback-ms");
  ASSERT_NE(retry, metadata.end());
  EXPECT_GT(std::stoi(std::string(retry->second.data(), retry->second.size())), 0);
  slow_context.TryCancel();
  caller.join();
}

TEST(MemoryQuotaTest, RefusesAnUpsertWholeAndSearchesGoOn) {
  RunningServer server({"--max-memory-bytes", "100000"});
  server.Create("docs", 100);
  server.Create("more", 100);
  const auto rows = [](size_t n) {
    return std::vector<std::vector<float>>(n, std::vector<float>(100, 1));
  };
  v1::UpsertResponse upserted;
  ASSERT_THAT(server.Upsert(Block("docs", 0, rows(100)), &upserted), IsOk());
  for (const char* name : {"docs", "more"}) {
    EXPECT_THAT(server.Upsert(Block(name, 1'000, rows(150)), &upserted),
                IsRefusal(StatusCode::RESOURCE_EXHAUSTED,
                          HasSubstr("max_memory_bytes is 100000; delete collections or raise it")));
  }
  v1::SearchResponse found;
  ASSERT_THAT(server.Search(MakeSearch("docs", 200, {ById(NumberId(0))}), &found), IsOk());
  EXPECT_EQ(found.results(0).hits_size(), 100);
  v1::DeleteCollectionRequest remove;
  remove.set_name("docs");
  PatientContext context;
  v1::DeleteCollectionResponse removed;
  ASSERT_THAT(server.collections->DeleteCollection(&context, remove, &removed), IsOk());
  EXPECT_THAT(server.Upsert(Block("more", 0, rows(100)), &upserted), IsOk());
}

// Requests that are applied together are admitted one by one.
TEST(MemoryQuotaTest, AStreamKeepsWhatFitsAndEndsAtTheFirstThatDoesNot) {
  RunningServer server({"--max-memory-bytes", "100000"});
  server.Create("docs", 100);
  Stream stream(server);
  // Some 600 bytes a row: the second hundred does not fit.
  for (uint64_t first : {0, 100, 200}) {
    (void)stream.stream->Write(
        Block("docs", first, std::vector<std::vector<float>>(100, std::vector<float>(100, 1))));
  }
  EXPECT_THAT(stream.End(),
              IsRefusal(StatusCode::RESOURCE_EXHAUSTED, AllOf(HasSubstr("request 2 of the stream"),
                                                              HasSubstr("max_memory_bytes"))));
  EXPECT_EQ(stream.acknowledgement.acknowledged(), 1);
}

TEST(DeadlineTest, EndsTheSearchOnBothSides) {
  RunningServer server;
  LongSearch slow(server, LongSearch::kLonger);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(500));
  v1::SearchResponse response;
  EXPECT_EQ(server.search->Search(&context, slow.request(), &response).error_code(),
            StatusCode::DEADLINE_EXCEEDED);
  EXPECT_TRUE(server.process.WaitForLog("method=Search/Search code=DEADLINE_EXCEEDED"));
}

TEST(CancellationTest, EndsTheSearchInTheServer) {
  RunningServer server;
  LongSearch slow(server, LongSearch::kLonger);
  grpc::ClientContext context;
  grpc::Status status;
  v1::SearchResponse response;
  std::thread caller([&] { status = server.search->Search(&context, slow.request(), &response); });
  slow.WaitUntilItRuns();
  context.TryCancel();
  caller.join();
  EXPECT_EQ(status.error_code(), StatusCode::CANCELLED);
  EXPECT_TRUE(server.process.WaitForLog("method=Search/Search code=CANCELLED"));
  EXPECT_THAT(server.process.log(), HasSubstr("the caller cancelled the search"));
}

}  // namespace
}  // namespace vexact::testing

// libvexact_client against a real server: every call, errors, deadlines, threads, streams that
// break.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <set>
#include <sstream>
#include <thread>

#include "tests/client/proxy.h"
#include "tests/support/server_process.h"
#include "vexact/client.h"

namespace vexact::client {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using vexact::testing::Proxy;
using vexact::testing::ServerProcess;

class LibraryTest : public ::testing::Test {
 protected:
  // `rows` rows of 64 components, ids from `first` on; the first component tells the id.
  static PointBlock Block(uint64_t first, uint64_t rows) {
    PointBlock block;
    for (uint64_t row = first; row < first + rows; ++row) {
      block.ids.emplace_back(row);
      block.vectors.push_back(static_cast<float>(row) + 1);
      block.vectors.resize(block.ids.size() * 64, 0.5f);
    }
    return block;
  }

  void Create(const std::string& name, uint32_t dimension, Metric metric = Metric::kL2) const {
    const auto made =
        client_.CreateCollection({.name = name, .dimension = dimension, .metric = metric});
    ASSERT_TRUE(made.ok()) << made.status();
  }

  ServerProcess server_;
  Client client_{server_.address()};
};

TEST_F(LibraryTest, TheWorkedExampleOfTheHeaderWorks) {
  const std::vector<float> vim = {1, 0, 0}, emacs = {0, 1, 0}, query = {2, 1, 0};
  auto docs = client_.CreateCollection({.name = "docs", .dimension = 3});
  ASSERT_TRUE(docs.ok()) << docs.status();
  EXPECT_TRUE(docs->created);
  EXPECT_EQ(docs->collection.metric, Metric::kCosine);
  auto written = client_.Upsert("docs", {{"vim", vim}, {"emacs", emacs}});
  ASSERT_TRUE(written.ok()) << written.status();
  EXPECT_EQ(written->added, 2u);
  auto hits = client_.Search("docs", query, {.k = 10});
  ASSERT_TRUE(hits.ok()) << hits.status();
  std::ostringstream out;
  for (const auto& hit : *hits) out << hit.id << ' ' << hit.score << '\n';
  EXPECT_EQ(out.str(), "vim 0.894427\nemacs 0.447214\n");
}

TEST_F(LibraryTest, EveryCallGivesWhatTheServerKeeps) {
  Create("c", 2);
  EXPECT_FALSE(
      client_.CreateCollection({.name = "c", .dimension = 2, .metric = Metric::kL2})->created);
  ASSERT_TRUE(client_.Upsert("c", {{7, {3, 4}}, {"x", {0, 1}}, {Id("7"), {1, 1}}}).ok());
  EXPECT_EQ(client_.Upsert("c", {{7, {6, 8}}})->replaced, 1u);
  EXPECT_EQ(*client_.Count("c"), 3u);

  const auto points = client_.Get("c", {"x", 7});
  ASSERT_TRUE(points.ok());
  EXPECT_EQ((*points)[0].id, Id("x"));
  EXPECT_THAT((*points)[1].vector, ElementsAre(6, 8));

  const auto described = client_.GetCollection("c");
  ASSERT_TRUE(described.ok());
  EXPECT_EQ(described->collection.rows, 3u);
  EXPECT_EQ(described->collection.sequence, 2u);
  EXPECT_EQ(described->norms.max, 10);
  EXPECT_EQ(described->norms.unit_rows, 1u);
  EXPECT_GT(described->memory.rows_bytes, 0u);
  EXPECT_EQ(described->layout.kind, LayoutKind::kIdentity);
  EXPECT_EQ(described->layout.first_slab_dimensions, 2u);
  EXPECT_EQ(described->layout.trained_rows, 0u);
  EXPECT_FALSE(described->layout.expected_bytes.has_value());
  EXPECT_FALSE(described->layout.observed_bytes.has_value());
  ASSERT_EQ(described->layout.slabs.size(), 1u);
  EXPECT_FALSE(described->layout.slabs[0].energy.has_value());
  ASSERT_TRUE(client_.Search("c", std::vector<float>{1, 1}).ok());
  const Layout searched = client_.GetCollection("c")->layout;
  EXPECT_EQ(searched.observed_queries, 1u);
  EXPECT_GT(searched.observed_bytes.value_or(0), 0);

  EXPECT_EQ(client_.SetMetric("c", Metric::kInnerProduct)->metric, Metric::kInnerProduct);
  EXPECT_EQ(client_.ListCollections()->collections[0].metric, Metric::kInnerProduct);

  const auto deleted = client_.Delete("c", {"x", "y"});
  ASSERT_TRUE(deleted.ok());
  EXPECT_EQ(deleted->deleted, 1u);
  EXPECT_EQ(deleted->missing, 1u);
  EXPECT_EQ(*client_.DeleteCollection("c"), 2u);
  EXPECT_TRUE(client_.ListCollections()->collections.empty());

  const auto info = client_.GetInfo();
  ASSERT_TRUE(info.ok());
  EXPECT_EQ(info->limits.max_k, 10'000u);
  EXPECT_GE(info->threads, 1u);
  EXPECT_EQ(*client_.CheckHealth(), Health::kServing);
}

TEST_F(LibraryTest, ABatchIsAnsweredOverOneState) {
  Create("c", 1);
  ASSERT_TRUE(client_.UpsertBlock("c", {{1, 2, "three"}, {1, 2, 3}}).ok());
  const auto answer = client_.SearchBatch(
      "c", {std::vector<float>{2.25f}, {Id("three"), true}, Id(1)}, {.k = 1, .with_vectors = true});
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->metric, Metric::kL2);
  EXPECT_EQ(answer->rows_compared, 3u);
  EXPECT_EQ(answer->sequence, 1u);
  EXPECT_GT(answer->server_time, absl::ZeroDuration());
  EXPECT_EQ(answer->rows_refined, 0u);
  EXPECT_EQ(answer->rows_rescored, 8u) << "three rows for each query but for the one left out";
  EXPECT_EQ(answer->bytes_read, 8u * sizeof(float));
  ASSERT_EQ(answer->results.size(), 3u);
  EXPECT_EQ(answer->results[0][0].id, Id(2));
  EXPECT_EQ(answer->results[0][0].score, 0.0625);
  EXPECT_EQ(answer->results[0][0].distance, 0.25);
  EXPECT_THAT(answer->results[0][0].vector, ElementsAre(2));
  EXPECT_EQ(answer->results[1][0].id, Id(2));
  EXPECT_EQ(answer->results[2][0].id, Id(1));

  const auto other = client_.SearchBatch(
      "c", {std::vector<float>{1}}, {.metric = Metric::kInnerProduct, .engine = Engine::kFaiss});
  ASSERT_TRUE(other.ok());
  EXPECT_EQ(other->metric, Metric::kInnerProduct);
  EXPECT_EQ(other->engine, Engine::kFaiss);
  EXPECT_EQ(other->results[0][0].id, Id("three"));
}

TEST_F(LibraryTest, ScrollGivesEveryPointOnceInOrder) {
  Create("c", 1);
  std::vector<Point> points;
  for (int i = 0; i < 250; ++i) points.push_back({i * 3, {static_cast<float>(i)}});
  points.push_back({"a", {1}});
  points.push_back({"b", {2}});
  ASSERT_TRUE(client_.Upsert("c", points).ok());
  std::vector<Id> seen;
  Scroll scroll = client_.Scroll("c", {.page_size = 100});
  while (scroll.Next()) {
    seen.push_back(scroll.point().id);
    ASSERT_EQ(scroll.point().vector.size(), 1u);
  }
  EXPECT_TRUE(scroll.status().ok()) << scroll.status();
  ASSERT_EQ(seen.size(), 252u);
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
  EXPECT_EQ(seen.back(), Id("b"));
  EXPECT_FALSE(scroll.Next());

  Scroll none = client_.Scroll("none");
  EXPECT_FALSE(none.Next());
  EXPECT_EQ(none.status().code(), absl::StatusCode::kNotFound);
}

TEST_F(LibraryTest, CompareTakesVectorsAndIds) {
  const std::vector<float> a = {3, 1, 2}, b = {1, 4, 2};
  EXPECT_EQ(client_.Compare(a, b)->dot_product, 11);
  Create("c", 3);
  ASSERT_TRUE(client_.Upsert("c", {{"a", a}, {"zero", {0, 0, 0}}}).ok());
  const auto mixed = client_.Compare(Id("a"), b, "c");
  ASSERT_TRUE(mixed.ok()) << mixed.status();
  EXPECT_EQ(mixed->squared_distance, 13);
  EXPECT_EQ(mixed->euclidean_distance, std::sqrt(13.0));
  ASSERT_EQ(mixed->vector_projection.size(), 3u);
  const auto zero = client_.Compare(b, Id("zero"), "c");
  ASSERT_TRUE(zero.ok());
  EXPECT_FALSE(zero->cosine_similarity.has_value());
  EXPECT_FALSE(zero->scalar_projection.has_value());
  EXPECT_TRUE(zero->vector_projection.empty());
}

TEST_F(LibraryTest, TheServersErrorsComeUnchanged) {
  Create("c", 2, Metric::kCosine);
  const auto missing = client_.Search("dox", std::vector<float>{1, 2});
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(missing.status().message(), "no collection \"dox\". There is: c.");
  const auto wrong = client_.Upsert("c", {{1, {1, 2}}, {2, {1, 2, 3}}});
  EXPECT_EQ(wrong.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(wrong.status().message()), HasSubstr("row 1"));
  // A block of numbers and texts whose components do not divide must not become something else on
  // its way.
  const auto uneven = client_.UpsertBlock("c", {{1, "b"}, {1, 2, 3}});
  EXPECT_EQ(uneven.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(*client_.Count("c"), 0u);
}

TEST_F(LibraryTest, WhereNoServerIsTheMessageSaysSo) {
  const auto listed = Client("127.0.0.1:1").ListCollections();
  EXPECT_EQ(listed.status(),
            absl::UnavailableError("cannot reach a Vexact server at 127.0.0.1:1 (Connection "
                                   "refused); is vexactd running, and is this its address?"));
}

TEST_F(LibraryTest, ADeadlineIsKept) {
  server_.Signal(SIGSTOP);
  const absl::Status unary = client_.Count("c", {.timeout = absl::Milliseconds(200)}).status();
  BulkWriter writer = client_.BulkUpsert("c", {.timeout = absl::Milliseconds(200)});
  absl::Status bulk = writer.Write(Block(0, 1));
  if (bulk.ok()) bulk = writer.Finish().status();
  server_.Signal(SIGCONT);
  const absl::Status expected =
      absl::DeadlineExceededError("no answer from " + server_.address() + " in time");
  EXPECT_EQ(unary, expected);
  EXPECT_EQ(bulk, expected);
}

TEST_F(LibraryTest, OneClientServesManyThreads) {
  Create("c", 1);
  std::atomic<int> failures = 0;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 8; ++thread) {
    threads.emplace_back([&, thread, client = client_] {
      for (int i = 0; i < 50; ++i) {
        const int id = thread * 50 + i;
        const float value = static_cast<float>(id);
        if (!client_.Upsert("c", {{id, {value}}}).ok()) ++failures;
        const auto hits = client.Search("c", std::vector<float>{value}, {.k = 1});
        if (!hits.ok() || (*hits)[0].id != Id(id)) ++failures;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
  EXPECT_EQ(*client_.Count("c"), 400u);
}

TEST_F(LibraryTest, ABulkLoadIsAcknowledgedToTheLastRow) {
  Create("c", 64);
  BulkWriter writer = client_.BulkUpsert("c", {.window = 3});
  for (uint64_t i = 0; i < 20; ++i) {
    ASSERT_TRUE(writer.Write(Block(i * 100, 100)).ok());
    // No more than the window is unknown.
    EXPECT_GE(writer.acknowledged().requests + 3, i + 1);
  }
  const auto done = writer.Finish();
  ASSERT_TRUE(done.ok()) << done.status();
  EXPECT_EQ(done->requests, 20u);
  EXPECT_EQ(done->rows, 2000u);
  EXPECT_EQ(done->added, 2000u);
  EXPECT_EQ(done->replaced, 0u);
  EXPECT_EQ(done->reconnects, 0);
  EXPECT_EQ(done->sequence, client_.GetCollection("c")->collection.sequence);
  EXPECT_EQ(*client_.Count("c"), 2000u);
}

TEST_F(LibraryTest, AnEmptyBulkLoadIsDone) {
  const auto done = client_.BulkUpsert("nowhere").Finish();
  ASSERT_TRUE(done.ok());
  EXPECT_EQ(done->requests, 0u);
}

TEST_F(LibraryTest, ARefusedBlockEndsTheLoadAndWhatCameBeforeStays) {
  Create("c", 64);
  BulkWriter writer = client_.BulkUpsert("c");
  absl::Status status;
  for (uint64_t i = 0; i < 10 && status.ok(); ++i) {
    PointBlock block = Block(i * 10, 10);
    if (i == 4) block.vectors[3 * 64 + 5] = std::nanf("");
    status = writer.Write(block);
  }
  const auto done = writer.Finish();
  EXPECT_EQ(done.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(done.status().message()), HasSubstr("row 3: component 5 is NaN"));
  EXPECT_EQ(writer.acknowledged().requests, 4u);
  EXPECT_EQ(*client_.Count("c"), 40u);
  EXPECT_EQ(writer.Write(Block(0, 1)), done.status());
  EXPECT_EQ(writer.Finish().status(), done.status());
}

TEST_F(LibraryTest, ABulkLoadSurvivesABrokenConnection) {
  Create("c", 64);
  Proxy proxy(server_.address());
  // 100 blocks of 100 x 64 floats are 2.6 MB: four cuts on the way.
  proxy.CutAfter(400'000, 4);
  BulkWriter writer =
      Client(proxy.address()).BulkUpsert("c", {.reconnect_delay = absl::Milliseconds(10)});
  for (uint64_t i = 0; i < 100; ++i) {
    const absl::Status status = writer.Write(Block(i * 100, 100));
    ASSERT_TRUE(status.ok()) << status;
  }
  const auto done = writer.Finish();
  ASSERT_TRUE(done.ok()) << done.status();
  EXPECT_EQ(proxy.cuts(), 4);
  EXPECT_EQ(done->reconnects, 4);
  EXPECT_EQ(done->requests, 100u);
  EXPECT_EQ(done->rows, 10'000u);
  EXPECT_EQ(done->added + done->replaced, 10'000u);
  EXPECT_EQ(*client_.Count("c"), 10'000u);
  // Every row is the one that was sent.
  for (uint64_t id : {0, 1234, 9999}) {
    EXPECT_EQ((*client_.Get("c", {id}))[0].vector[0], static_cast<float>(id) + 1);
  }
}

TEST_F(LibraryTest, AConnectionThatStaysBrokenEndsTheLoadWithAnAccount) {
  Create("c", 64);
  Proxy proxy(server_.address());
  BulkWriter writer =
      Client(proxy.address())
          .BulkUpsert("c",
                      {.window = 1, .reconnects = 2, .reconnect_delay = absl::Milliseconds(10)});
  ASSERT_TRUE(writer.Write(Block(0, 100)).ok());
  ASSERT_TRUE(writer.Write(Block(100, 100)).ok());  // the first is acknowledged now
  proxy.Refuse();
  absl::Status status;
  for (uint64_t i = 2; i < 100 && status.ok(); ++i) status = writer.Write(Block(i * 100, 100));
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr(proxy.address()));
  EXPECT_THAT(std::string(status.message()), EndsWith("; 2 attempts to go on failed"));
  const BulkProgress acknowledged = writer.acknowledged();
  EXPECT_GE(acknowledged.requests, 1u);
  EXPECT_EQ(acknowledged.rows, acknowledged.requests * 100);
  // What was acknowledged is there, and a new writer goes on from the next block.
  EXPECT_GE(*client_.Count("c"), acknowledged.rows);
  BulkWriter next = client_.BulkUpsert("c");
  for (uint64_t i = acknowledged.requests; i < 100; ++i) {
    ASSERT_TRUE(next.Write(Block(i * 100, 100)).ok());
  }
  ASSERT_TRUE(next.Finish().ok());
  EXPECT_EQ(*client_.Count("c"), 10'000u);
}

TEST_F(LibraryTest, AServerThatCameBackWithoutTheCollectionIsNotTakenForAContinuation) {
  Create("c", 64);
  BulkWriter writer =
      client_.BulkUpsert("c", {.window = 1, .reconnect_delay = absl::Milliseconds(10)});
  ASSERT_TRUE(writer.Write(Block(0, 100)).ok());
  ASSERT_TRUE(writer.Write(Block(100, 100)).ok());
  server_.Signal(SIGKILL);
  EXPECT_EQ(server_.Wait(), 128 + SIGKILL);
  const ServerProcess again({"--listen", server_.address()});
  absl::Status status;
  for (uint64_t i = 2; i < 100 && status.ok(); ++i) status = writer.Write(Block(i * 100, 100));
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("no collection \"c\""));
  EXPECT_GE(writer.acknowledged().rows, 100u);
}

TEST_F(LibraryTest, AClientFindsAServerThatWasRestarted) {
  Create("c", 1);
  server_.Signal(SIGTERM);
  EXPECT_EQ(server_.Wait(), 0);
  EXPECT_EQ(client_.ListCollections().status().code(), absl::StatusCode::kUnavailable);
  const ServerProcess again({"--listen", server_.address()});
  absl::StatusOr<CollectionList> listed = client_.ListCollections();
  for (int i = 0; i < 100 && !listed.ok(); ++i) {
    EXPECT_EQ(listed.status().code(), absl::StatusCode::kUnavailable);
    absl::SleepFor(absl::Milliseconds(100));
    listed = client_.ListCollections();
  }
  ASSERT_TRUE(listed.ok()) << listed.status();
  EXPECT_TRUE(listed->collections.empty());
}

TEST_F(LibraryTest, AnAbandonedWriterLeavesTheServerWell) {
  Create("c", 64);
  {
    BulkWriter writer = client_.BulkUpsert("c");
    ASSERT_TRUE(writer.Write(Block(0, 100)).ok());
  }
  EXPECT_EQ(*client_.CheckHealth(), Health::kServing);
  const uint64_t rows = *client_.Count("c");
  EXPECT_TRUE(rows == 0 || rows == 100) << rows;
}

}  // namespace
}  // namespace vexact::client

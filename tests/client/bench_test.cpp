// `vexact bench` as a person meets it: what it tells about a server, and that it leaves no trace.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "tests/client/command_line.h"
#include "tests/client/npy_bytes.h"
#include "tests/support/files.h"
#include "tests/support/server_process.h"

namespace vexact::testing {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using Json = nlohmann::json;

// Eight rows along one line: under l2 the nearest of row i are i, then its neighbours.
class BenchTest : public ::testing::Test {
 protected:
  BenchTest() {
    rows_ = Put("rows.npy", NpyMatrix({0, 1, 10, 11.5, 20, 22, 30, 33}, 8, 1));
    Try({"create", "line", "--dim", "1", "--metric", "l2"});
    EXPECT_EQ(Try({"add", "line", rows_}).status, 0);
  }

  Finished Try(const std::vector<std::string>& args) const {
    return Vexact(server_.address(), args);
  }
  // A short bench of the line, with its numbers.
  Finished Bench(std::vector<std::string> args) const {
    args.insert(args.begin(), {"bench", "line", "--duration", "0.3", "--warmup", "0", "--json"});
    return Try(args);
  }
  std::string Put(const std::string& name, std::string_view bytes) const {
    const std::string path = (dir_.path() / name).string();
    WriteFile(path, bytes);
    return path;
  }
  void Refuse(const std::vector<std::string>& args, int status, const std::string& error) const {
    const Finished finished = Try(args);
    EXPECT_EQ(finished.status, status) << finished.err;
    EXPECT_EQ(finished.out, "");
    EXPECT_THAT(finished.err, HasSubstr("error: " + error));
  }
  template <typename Value>
  std::string PutMatrix(const std::string& name, const std::string& descr,
                        const std::vector<Value>& values, size_t columns) const {
    const std::string shape = absl::StrCat("(", values.size() / columns, ", ", columns, ")");
    return Put(name, NpyBytes(NpyHeader(descr, false, shape), ElementBytes(values)));
  }

  TempDir dir_;
  ServerProcess server_;
  std::string rows_;
};

TEST_F(BenchTest, MeasuresSearches) {
  const Finished closed = Bench({"--clients", "4", "--batch", "3", "-k", "2"});
  ASSERT_EQ(closed.status, 0) << closed.err;
  const Json json = Json::parse(closed.out);
  EXPECT_EQ(json["loop"], "closed");
  EXPECT_EQ(json["rows"], 8);
  EXPECT_EQ(json["metric"], "l2");
  EXPECT_GT(json["search"]["requests"], 0);
  EXPECT_GT(json["search"]["latency_ms"]["p50"], 0);
  EXPECT_LE(json["search"]["latency_ms"]["p50"], json["search"]["latency_ms"]["p999"]);
  EXPECT_LE(json["search"]["latency_ms"]["p999"], json["search"]["latency_ms"]["max"]);
  EXPECT_DOUBLE_EQ(json["search"]["vectors_per_s"],
                   3 * json["search"]["requests_per_s"].get<double>());
  EXPECT_EQ(json["upsert"]["requests"], 0);
  EXPECT_TRUE(json["failures"].empty());

  const Finished open = Bench({"--rate", "200", "--arrivals", "even"});
  ASSERT_EQ(open.status, 0) << open.err;
  const Json rated = Json::parse(open.out);
  EXPECT_EQ(rated["loop"], "open");
  const int made = rated["search"]["requests"].get<int>() + rated["not_sent"].get<int>();
  EXPECT_GE(made, 59);
  EXPECT_LE(made, 61);
}

TEST_F(BenchTest, ShowsATable) {
  const Finished shown =
      Try({"bench", "line", "--duration", "0.3", "--warmup", "0", "--upserts", "50"});
  ASSERT_EQ(shown.status, 0) << shown.err;
  EXPECT_THAT(shown.out, ContainsRegex("^line: 8 rows, 1 dimension, l2, k 10; 1 client, "
                                       "1 connection, 0.3 s\n\n"
                                       "latency in ms +requests +requests/s +p50 +p90 +p99 +"
                                       "p99.9 +max\nsearch +[0-9,]+ .*\nupsert +[0-9,]+ "));
}

TEST_F(BenchTest, UpsertsLeaveNoRowBehind) {
  const std::string before = Try({"get", "line", "0", "1", "2", "3", "4", "5", "6", "7"}).out;
  const Finished finished = Bench({"--clients", "4", "--batch", "7", "--upserts", "50"});
  ASSERT_EQ(finished.status, 0) << finished.err;
  EXPECT_GT(Json::parse(finished.out)["upsert"]["requests"], 0);
  EXPECT_EQ(Try({"count", "line"}).out, "8\n");
  EXPECT_EQ(Try({"get", "line", "0", "1", "2", "3", "4", "5", "6", "7"}).out, before);
}

TEST_F(BenchTest, InterruptionReportsAndCleansUp) {
  // The load is running when a row of its own is there.
  const Finished finished =
      Shell(server_.address(),
            "$VEXACT bench line --duration 600 --upserts 50 --json & p=$!\n"
            "until $VEXACT get line vexact-bench:0 >/dev/null 2>&1; do sleep 0.02; done\n"
            "sleep 1.2; kill -INT $p; wait $p");
  EXPECT_EQ(finished.status, 130) << finished.err;
  const Json json = Json::parse(finished.out);
  EXPECT_EQ(json["interrupted"], true);
  EXPECT_LT(json["seconds"], 600);
  EXPECT_EQ(Try({"count", "line"}).out, "8\n");
}

// 0, 10, 20, 30 as queries: each finds itself, its neighbour 1 (1.5, 2, 3) away, and then another.
TEST_F(BenchTest, HoldsAnswersAgainstGoldenOnes) {
  const std::string queries = Put("queries.npy", NpyMatrix({0, 10, 20, 30}, 4, 1));
  const std::vector<uint64_t> ids = {0, 1, 2, 2, 3, 1, 4, 5, 3, 6, 7, 5};
  const std::vector<double> scores = {0, 1, 100, 0, 2.25, 81, 0, 4, 72.25, 0, 9, 64};
  for (const std::string& golden :
       {PutMatrix("ids.npy", "<u8", ids, 3), PutMatrix("scores.npy", "<f8", scores, 3)}) {
    const std::vector<std::string> against = {"--queries", queries, "--golden", golden,
                                              "--batch",   "3",     "-k",       "3"};
    const Finished exact = Bench(against);
    EXPECT_EQ(exact.status, 0) << exact.err;
    EXPECT_EQ(Json::parse(exact.out)["recall"], 1.0) << golden;
  }

  std::vector<uint64_t> wrong_ids = ids;
  wrong_ids[4] = 6;
  std::vector<double> wrong_scores = scores;
  wrong_scores[4] = std::nextafter(2.25, 3);
  for (const std::string& golden : {PutMatrix("ids.npy", "<u8", wrong_ids, 3),
                                    PutMatrix("scores.npy", "<f8", wrong_scores, 3)}) {
    const Finished wrong = Bench({"--queries", queries, "--golden", golden, "-k", "3"});
    EXPECT_EQ(wrong.status, 1) << golden;
    EXPECT_LT(Json::parse(wrong.out)["recall"], 1.0) << golden;
  }
  const Finished shown = Try({"bench", "line", "--duration", "0.2", "--warmup", "0", "--queries",
                              queries, "--golden", PutMatrix("ids.npy", "<u8", ids, 3), "-k", "2"});
  EXPECT_THAT(shown.out, HasSubstr("recall 1: every answer is exact\n"));
}

TEST_F(BenchTest, TellsWhatEveryRequestWasRefusedFor) {
  // Nothing is tried beforehand where all are upserts; these vectors have too many components.
  const std::string queries = Put("wide.npy", NpyMatrix({1, 2, 3, 4}, 2, 2));
  const Finished finished = Bench({"--queries", queries, "--upserts", "100"});
  EXPECT_EQ(finished.status, 1) << finished.err;
  const Json json = Json::parse(finished.out);
  ASSERT_EQ(json["failures"].size(), 1);
  EXPECT_EQ(json["failures"][0]["code"], "INVALID_ARGUMENT");
  EXPECT_THAT(json["failures"][0]["first"], HasSubstr("block.vectors has 8 bytes"));
  EXPECT_GT(json["failures"][0]["count"], 0);
}

TEST_F(BenchTest, RefusesWhatCannotWorkBeforeItLoads) {
  const std::string wide = Put("wide.npy", NpyMatrix({1, 2, 3, 4}, 2, 2));
  const std::string golden = PutMatrix("ids.npy", "<u8", std::vector<uint64_t>{1, 2}, 2);
  Refuse({"bench", "lime"}, 1, "no collection \"lime\"");
  Refuse({"bench", "line", "--queries", wide}, 1, "query 0 has 2 components");
  Refuse({"bench", "line", "-k", "0"}, 1, "k is 0");
  Refuse({"bench", "line", "--queries", "nowhere.npy"}, 2, "nowhere.npy");
  Refuse({"bench", "line", "--golden", golden}, 2, "--golden goes with --queries");
  Refuse({"bench", "line", "--golden", golden, "--queries", rows_, "--upserts", "1"}, 2,
         "--golden does not go with --upserts");
  Refuse({"bench", "line", "--golden", golden, "--queries", rows_, "-k", "3"}, 2,
         golden + ": it has 2 answers a query, k is 3");
  Refuse({"bench", "line", "--golden", rows_, "--queries", rows_}, 2,
         rows_ + ": golden answers are ids (integers) or scores (float64), not <f4");
  for (const std::vector<std::string>& wrong : std::vector<std::vector<std::string>>{
           {"--clients", "0"}, {"--rate", "0"}, {"--upserts", "101"}, {"--duration", "0"}}) {
    const Finished finished = Try({"bench", "line", wrong[0], wrong[1]});
    EXPECT_EQ(finished.status, 2) << wrong[0];
    EXPECT_THAT(finished.err, HasSubstr(wrong[0]));
  }
  Try({"create", "empty", "--dim", "1"});
  Refuse({"bench", "empty"}, 1, "collection \"empty\" has no rows to search for");
  const Finished unreachable = Vexact("127.0.0.1:1", {"bench", "line"});
  EXPECT_EQ(unreachable.status, 3);
}

}  // namespace
}  // namespace vexact::testing

// Rows through the command `vexact`: added, searched, deleted.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/client/command_fixture.h"

namespace vexact::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::StartsWith;

TEST_F(CommandTest, AddsSearchesAndDeletes) {
  LoadPlane();
  EXPECT_EQ(Do({"count", "plane"}), "4\n");
  EXPECT_THAT(Do({"search", "plane", "--like", "a", "-k", "2"}),
              MatchesRegex("  #     score  id\n"
                           "  1  0.707107  c\n"
                           "  2  0.000000  b\n"
                           "exact over 4 rows in [0-9.]+ ms \\(cosine\\); 3 rescored, 24 B "
                           "read\n"));
  EXPECT_THAT(Do({"search", "plane", "--vector", "0, 1", "--metric", "l2", "-k", "1"}),
              MatchesRegex("  #  distance   squared  id\n"
                           "  1  1.000000  1.000000  b\n"
                           "exact over 4 rows in [0-9.]+ ms \\(l2\\); 4 rescored, 32 B read\n"));
  EXPECT_EQ(Do({"get", "plane", "c", "7"}), "id  vector\nc   3, 3\n7   -1, 0\n");
  EXPECT_EQ(Do({"delete", "plane", "c", "nothing"}), "plane: 1 row deleted, 1 not found\n");
  EXPECT_EQ(Do({"count", "plane"}), "3\n");
  EXPECT_EQ(Do({"drop", "plane"}), "plane: dropped, with 3 rows\n");
  EXPECT_EQ(Do({"list", "--names"}), "");
}

TEST_F(CommandTest, JsonHasTheDocumentedShapes) {
  LoadPlane("l2");
  Json search = DoJson({"search", "plane", "--like", "a", "-k", "2", "--with-vectors"});
  EXPECT_GT(search["server_time_ms"].get<double>(), 0);
  search.erase("server_time_ms");
  EXPECT_EQ(search, Json::parse(R"({"collection":"plane","metric":"l2","engine":")" +
                                search["engine"].get<std::string>() +
                                R"(","exact":true,"results":[{"like":"a","rows_compared":4,
                                "sequence":1,"hits":[
                                {"id":7,"score":4.0,"distance":2.0,"vector":[-1.0,0.0]},
                                {"id":"b","score":5.0,"distance":2.23606797749979,
                                 "vector":[0.0,2.0]}]}],"rows_refined":0,"rows_rescored":3,
                                "bytes_read":24})"));
  EXPECT_EQ(DoJson({"get", "plane", "7"}),
            Json::parse(R"({"collection":"plane","points":[{"id":7,"vector":[-1.0,0.0]}]})"));
  EXPECT_EQ(DoJson({"count", "plane"}), Json::parse(R"({"collection":"plane","rows":4})"));
  EXPECT_EQ(DoJson({"delete", "plane", "a", "z"}),
            Json::parse(R"({"collection":"plane","deleted":1,"missing":1,"sequence":2})"));
  EXPECT_EQ(DoJson({"set-metric", "plane", "cosine"})["metric"], "cosine");
  EXPECT_EQ(DoJson({"drop", "plane"}), Json::parse(R"({"name":"plane","rows":3})"));
}

TEST_F(CommandTest, ScoresInJsonReadBackAsTheSameDoubles) {
  Do({"create", "c", "--dim", "3"});
  Do({"add", "c", Put("c.npy", NpyMatrix({0.1f, 0.2f, 0.3f}, 1, 3))});
  const Json answer = DoJson({"search", "c", "--vector", "0.3,0.1,0.7"});
  const float q[] = {0.3f, 0.1f, 0.7f}, x[] = {0.1f, 0.2f, 0.3f};
  double qx = 0, qq = 0, xx = 0;
  // Three components lie in three lanes of their own, whose sum is ((0 + 2) + 1) by the halving
  // tree.
  const auto dot = [](const float* a, const float* b) {
    return (static_cast<double>(a[0]) * b[0] + static_cast<double>(a[2]) * b[2]) +
           static_cast<double>(a[1]) * b[1];
  };
  qx = dot(q, x), qq = dot(q, q), xx = dot(x, x);
  EXPECT_EQ(answer["results"][0]["hits"][0]["score"].get<double>(), qx / std::sqrt(qq * xx));
}

TEST_F(CommandTest, ManyQueriesComeFromAFile) {
  LoadPlane();
  const std::string queries = Put("q.npy", NpyMatrix({1, 0, 0, 1, -1, 0}, 3, 2));
  const Json answer = DoJson({"search", "plane", "--from", queries, "-k", "1"});
  ASSERT_EQ(answer["results"].size(), 3u);
  EXPECT_EQ(answer["results"][0]["hits"][0]["id"], "a");
  EXPECT_EQ(answer["results"][1]["hits"][0]["id"], "b");
  EXPECT_EQ(answer["results"][2]["hits"][0]["id"], 7);
  EXPECT_EQ(answer["results"][2]["query"], 2);
  EXPECT_THAT(Do({"search", "plane", "--from", queries, "-k", "1"}),
              MatchesRegex("query 0\n  #     score  id\n  1  1.000000  a\n\n"
                           "query 1\n  #     score  id\n  1  1.000000  b\n\n"
                           "query 2\n  #     score  id\n  1  1.000000  7\n\n"
                           "exact over 4 rows, 3 queries in [0-9.]+ ms \\(cosine\\); 12 "
                           "rescored, 96 B read\n"));
}

TEST_F(CommandTest, MoreQueriesThanOneRequestHoldsAreAnsweredInOrder) {
  Do({"create", "line", "--dim", "1", "--metric", "l2"});
  std::vector<float> values(1000);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  const std::string file = Put("line.npy", NpyMatrix(values, 1000, 1));
  Do({"add", "line", file});
  const Json answer = DoJson({"search", "line", "--from", file, "-k", "1"});
  ASSERT_EQ(answer["results"].size(), 1000u);
  for (size_t i = 0; i < 1000; ++i) {
    EXPECT_EQ(answer["results"][i]["query"], i);
    EXPECT_EQ(answer["results"][i]["hits"][0]["id"], i);
  }
  // The 700th is wrong: it is named as in the file, whatever request it was in.
  values[700] = std::nanf("");
  const std::string bad = Put("bad.npy", NpyMatrix(values, 1000, 1));
  const Finished refused = Try({"search", "line", "--from", bad, "-k", "1"});
  EXPECT_EQ(refused.status, 1);
  EXPECT_THAT(refused.err, StartsWith("error: query 700"));
}

TEST_F(CommandTest, FaissDoesNotClaimToBeExact) {
  LoadPlane();
  const std::string text = Do({"search", "plane", "--like", "a", "--engine", "faiss"});
  EXPECT_THAT(text, HasSubstr("selected in float32 by faiss from 4 rows in "));
  EXPECT_EQ(text.find("exact"), std::string::npos);
  const Json json = DoJson({"search", "plane", "--like", "a", "--engine", "faiss"});
  EXPECT_EQ(json["engine"], "faiss");
  EXPECT_EQ(json["exact"], false);
}

TEST_F(CommandTest, ALikeQueryLeavesItselfOutUnlessAsked) {
  LoadPlane();
  EXPECT_EQ(DoJson({"search", "plane", "--like", "a"})["results"][0]["hits"].size(), 3u);
  const Json with = DoJson({"search", "plane", "--like", "a", "--include-self"});
  EXPECT_EQ(with["results"][0]["hits"][0], Json::parse(R"({"id":"a","score":1.0})"));
}

TEST_F(CommandTest, SearchesThatCannotBeAreRefused) {
  LoadPlane();
  Refuse({"search", "plane", "--vector", "1,2,3"}, 1,
         "query 0 has 3 components; collection \"plane\" has 2 dimensions");
  Refuse({"search", "plane", "--like", "zzz"}, 1, "query 0: no id \"zzz\" in collection \"plane\"");
  Refuse({"search", "plane", "--vector", "1,x"}, 2,
         "--vector: component 1 is \"x\", not a finite number");
  Refuse({"search", "plane", "--from", "/nonexistent.npy"}, 2,
         "/nonexistent.npy: No such file or directory");
  Refuse({"search", "plane", "--from", Put("none.npy", NpyMatrix({}, 0, 2))}, 2,
         (dir_.path() / "none.npy").string() + " holds no queries");
  Refuse({"search", "plane"}, 2, "Exactly 1 option from [--like,--vector,--from] is required");
  const Finished k = Try({"search", "plane", "--like", "a", "-k", "0"});
  EXPECT_EQ(k.status, 1);
  EXPECT_THAT(k.err, StartsWith("error: k is 0"));
}

TEST_F(CommandTest, WhatIsAddedIsFoundUnderTheWordInTheFile) {
  Do({"create", "c", "--dim", "1", "--metric", "l2"});
  const std::string file = Put("c.npy", NpyMatrix({1, 2, 3, 4}, 4, 1));
  Do({"add", "c", file, "--ids", Put("ids.txt", "2019\n007\ncat\ntext:5\n")});
  const Json points = DoJson({"get", "c", "2019", "007", "cat", "text:text:5"});
  EXPECT_EQ(points["points"][0], Json::parse(R"({"id":2019,"vector":[1.0]})"));
  EXPECT_EQ(points["points"][1], Json::parse(R"({"id":"007","vector":[2.0]})"));
  EXPECT_EQ(points["points"][3], Json::parse(R"({"id":"text:5","vector":[4.0]})"));
  // All as texts: another row under the same digits.
  Do({"add", "c", file, "--ids", (dir_.path() / "ids.txt").string(), "--text-ids"});
  EXPECT_EQ(Do({"count", "c"}), "5\n");
  EXPECT_EQ(Do({"get", "c", "text:2019"}), "id         vector\ntext:2019  1\n");
}

TEST_F(CommandTest, AddSaysWhatWasAddedAndWhatReplaced) {
  Do({"create", "plane", "--dim", "2"});
  EXPECT_THAT(Do({"add", "plane", Plane()}),
              MatchesRegex("plane: 4 rows added, 0 replaced \\([0-9.]+ m?s\\)\n"));
  EXPECT_THAT(Do({"add", "plane", Plane()}), StartsWith("plane: 0 rows added, 4 replaced ("));
  const Json json = DoJson({"add", "plane", Plane(), "--ids", Put("ids.txt", "0\n8\n9\n8\n")});
  EXPECT_EQ(json["rows"], 4);
  EXPECT_EQ(json["added"], 2);
  EXPECT_EQ(json["replaced"], 2);
  // The later row of an id that comes twice is the one that stays.
  EXPECT_EQ(DoJson({"get", "plane", "8"})["points"][0]["vector"], Json::parse("[-1.0,0.0]"));
}

TEST_F(CommandTest, JsonLinesComeFromAFileOrThroughAPipe) {
  Do({"create", "c", "--dim", "2"});
  const std::string lines =
      "{\"id\": 1, \"vector\": [1, 2]}\n{\"id\": \"x\", \"vector\": [3, 4]}\n";
  EXPECT_THAT(Do({"add", "c", Put("c.jsonl", lines)}), StartsWith("c: 2 rows added, 0 replaced"));
  const Finished piped =
      Shell(server_.address(), "printf '{\"id\":\"y\",\"vector\":[5,6]}' | $VEXACT add c -");
  EXPECT_EQ(piped.status, 0) << piped.err;
  EXPECT_THAT(piped.out, StartsWith("c: 1 row added"));
  EXPECT_EQ(Do({"get", "c", "y"}), "id  vector\ny   5, 6\n");
}

TEST_F(CommandTest, ARefusedRowIsNamedAsTheFileCountsIt) {
  Do({"create", "c", "--dim", "512"});
  // 1,024 rows of 512 components are one request of 2 MiB: row 2,500 is in the third.
  std::vector<float> values(3000 * 512, 1.0f);
  values[2500 * 512 + 203] = std::nanf("");
  const std::string file = Put("bad.npy", NpyMatrix(values, 3000, 512));
  const Finished refused = Try({"add", "c", file});
  EXPECT_EQ(refused.status, 1);
  EXPECT_EQ(refused.out, "");
  EXPECT_THAT(refused.err, StartsWith("error: row 2500: component 203 is NaN"));
  EXPECT_THAT(refused.err,
              HasSubstr("2,048 rows were added before and stay. To go on after them, repeat the "
                        "command with --skip 2048."));
  EXPECT_EQ(Do({"count", "c"}), "2048\n");
  // And so it goes on.
  WriteFile(file, NpyMatrix(std::vector<float>(3000 * 512, 1.0f), 3000, 512));
  EXPECT_THAT(Do({"add", "c", file, "--skip", "2048"}),
              StartsWith("c: 952 rows added, 0 replaced"));
  EXPECT_EQ(Do({"count", "c"}), "3000\n");
}

TEST_F(CommandTest, ABadLineIsNamedAndWhatCameBeforeItStays) {
  Do({"create", "c", "--dim", "1"});
  Refuse({"add", "c", Put("z.jsonl", "{\"id\":1,\"vector\":[1]}\n\n{\"id\":2,\"vector\":[0]}\n")},
         1, "line 3 is a zero vector, which has no direction under cosine");
  EXPECT_EQ(Do({"count", "c"}), "0\n");
  const std::string path =
      Put("w.jsonl", "{\"id\":1,\"vector\":[1]}\n\n{\"id\":2,\"vector\":[1,2]}\n");
  Refuse({"add", "c", path}, 2,
         path +
             ": line 3 has 2 components; collection \"c\" has 1 dimensions. 1 row was added "
             "before and stay. To go on after them, repeat the command with --skip 1.");
  EXPECT_EQ(Do({"count", "c"}), "1\n");
}

TEST_F(CommandTest, WhatIsKnownToBeWrongIsRefusedBeforeAnythingIsSent) {
  Do({"create", "c", "--dim", "3"});
  Refuse(
      {"add", "c", Plane()}, 2,
      Plane() + " has 2 components a row; collection \"c\" has 3 dimensions. Nothing was added.");
  const std::string ids = Put("ids.txt", "1\n2\n");
  Refuse({"add", "c", Plane(), "--ids", ids}, 2, ids + " has 2 ids for 4 rows. Nothing was added.");
  Refuse({"add", "c", "/nonexistent"}, 2,
         "/nonexistent: No such file or directory. Nothing was added.");
  Refuse({"add", "c", Put("x.npy", NpyMatrix({1, 2, 3}, 1, 3).substr(0, 130))}, 2,
         (dir_.path() / "x.npy").string() +
             " is truncated: its header promises 12 bytes of elements, and 2 follow. Nothing was "
             "added.");
  EXPECT_EQ(DoJson({"describe", "c"})["sequence"], 0);
  const Finished missing = Try({"add", "dox", Plane()});
  EXPECT_EQ(missing.status, 1);
  EXPECT_EQ(missing.err,
            "error: no collection \"dox\". There is: c.\n"
            "To make it for this file: vexact create dox --dim 2\n");
}

TEST_F(CommandTest, CtrlCStopsALoadAndSaysWhatStays) {
  Do({"create", "c", "--dim", "1"});
  RunningVexact add({"--server", server_.address(), "add", "c", "-"});
  ASSERT_TRUE(add.Write("{\"id\":1,\"vector\":[1]}\n{\"id\":2,\"vector\":[2]}\n"));
  ASSERT_TRUE(add.WaitUntilRead());
  add.Signal(SIGINT);
  const Finished finished = add.Wait();
  EXPECT_EQ(finished.status, 130);
  EXPECT_EQ(finished.err,
            "interrupted: 2 rows were added before and stay. To go on after them, repeat the "
            "command with --skip 2.\n");
  EXPECT_EQ(Do({"count", "c"}), "2\n");
}

}  // namespace
}  // namespace vexact::testing

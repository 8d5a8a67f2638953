// The command `vexact`, as a person and as a script meet it: what it prints, where, and how it
// ends.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "tests/client/command_fixture.h"

namespace vexact::testing {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::StartsWith;

TEST_F(CommandTest, CreatesAndShowsCollections) {
  EXPECT_EQ(Do({"create", "docs", "--dim", "384"}), "docs: 384 dimensions, cosine, empty\n");
  EXPECT_EQ(Do({"create", "docs", "--dim", "384"}),
            "docs: 384 dimensions, cosine, empty (it existed)\n");
  EXPECT_EQ(Do({"create", "b", "--dim", "1", "--metric", "l2", "--normalization", "l2"}),
            "b: 1 dimension, l2, normalization l2, empty\n");
  EXPECT_EQ(Do({"list"}),
            "name  dimension  metric  normalization  rows\n"
            "b             1  l2      l2                0\n"
            "docs        384  cosine  none              0\n");
  EXPECT_EQ(Do({"list", "--names"}), "b\ndocs\n");
  const Json list = DoJson({"list"});
  EXPECT_EQ(list["collections"].size(), 2u);
  EXPECT_EQ(list["collections"][0],
            Json::parse(R"({"name":"b","dimension":1,"metric":"l2","normalization":"l2","rows":0,
                            "deleted":0,"sequence":0})"));
  EXPECT_TRUE(DoJson({"create", "c", "--dim", "2"})["created"]);
  EXPECT_FALSE(DoJson({"create", "c", "--dim", "2"})["created"]);
}

TEST_F(CommandTest, NamesDamagedCollectionsBesideThoseThatServe) {
  const std::vector<std::string> args = {"--data-dir", (dir_.path() / "data").string()};
  {
    ServerProcess before(args);
    ASSERT_EQ(Vexact(before.address(), {"create", "docs", "--dim", "4"}).status, 0);
    ASSERT_EQ(Vexact(before.address(), {"create", "well", "--dim", "1"}).status, 0);
    const std::string rows = Put("rows.npy", NpyMatrix({0.125f, 77.5f, -3.25f, 1e-3f}, 1, 4));
    ASSERT_EQ(Vexact(before.address(), {"add", "docs", rows}).status, 0);
    before.Signal(SIGTERM);  // so that the row goes from the log to its file
    ASSERT_EQ(before.Wait(), 0);
  }
  const float row[] = {0.125f, 77.5f, -3.25f, 1e-3f};
  const auto place =
      FindBytes(dir_.path() / "data" / "store", {reinterpret_cast<const char*>(row), sizeof row});
  ASSERT_TRUE(place);
  FlipBit(*place);

  const ServerProcess server(args);
  const Finished list = Vexact(server.address(), {"list"});
  EXPECT_EQ(list.status, 0);
  EXPECT_THAT(list.out, MatchesRegex("name  dimension  metric  normalization  rows\n"
                                     "well          1  cosine  none              0\n"
                                     "\n"
                                     "damaged  why it does not serve *\n"
                                     "docs     .*\"docs\".*vexactd --repair --data-dir .*\n"));
  const Finished json = Vexact(server.address(), {"list", "--json"});
  EXPECT_EQ(Json::parse(json.out)["damaged"][0]["name"], "docs");
  const Finished describe = Vexact(server.address(), {"describe", "docs"});
  EXPECT_EQ(describe.status, 1);
  EXPECT_THAT(describe.err, MatchesRegex("error: .*\"docs\".*vexactd --repair .*\n"));
  EXPECT_EQ(Vexact(server.address(), {"drop", "docs"}).status, 0);
}

TEST_F(CommandTest, AnEmptyServerSaysHowToBegin) {
  const Finished list = Try({"list"});
  EXPECT_EQ(list.status, 0);
  EXPECT_EQ(list.out, "");
  EXPECT_THAT(list.err, HasSubstr("vexact create"));
}

TEST_F(CommandTest, WhatTheServerRefusesIsSaidInItsWordsAndChangesNothing) {
  Do({"create", "docs", "--dim", "3"});
  Refuse({"create", "docs", "--dim", "4"}, 1,
         "collection \"docs\" exists with dimension 3; 4 was asked for");
  Refuse({"describe", "dox"}, 1, "no collection \"dox\". There is: docs.");
  const Finished zero = Try({"create", "zero", "--dim", "0"});
  EXPECT_EQ(zero.status, 1);
  EXPECT_THAT(zero.err, StartsWith("error: dimension"));
  const Finished name = Try({"create", "a/b", "--dim", "3"});
  EXPECT_EQ(name.status, 1);
  EXPECT_THAT(name.err, StartsWith("error: name"));
  EXPECT_EQ(Do({"list", "--names"}), "docs\n");
}

TEST_F(CommandTest, DescribeShowsNormsAndWarnsWhereTheyMatter) {
  LoadPlane("inner_product");
  EXPECT_THAT(
      Do({"describe", "plane"}),
      MatchesRegex("plane       2 dimensions, metric inner_product, normalization none\n"
                   "rows        4 \\(0 deleted\\), sequence 1\n"
                   "norms       min 1.0000  mean 2.0607  max 4.2426; 50.0 % within 1e-3 of 1; 0 "
                   "zero rows\n"
                   "memory      .* rows, .* ids, .* overhead\n"
                   "layout      identity \\(8-bit codes of all 2 dimensions\\)\n"
                   "warning     inner product meets rows of norms from 1 to 4.243: long rows win. "
                   "To compare directions: vexact set-metric plane cosine\n"));
  Json json = DoJson({"describe", "plane"});
  EXPECT_EQ(json["norms"]["unit_rows"], 2);
  EXPECT_EQ(json["norms"]["max"].get<double>(), std::sqrt(18.0));
  EXPECT_EQ(json["warnings"].size(), 1u);
  Do({"set-metric", "plane", "cosine"});
  EXPECT_EQ(DoJson({"describe", "plane"})["warnings"].size(), 0u);
}

// Rows with most of their energy in few directions, as those of embeddings have.
std::string CorrelatedMatrix(size_t rows, size_t dimension) {
  constexpr size_t kRank = 12;
  std::minstd_rand random(3);
  std::normal_distribution<float> normal;
  std::vector<float> basis(kRank * dimension), matrix;
  for (float& component : basis) component = normal(random);
  for (size_t i = 0; i < rows; ++i) {
    std::vector<float> row(dimension);
    for (float& component : row) component = 0.3f * normal(random);
    for (size_t r = 0; r < kRank; ++r) {
      const float share = normal(random);
      for (size_t j = 0; j < dimension; ++j) row[j] += share * basis[r * dimension + j];
    }
    matrix.insert(matrix.end(), row.begin(), row.end());
  }
  return NpyMatrix(matrix, rows, dimension);
}

TEST_F(CommandTest, DescribeShowsTheLayoutThatWasTrained) {
  Do({"create", "docs", "--dim", "128"});
  Do({"add", "docs", Put("docs.npy", CorrelatedMatrix(9'000, 128))});
  const auto trained = [&] {
    const Json layout = DoJson({"describe", "docs"})["layout"];
    return layout["trained_rows"] > 0 && layout["coded_rows"] == layout["rows"];
  };
  for (int tries = 0; tries < 600 && !trained(); ++tries) usleep(100'000);
  ASSERT_TRUE(trained()) << Do({"describe", "docs"});
  EXPECT_THAT(Do({"search", "docs", "--like", "0", "1", "-k", "1"}),
              MatchesRegex("(.|\n)*exact over 9,000 rows, 2 queries in [0-9.]+ ms \\(cosine\\); "
                           "[0-9,]+ refined, [0-9,]+ rescored, [0-9.]+ [KM]iB read\n"));
  EXPECT_THAT(
      Do({"describe", "docs"}),
      MatchesRegex(
          "(.|\n)*\n"
          "layout      rotation( to [0-9]+ leading directions)?(, centered,)? trained on [0-9,]+ "
          "rows; re-encoding done\n"
          "first slab  [0-9]+ dimensions( with a 4-bit sketch)? hold [0-9]+ % of the energy.*\n"
          "expected    [0-9.]+ % of rows read further, then [0-9., ]+ %; [0-9.]+ [KM]iB a query\n"
          "observed    [0-9.]+ % of rows read further, then [0-9., ]+ %; [0-9.]+ [KM]iB a query "
          "over 2 queries\n"));
  const Json layout = DoJson({"describe", "docs"})["layout"];
  std::vector<std::string> keys;
  for (const auto& [key, value] : layout.items()) keys.push_back(key);
  EXPECT_THAT(keys, ::testing::UnorderedElementsAre(
                        "kind", "directions", "centered", "first_slab_dimensions",
                        "first_slab_sketch", "trained_rows", "rows", "coded_rows",
                        "observed_queries", "expected_bytes", "observed_bytes", "slabs"));
  EXPECT_THAT(layout["kind"], ::testing::AnyOf("rotation", "leading_rotation"));
  EXPECT_EQ(layout["rows"], 8'992);
  EXPECT_EQ(layout["observed_queries"], 2);
  EXPECT_LT(layout["expected_bytes"], 9'000 * 128) << "less than a byte for each component";
  for (const Json& slab : layout["slabs"]) {
    EXPECT_LE(slab["expected_passed"], 1.0);
    EXPECT_LE(slab["observed_passed"], 1.0);
  }
  EXPECT_GT(layout["slabs"][0]["energy"], 0.5);
}

TEST_F(CommandTest, CompareGivesTheUsualFigures) {
  EXPECT_EQ(Do({"compare", "--a", "3,1,2", "--b", "1,4,2"}),
            "dot product          11\n"
            "cosine similarity    0.6415330278717847   angle 50.09377125858627°   cosine distance "
            "0.3584669721282153\n"
            "Euclidean distance   3.605551275463989   squared 13\n"
            "norms                3.7416573867739413, 4.58257569495584\n"
            "projection of a on b 2.400396792595916 along b = (0.5238095238095238, "
            "2.0952380952380953, 1.0476190476190477)\n");
  EXPECT_EQ(DoJson({"compare", "--a", "4,3", "--b", "1,0"})["scalar_projection"], 4.0);
  const Json zero = DoJson({"compare", "--a", "1,2", "--b", "0,0"});
  EXPECT_TRUE(zero["cosine_similarity"].is_null());
  EXPECT_TRUE(zero["scalar_projection"].is_null());
  EXPECT_TRUE(zero["vector_projection"].is_null());
  LoadPlane();
  const Json mixed = DoJson({"compare", "--a-id", "c", "--b", "0,1", "--collection", "plane"});
  EXPECT_EQ(mixed["dot_product"], 3.0);
  Refuse({"compare", "--a-id", "c", "--b", "0,1"}, 2,
         "--a-id and --b-id need --collection, to look the id up in");
  const Finished lengths = Try({"compare", "--a", "1,2", "--b", "1,2,3"});
  EXPECT_EQ(lengths.status, 1);
  EXPECT_THAT(lengths.err, StartsWith("error: a has 2"));
}

TEST_F(CommandTest, HealthAndInfoTellAboutTheServer) {
  EXPECT_EQ(Do({"health"}), "SERVING\n");
  EXPECT_EQ(DoJson({"health"}), Json::parse(R"({"status":"SERVING"})"));
  const Json info = DoJson({"info"});
  EXPECT_EQ(info["limits"]["max_k"], 10000);
  EXPECT_THAT(Do({"info"}), StartsWith("vexactd     " + info["version"].get<std::string>() +
                                       " (commit " + info["commit"].get<std::string>() + ") at "));
  EXPECT_THAT(vexact::testing::Run({ServerBinary(), "--version"}).out,
              HasSubstr("\ncommit      " + info["commit"].get<std::string>() + "\n"));
  EXPECT_EQ(info["storage"], Json::parse(R"({"durability":"none"})"));
  EXPECT_THAT(Do({"info"}), HasSubstr("\nstorage     memory: what is stored is gone when the "
                                      "server stops\nengine "));
}

TEST_F(CommandTest, InfoTellsWhatTheDiskHasDone) {
  const std::string data_dir = (dir_.path() / "data").string();
  const ServerProcess server({"--data-dir", data_dir, "--durability", "async"});
  const auto info = [&] { return Vexact(server.address(), {"info"}).out; };
  EXPECT_THAT(info(), HasSubstr("\nstorage     " + data_dir +
                                ", async (a power cut may take the last writes); "));
  EXPECT_THAT(info(), HasSubstr(" in 0 commits and "));
  ASSERT_EQ(Vexact(server.address(), {"create", "plane", "--dim", "2"}).status, 0);
  ASSERT_EQ(Vexact(server.address(), {"add", "plane", Plane()}).status, 0);
  EXPECT_THAT(info(), ContainsRegex("\nwritten     [0-9.]+ [KM]?i?B in 1 commit and [0-9]+ syncs?, "
                                    "[0-9]+\\.[0-9][0-9] times what was sent\n"));
  const Json storage = Json::parse(Vexact(server.address(), {"info", "--json"}).out)["storage"];
  EXPECT_EQ(storage["durability"], "async");
  EXPECT_EQ(storage["received_bytes"], 4 * (2 * 4 + 8));
  EXPECT_GT(storage["write_amplification"], 1.0);
}

TEST_F(CommandTest, NoServerIsItsOwnExitStatusAndSaysWhatToCheck) {
  const Finished health = Vexact("127.0.0.1:1", {"health"});
  EXPECT_EQ(health.status, 3);
  EXPECT_EQ(health.out, "");
  EXPECT_EQ(health.err,
            "error: cannot reach a Vexact server at 127.0.0.1:1 (Connection refused); is vexactd "
            "running, and is this its address?\n");
  EXPECT_EQ(Vexact("127.0.0.1:1", {"add", "docs", Plane()}).status, 3);
  EXPECT_EQ(Vexact("no.such.host.invalid:1", {"list"}).status, 3);
}

TEST_F(CommandTest, ATimeOutIsKept) {
  // A stopped server takes the connection and does not answer.
  server_.Signal(SIGSTOP);
  const Finished list = Try({"list", "--timeout", "0.3"});
  server_.Signal(SIGCONT);
  EXPECT_EQ(list.status, 3);
  EXPECT_EQ(list.err, "error: no answer from " + server_.address() + " in time\n");
}

TEST_F(CommandTest, WrongUsageIsExplained) {
  const auto refuse = [&](const std::vector<std::string>& args, const std::string& error) {
    Refuse(args, 2, error);
    EXPECT_THAT(Try(args).err, HasSubstr("\nSee: vexact "));
  };
  refuse({}, "a command is needed, such as create, add or search");
  refuse({"snapshot"},
         "\"vexact snapshot\" needs to be told what to do: create, list, delete, download, verify");
  refuse(
      {"snapshot", "keep"},
      "there is no command \"snapshot keep\"; there are: create, list, delete, download, verify");
  refuse({"serch", "docs"}, "there is no command \"serch\"");
  refuse({"--bogus"}, "there is no option --bogus");
  refuse({"create", "docs"}, "--dim is required");
  refuse({"create", "docs", "--dim", "3", "--metric", "dot"},
         "--metric: dot not in {inner_product,cosine,l2}");
  refuse({"list", "--timeout", "-1"}, "--timeout: \"-1\" is not a number of seconds above 0");
}

TEST_F(CommandTest, EveryCommandHasHelpWithExamples) {
  for (const char* command :
       {"create", "list", "describe", "set-metric", "drop", "add", "get", "delete", "count",
        "search", "compare", "health", "info", "completion"}) {
    const Finished help = Try({command, "--help"});
    EXPECT_EQ(help.status, 0);
    EXPECT_EQ(help.err, "");
    EXPECT_THAT(help.out, HasSubstr(std::string("\nExamples:\n")));
    EXPECT_THAT(help.out, HasSubstr(std::string("vexact ") + command));
  }
  EXPECT_THAT(Do({"--version"}), MatchesRegex("vexact [0-9]+\\.[0-9]+\\.[0-9]+\n"));
}

TEST_F(CommandTest, ForeignIdsCannotWriteToTheTerminal) {
  Do({"create", "c", "--dim", "1"});
  Do({"add", "c", Put("c.jsonl", "{\"id\":\"\\u001b[31m\\n\",\"vector\":[1]}\n")});
  EXPECT_THAT(Do({"search", "c", "--vector", "1"}), HasSubstr("\\x1b[31m\\n\n"));
}

TEST_F(CommandTest, BashCompletesCommandsOptionsAndCollections) {
  Do({"create", "words", "--dim", "2"});
  Do({"create", "docs", "--dim", "2"});
  // What bash would offer at the end of a line.
  const auto complete = [&](const std::string& line) {
    const Finished finished = Shell(
        server_.address(),
        "PATH=$(dirname $VEXACT):$PATH; source <($VEXACT completion bash); COMP_LINE='" + line +
            "'; read -ra COMP_WORDS <<< \"$COMP_LINE\"; [[ $COMP_LINE == *' ' ]] && "
            "COMP_WORDS+=(''); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _vexact; "
            "echo \"${COMPREPLY[@]}\"");
    EXPECT_EQ(finished.status, 0) << finished.err;
    EXPECT_EQ(finished.err, "") << line;
    return finished.out;
  };
  EXPECT_EQ(complete("vexact se"), "set-metric search\n");
  EXPECT_EQ(complete("vexact search "), "docs words\n");
  EXPECT_EQ(complete("vexact --json search w"), "words\n");
  EXPECT_EQ(complete("vexact search words --m"), "--metric\n");
  EXPECT_EQ(complete("vexact search words --metric "), "inner_product cosine l2\n");
  EXPECT_EQ(complete("vexact search words --metric l2 --en"), "--engine\n");
  EXPECT_EQ(complete("vexact set-metric docs co"), "cosine\n");
  EXPECT_EQ(complete("vexact create "), "\n");
  EXPECT_EQ(complete("vexact compare --collection d"), "docs\n");
}

TEST_F(CommandTest, AFullDiskUnderTheResultIsNoSuccess) {
  const Finished full = Shell(server_.address(), "$VEXACT info > /dev/full");
  EXPECT_EQ(full.status, 2);
  EXPECT_EQ(full.err, "error: the result could not be written to stdout\n");
}

}  // namespace
}  // namespace vexact::testing

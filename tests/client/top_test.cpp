// vexact top: rates from two looks, how they are shown, and the command against a real server.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "absl/strings/str_join.h"
#include "client/command/table.h"
#include "client/top/rates.h"
#include "client/top/view.h"
#include "tests/client/command_line.h"
#include "tests/support/server_process.h"
#include "vexact/client.h"

namespace vexact::client {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::DoubleNear;
using ::testing::HasSubstr;
using ::testing::Not;
using ::vexact::testing::Finished;
using ::vexact::testing::ServerProcess;
using ::vexact::testing::Vexact;

const Histogram kOneOfEach{.bounds = {0.001, 0.01, 0.1}, .counts = {1, 1, 1, 1}, .sum = 2};

TEST(HistogramTest, EstimatesQuantilesBetweenItsBounds) {
  const Histogram histogram{.bounds = {1, 2, 4}, .counts = {10, 0, 10, 0}, .sum = 40};
  EXPECT_EQ(histogram.count(), 20);
  EXPECT_EQ(histogram.Mean(), 2);
  EXPECT_EQ(histogram.Quantile(0.5), 1);
  EXPECT_EQ(histogram.Quantile(0.25), 0.5);
  EXPECT_EQ(histogram.Quantile(0.75), 3);
  EXPECT_EQ(histogram.Quantile(1), 4);
  EXPECT_EQ(kOneOfEach.Quantile(1), 0.1) << "what lies above all bounds is at least the last one";
  EXPECT_EQ(Histogram().Quantile(0.5), std::nullopt);
  EXPECT_EQ(Histogram().Mean(), std::nullopt);
}

TEST(HistogramTest, TakesAwayWhatWasThereBefore) {
  Histogram histogram = kOneOfEach;
  histogram.counts[1] = 5;
  histogram.sum = 2.02;
  histogram.Subtract(kOneOfEach);
  EXPECT_THAT(histogram.counts, ::testing::ElementsAre(0, 4, 0, 0));
  EXPECT_NEAR(histogram.sum, 0.02, 1e-9);
  Histogram begun_anew = kOneOfEach;
  begun_anew.Subtract({.bounds = kOneOfEach.bounds, .counts = {9, 9, 9, 9}, .sum = 99});
  EXPECT_EQ(begun_anew.counts, kOneOfEach.counts);
}

// A server that has answered so many searches of one query over 100 rows.
Statistics After(absl::Duration uptime, uint64_t searches) {
  Statistics statistics;
  statistics.version = "1.2.3";
  statistics.threads = 2;
  statistics.uptime = uptime;
  statistics.cpu_time = uptime / 2;
  statistics.methods.push_back(
      {.method = "Search/Search",
       .calls = {{absl::StatusCode::kOk, searches}, {absl::StatusCode::kNotFound, searches / 10}},
       .seconds = {.bounds = {0.001, 0.01},
                   .counts = {searches, 0, 0},
                   .sum = 0.0005 * static_cast<double>(searches)}});
  statistics.methods.push_back({.method = "Server/GetStatistics",
                                .calls = {{absl::StatusCode::kOk, 1000 * searches}},
                                .seconds = {}});
  statistics.refusals.push_back({"queue", searches / 5});
  statistics.scan_queries = {
      .bounds = {1, 2}, .counts = {searches, 0, 0}, .sum = 4.0 * static_cast<double>(searches)};
  CollectionStatistics docs;
  docs.name = "docs";
  docs.rows = 100;
  docs.memory.rows_bytes = 2048;
  docs.queries = docs.scans = searches;
  docs.rows_compared = 100 * searches;
  docs.rows_refined = 25 * searches;
  docs.bytes_read = 1024 * searches;
  docs.layout_rows = 96;
  docs.layout_coded_rows = 48;
  statistics.collections.push_back(docs);
  CollectionStatistics idle = docs;
  idle.name = "a-quiet-one";
  idle.queries = idle.scans = idle.rows_compared = idle.rows_refined = idle.bytes_read = 0;
  statistics.collections.insert(statistics.collections.begin(), idle);
  return statistics;
}

TEST(RatesTest, AreWhatHappenedBetweenTwoLooksPerSecond) {
  const Rates rates =
      RatesBetween(After(absl::Seconds(100), 1000), After(absl::Seconds(102), 1200));
  EXPECT_EQ(rates.interval, absl::Seconds(2));
  EXPECT_EQ(rates.calls, 110) << "the look itself does not count";
  EXPECT_EQ(rates.failed, 10);
  EXPECT_EQ(rates.refused, 20);
  EXPECT_EQ(rates.queries, 100);
  EXPECT_EQ(rates.batch, 4);
  EXPECT_THAT(rates.processors, DoubleNear(0.5, 1e-6));
  EXPECT_EQ(rates.p50, 0.0005);
  ASSERT_EQ(rates.collections.size(), 2);
  EXPECT_EQ(rates.collections[0].name, "docs") << "what is read most comes first";
  EXPECT_EQ(rates.collections[0].scanned_bytes, 102'400);
  EXPECT_EQ(rates.collections[0].refined, 0.25);
  EXPECT_EQ(rates.collections[0].coded, 0.5);
  EXPECT_EQ(rates.collections[1].refined, std::nullopt);
}

TEST(RatesTest, OfAServerThatWasStartedAgainAreThoseSinceThen) {
  const Rates rates = RatesBetween(After(absl::Seconds(100), 1000), After(absl::Seconds(1), 50));
  EXPECT_EQ(rates.interval, absl::Seconds(1));
  EXPECT_EQ(rates.queries, 50);
  EXPECT_EQ(rates.calls, 55);
}

TEST(RatesTest, OfNoTimeAreNone) {
  const Statistics now = After(absl::Seconds(1), 10);
  const Rates rates = RatesBetween(now, now);
  EXPECT_EQ(rates.calls, 0);
  EXPECT_EQ(rates.p99, std::nullopt);
}

std::vector<std::string> Shown(size_t columns) {
  const Statistics now = After(absl::Seconds(102), 1200);
  return RenderTop("host:7700", now, RatesBetween(After(absl::Seconds(100), 1000), now), columns);
}

TEST(TopViewTest, ShowsTheServerAndThenItsCollections) {
  const std::string text = absl::StrJoin(Shown(200), "\n");
  EXPECT_THAT(text, HasSubstr("vexactd 1.2.3 at host:7700   up 1:42   "));
  EXPECT_THAT(text, HasSubstr("calls     110/s   p50 0.50 ms   p99 "));
  EXPECT_THAT(text, HasSubstr("10/s failed   20/s refused"));
  EXPECT_THAT(text, HasSubstr("searches  100 queries/s   4.0 a scan"));
  EXPECT_THAT(text, HasSubstr("in memory alone"));
  EXPECT_THAT(text, ContainsRegex("collection +queries/s +rows +scanned +writes/s +refined"));
  EXPECT_THAT(text, ContainsRegex("docs +100 +100 +100 KiB/s +0 +25 % +50 % +2.0 KiB"));
}

TEST(TopViewTest, FitsEveryWidth) {
  for (size_t columns = 0; columns <= 120; ++columns) {
    for (const std::string& line : Shown(columns)) {
      EXPECT_LE(Width(line), columns) << line;
      EXPECT_THAT(line, Not(HasSubstr("\n")));
    }
  }
  EXPECT_THAT(absl::StrJoin(Shown(30), "\n"),
              AllOf(HasSubstr("queries/s"), Not(HasSubstr("memory\n"))));
}

TEST(TopViewTest, LetsNoNameBreakTheScreen) {
  Statistics now = After(absl::Seconds(1), 10);
  now.collections[0].name = "a\x1b[2Jb\n" + std::string(300, 'x');
  for (const std::string& line : RenderTop("host", now, RatesBetween({}, now), 100)) {
    EXPECT_THAT(line, Not(HasSubstr("\x1b")));
    EXPECT_LE(Width(line), 100);
  }
}

class TopCommandTest : public ::testing::Test {
 protected:
  void SetUp() override {
    Client client(server_.address());
    ASSERT_TRUE(client.CreateCollection({.name = "docs", .dimension = 2}).ok());
    ASSERT_TRUE(client.Upsert("docs", {{1, {1, 0}}, {2, {0, 1}}}).ok());
  }

  ServerProcess server_;
};

TEST_F(TopCommandTest, ShowsOneTableWhereThereIsNoTerminal) {
  const Finished shown = Vexact(server_.address(), {"top", "--interval", "0.2"});
  EXPECT_EQ(shown.status, 0);
  EXPECT_EQ(shown.err, "");
  EXPECT_THAT(shown.out, HasSubstr(" at " + server_.address() + "   up 0:0"));
  EXPECT_THAT(shown.out, ContainsRegex("\ndocs +0 +2 +0 B/s"));
  EXPECT_THAT(shown.out, Not(HasSubstr("\x1b")));
}

TEST_F(TopCommandTest, PrintsOneObjectWithJsonAndOnce) {
  const Finished shown =
      Vexact(server_.address(), {"top", "--once", "--json", "--interval", "0.2"});
  EXPECT_EQ(shown.status, 0);
  const nlohmann::json json = nlohmann::json::parse(shown.out);
  EXPECT_GE(json["interval_s"], 0.2);
  EXPECT_EQ(json["collections"][0]["name"], "docs");
  EXPECT_EQ(json["collections"][0]["rows"], 2);
  EXPECT_EQ(json["p99_s"], nullptr) << "nobody asked for anything";
  EXPECT_EQ(json["store"], nullptr);
}

TEST_F(TopCommandTest, PrintsAnObjectEveryIntervalUntilNobodyReads) {
  const Finished shown = vexact::testing::Shell(
      server_.address(), "$VEXACT top --json --interval 0.1 | head -n 3 | grep -c interval_s");
  EXPECT_EQ(shown.out, "3\n");
}

TEST_F(TopCommandTest, SaysWhatIsWrongWithItsInterval) {
  const Finished refused = Vexact(server_.address(), {"top", "--interval", "0"});
  EXPECT_EQ(refused.status, 2);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("--interval"), HasSubstr("0.1")));
}

TEST(TopWithoutServerTest, SaysThatThereIsNone) {
  const Finished refused = Vexact("127.0.0.1:1", {"top", "--once"});
  EXPECT_EQ(refused.status, 3);
  EXPECT_THAT(refused.err, HasSubstr("cannot reach a Vexact server at 127.0.0.1:1"));
}

// The id is printed where the server's log can tell more than the message.
TEST(RequestIdTest, IsPrintedUnderAnErrorThatIsNotTheCallersMistake) {
  ServerProcess server({"--max-message-bytes", "1024"});
  Client client(server.address());
  ASSERT_TRUE(client.CreateCollection({.name = "docs", .dimension = 100}).ok());
  for (uint64_t id = 1; id <= 3; ++id) {
    ASSERT_TRUE(client.Upsert("docs", {{id, std::vector<float>(100, 1)}}).ok());
  }
  const Finished refused = Vexact(server.address(), {"get", "docs", "1", "2", "3"});
  EXPECT_EQ(refused.status, 1);
  EXPECT_THAT(refused.err,
              ContainsRegex("^error: the answer takes [^\n]*\nrequest id: [0-9a-f]+\n$"));
  const std::string id = refused.err.substr(refused.err.rfind(' ') + 1);
  EXPECT_TRUE(server.WaitForLog("request_id=" + id.substr(0, id.size() - 1) + " message="));
  const Finished mistaken = Vexact(server.address(), {"get", "docs", "4"});
  EXPECT_THAT(mistaken.err, Not(HasSubstr("request id")));
}

}  // namespace
}  // namespace vexact::client

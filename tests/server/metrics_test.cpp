// What the server tells about itself: metrics for Prometheus and GetStatistics.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>

#include "tests/server/running_server.h"
#include "tests/server/scrape.h"
#include "tests/support/files.h"

namespace vexact::testing {
namespace {

using ::grpc::StatusCode;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

const std::vector<std::string> kWithMetrics = {"--metrics-listen", "127.0.0.1:0"};

std::string Requests(const std::string& method, const std::string& code) {
  return "vexact_requests_total{code=\"" + code + "\",method=\"" + method + "\"}";
}
std::string OfCollection(const std::string& name, const std::string& collection) {
  return name + "{collection=\"" + collection + "\"}";
}
std::string OfMethod(const std::string& name, const std::string& method) {
  return name + "{method=\"" + method + "\"}";
}

v1::GetStatisticsResponse StatisticsOf(RunningServer& server) {
  PatientContext context;
  v1::GetStatisticsResponse response;
  EXPECT_THAT(server.server->GetStatistics(&context, v1::GetStatisticsRequest(), &response),
              IsOk());
  return response;
}

TEST(MetricsTest, AreInPrometheussFormatWithItsConventions) {
  RunningServer server(kWithMetrics);
  server.Create("docs", 2);
  const Metrics metrics = Scrape(server.process);
  for (const auto& [family, type] : metrics.types) {
    if (family.starts_with("exposer_")) continue;  // prometheus-cpp's own
    EXPECT_THAT(family, ContainsRegex("^(vexact|process)_[a-z_]+$")) << type;
    EXPECT_EQ(family.ends_with("_total"), type == "counter") << family;
  }
  EXPECT_EQ(metrics["vexact_serving"], 1);
  EXPECT_GT(metrics["process_resident_memory_bytes"], 1 << 20);
  EXPECT_GT(metrics["process_open_fds"], 3);
  EXPECT_GT(metrics["process_start_time_seconds"], 1.7e9);
}

TEST(MetricsTest, CountEachCallByMethodAndCode) {
  RunningServer server(kWithMetrics);
  server.Create("docs", 2);
  ASSERT_THAT(server.Upsert(Block("docs", 1, {{1, 0}, {0, 1}, {1, 1}})), IsOk());
  for (int i = 0; i < 5; ++i) {
    ASSERT_THAT(server.Search(MakeSearch("docs", 1, {ByVector({1, 2}), ByVector({2, 1})})), IsOk());
  }
  EXPECT_FALSE(server.Search(MakeSearch("docs", 0, {ByVector({1, 2})})).ok());
  EXPECT_FALSE(server.Search(MakeSearch("none", 1, {ByVector({1, 2})})).ok());
  const Metrics metrics = Scrape(server.process);
  EXPECT_EQ(metrics[Requests("Search/Search", "OK")], 5);
  EXPECT_EQ(metrics[Requests("Search/Search", "INVALID_ARGUMENT")], 1);
  EXPECT_EQ(metrics[Requests("Search/Search", "NOT_FOUND")], 1);
  EXPECT_EQ(metrics[Requests("Points/Upsert", "OK")], 1);
  EXPECT_EQ(metrics[OfMethod("vexact_request_seconds_count", "Search/Search")], 7);
  EXPECT_EQ(metrics[OfMethod("vexact_request_seconds_count", "Points/Upsert")], 1);
  EXPECT_EQ(metrics[OfMethod("vexact_request_seconds_count", "Points/GetPoints")], 0);
}

TEST(MetricsTest, CountWhatSearchesAndWritesDidToEachCollection) {
  RunningServer server(kWithMetrics);
  server.Create("docs", 2);
  server.Create("other", 2);
  ASSERT_THAT(server.Upsert(Block("docs", 1, {{1, 0}, {0, 1}, {1, 1}})), IsOk());
  ASSERT_THAT(server.Upsert(Block("docs", 3, {{2, 1}, {1, 3}})), IsOk());
  v1::DeletePointsRequest remove;
  remove.set_collection("docs");
  *remove.add_ids() = NumberId(1);
  *remove.add_ids() = NumberId(99);
  ASSERT_THAT(server.Delete(remove), IsOk());
  v1::SearchResponse answer;
  ASSERT_THAT(server.Search(MakeSearch("docs", 1, {ByVector({1, 2}), ByVector({2, 1})}), &answer),
              IsOk());
  const Metrics metrics = Scrape(server.process);
  EXPECT_EQ(metrics[OfCollection("vexact_collection_rows", "docs")], 3);
  EXPECT_EQ(metrics[OfCollection("vexact_collection_dead_rows", "docs")], 2);
  EXPECT_EQ(metrics[OfCollection("vexact_collection_queries_total", "docs")], 2);
  EXPECT_EQ(metrics[OfCollection("vexact_collection_rows_compared_total", "docs")], 6);
  EXPECT_EQ(metrics[OfCollection("vexact_collection_rows_rescored_total", "docs")],
            static_cast<double>(answer.rows_rescored()));
  EXPECT_EQ(metrics[OfCollection("vexact_collection_scanned_bytes_total", "docs")],
            static_cast<double>(answer.bytes_read()));
  EXPECT_EQ(metrics[OfCollection("vexact_collection_writes_total", "docs")], 3);
  const std::string written = "vexact_collection_rows_written_total{collection=\"docs\",kind=\"";
  EXPECT_EQ(metrics[written + "added\"}"], 4);
  EXPECT_EQ(metrics[written + "replaced\"}"], 1);
  EXPECT_EQ(metrics[written + "deleted\"}"], 1);
  EXPECT_EQ(metrics[OfCollection("vexact_collection_queries_total", "other")], 0);
  EXPECT_EQ(metrics["vexact_scan_queries_count"], 1);
  EXPECT_EQ(metrics["vexact_scan_queries_sum"], 2);
  EXPECT_EQ(metrics["vexact_scan_queries_bucket{le=\"1\"}"], 0);
  EXPECT_EQ(metrics["vexact_scan_queries_bucket{le=\"2\"}"], 1);
}

TEST(MetricsTest, ForgetACollectionThatIsDropped) {
  RunningServer server(kWithMetrics);
  server.Create("docs", 2);
  ASSERT_THAT(ScrapeText(MetricsAddress(server.process)), HasSubstr("collection=\"docs\""));
  ASSERT_THAT(server.Drop("docs"), IsOk());
  EXPECT_THAT(ScrapeText(MetricsAddress(server.process)), Not(HasSubstr("collection=\"docs\"")));
}

TEST(MetricsTest, CountNoMethodThatAClientMakesUp) {
  RunningServer server(kWithMetrics);
  const grpc::Status status = server.CallRaw("/vexact.v1.Search/Invented", "");
  EXPECT_EQ(status.error_code(), StatusCode::UNIMPLEMENTED);
  EXPECT_THAT(ScrapeText(MetricsAddress(server.process)), Not(HasSubstr("Invented")));
}

TEST(MetricsTest, CountTheRequestsOfAStreamOneByOne) {
  RunningServer server(kWithMetrics);
  server.Create("docs", 1);
  PatientContext context;
  const auto stream = server.points->BulkUpsert(&context);
  v1::BulkUpsertResponse acknowledgement;
  for (uint64_t i = 0; i < 3; ++i) {
    ASSERT_TRUE(stream->Write(Block("docs", i, {{1}})));
    ASSERT_TRUE(stream->Read(&acknowledgement));
  }
  stream->WritesDone();
  ASSERT_THAT(stream->Finish(), IsOk());
  const Metrics metrics = Scrape(server.process);
  EXPECT_EQ(metrics[OfMethod("vexact_request_seconds_count", "Points/BulkUpsert")], 3);
  EXPECT_EQ(metrics[Requests("Points/BulkUpsert", "OK")], 1);
}

TEST(MetricsTest, TellWhatTheStoreWroteAndSynced) {
  const TempDir folder;
  RunningServer server({"--metrics-listen", "127.0.0.1:0", "--data-dir", folder.path() / "data"});
  server.Create("docs", 64);
  const Metrics before = Scrape(server.process);
  std::vector<std::vector<float>> rows(100, std::vector<float>(64, 1));
  for (uint64_t i = 0; i < 4; ++i) {
    ASSERT_THAT(server.Upsert(Block("docs", 100 * i, rows)), IsOk());
  }
  const Metrics after = Scrape(server.process);
  const auto grew = [&](const std::string& series) { return after[series] - before[series]; };
  EXPECT_EQ(grew("vexact_store_commits_total"), 4);
  EXPECT_EQ(grew("vexact_store_sync_seconds_count"), 4);
  EXPECT_GT(grew("vexact_store_sync_seconds_sum"), 0);
  const double sent = 4 * 100 * (64 * sizeof(float) + sizeof(uint64_t));
  EXPECT_EQ(grew("vexact_store_received_bytes_total"), sent);
  EXPECT_GT(grew("vexact_store_written_bytes_total{to=\"log\"}"), sent);
  EXPECT_EQ(after["vexact_store_failing"], 0);
  EXPECT_GT(after["vexact_store_disk_bytes{part=\"tables\"}"], sent);
}

TEST(MetricsTest, OfMemoryAloneHaveNoStore) {
  RunningServer server(kWithMetrics);
  EXPECT_THAT(ScrapeText(MetricsAddress(server.process)), Not(HasSubstr("vexact_store_")));
  EXPECT_FALSE(StatisticsOf(server).has_store());
}

TEST(MetricsTest, AreServedOnlyWhereTheyAreAskedFor) {
  RunningServer server;
  EXPECT_THAT(server.process.log(), Not(HasSubstr("info metrics")));
}

TEST(MetricsTest, RefuseAPortThatIsTaken) {
  const RunningServer other(kWithMetrics);
  const std::string address = MetricsAddress(other.process);
  const Finished finished = vexact::testing::Run(
      {ServerBinary(), "--listen", "127.0.0.1:0", "--metrics-listen", address});
  EXPECT_EQ(finished.status, 1);
  EXPECT_THAT(finished.err, HasSubstr("error: cannot listen on " + address + " for metrics: "));
  EXPECT_THAT(finished.err, HasSubstr("choose another with --metrics-listen\n"));
}

TEST(StatisticsTest, SayWhatTheMetricsSay) {
  RunningServer server(kWithMetrics);
  server.Create("docs", 2);
  ASSERT_THAT(server.Upsert(Block("docs", 1, {{1, 0}, {0, 1}, {1, 1}})), IsOk());
  ASSERT_THAT(server.Search(MakeSearch("docs", 1, {ByVector({1, 2})})), IsOk());
  const v1::GetStatisticsResponse statistics = StatisticsOf(server);
  const Metrics metrics = Scrape(server.process);
  ASSERT_EQ(statistics.collections_size(), 1);
  const v1::CollectionStatistics& docs = statistics.collections(0);
  EXPECT_EQ(docs.name(), "docs");
  EXPECT_EQ(docs.rows(), 3);
  EXPECT_EQ(docs.queries(), 1);
  EXPECT_EQ(docs.rows_added(), 3);
  EXPECT_EQ(metrics["vexact_collection_memory_bytes{collection=\"docs\",part=\"rows\"}"],
            static_cast<double>(docs.memory().rows_bytes()));
  for (const v1::MethodStatistics& method : statistics.methods()) {
    uint64_t observed = 0;
    for (const uint64_t count : method.seconds().counts()) observed += count;
    EXPECT_EQ(method.seconds().counts_size(), method.seconds().bounds_size() + 1);
    if (method.method() == "Server/GetStatistics") continue;  // one more by now
    EXPECT_EQ(metrics[OfMethod("vexact_request_seconds_count", method.method())],
              static_cast<double>(observed))
        << method.method();
  }
  EXPECT_GT(statistics.uptime_us(), 0);
  EXPECT_LT(statistics.uptime_us(), StatisticsOf(server).uptime_us());
}

// The names that a file uses, but for what a histogram adds to its own.
std::set<std::string> NamesIn(const std::filesystem::path& path) {
  std::ifstream file(path);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  static const std::regex name("\\b(vexact|process)_[a-z_]+[a-z]\\b");
  std::set<std::string> names;
  for (std::sregex_iterator at(text.begin(), text.end(), name), end; at != end; ++at) {
    names.insert(std::regex_replace(at->str(), std::regex("_(bucket|sum|count)$"), ""));
  }
  return names;
}

TEST(MetricsTest, AreTheOnesThatTheDashboardAndTheAlertsAndTheManualName) {
  const TempDir folder;
  RunningServer server({"--metrics-listen", "127.0.0.1:0", "--data-dir", folder.path() / "data"});
  server.Create("docs", 2);
  const Metrics metrics = Scrape(server.process);
  const std::filesystem::path root = PROJECT_SOURCE_DIR;
  for (const char* file : {"docker/grafana/dashboards/vexact.json", "docker/prometheus-rules.yml",
                           "docs/operations.md"}) {
    std::set<std::string> names = NamesIn(root / file);
    EXPECT_GT(names.size(), 3) << file;
    for (const std::string& name : names) EXPECT_TRUE(metrics.types.contains(name)) << file << name;
  }
  const std::set<std::string> documented = NamesIn(root / "docs/operations.md");
  for (const auto& [family, type] : metrics.types) {
    if (family.starts_with("exposer_")) continue;
    EXPECT_TRUE(documented.contains(family)) << family << " is not in docs/operations.md";
  }
}

}  // namespace
}  // namespace vexact::testing

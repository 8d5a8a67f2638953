// vexact-bench-server: what the server adds to the engine, and what overload does to it. Runs
// vexactd and the load generator `vexact bench` on this machine, beside the engine in this process;
// prints times and lines "RATIO <name> <value>".
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "benchmarks/data.h"
#include "benchmarks/measure.h"
#include "benchmarks/process.h"
#include "core/collection.h"
#include "tests/support/server_process.h"
#include "vexact/client.h"

namespace vexact::bench {
namespace {

using nlohmann::json;

constexpr char kCollection[] = "sentences";
constexpr size_t kBatch = 64;
constexpr uint32_t kK = 10;
// Between two searches of a client, about: what a call takes besides its search.
constexpr std::chrono::microseconds kPause(250);
// Queries of the requests that overload: refusing one, most of which is receiving it, costs less
// and less against answering it.
constexpr int kOverloadBatches[] = {16, 64};

class ServerBenchmark {
 public:
  ServerBenchmark(DataSet data, std::string queries_file, double seconds)
      : data_(std::move(data)), queries_file_(std::move(queries_file)), seconds_(seconds) {
    LoadEngine();
    LoadServer();
  }

  // In turn, because the machine may be slower from one minute to the next.
  void Compare(int rounds) {
    std::vector<double> engine_one, engine_paused, engine_batch, one, clients;
    for (int round = 0; round < rounds; ++round) {
      engine_one.push_back(Median(EngineSeconds(1)));
      engine_paused.push_back(Median(EngineSeconds(1, kPause)));
      one.push_back(Bench({"--clients", "1"})["search"]["latency_ms"]["p50"].get<double>() / 1e3);
      // Of all, not of the median: the clients' throughput has the slow ones in it as well.
      const std::vector<double> batches = EngineSeconds(kBatch);
      engine_batch.push_back(static_cast<double>(kBatch * batches.size()) /
                             std::accumulate(batches.begin(), batches.end(), 0.0));
      clients.push_back(Bench({"--clients", "64"})["search"]["requests_per_s"].get<double>());
    }
    std::printf(
        "  one query: engine median %.3f ms, %.3f ms after a pause of %.2f ms; one client %.3f "
        "ms\n",
        Median(engine_one) * 1e3, Median(engine_paused) * 1e3,
        std::chrono::duration<double, std::milli>(kPause).count(), Median(one) * 1e3);
    std::printf("  engine, batches of 64: %.0f queries a second; 64 clients of one query: %.0f\n",
                Median(engine_batch), Median(clients));
    PrintRatio("server_adds_ms", (Median(one) - Median(engine_one)) * 1e3);
    PrintRatio("clients64_vs_engine", Median(clients) / Median(engine_batch));
  }

  void Overload() {
    for (const int queries : kOverloadBatches) OverloadBy(queries);
  }

 private:
  void OverloadBy(int queries) {
    const std::string batch = std::to_string(queries);
    const double idle = Bench({"--clients", "1"})["search"]["latency_ms"]["p50"];
    const double peak = Bench({"--clients", "16", "--batch", batch})["search"]["requests_per_s"];
    const uint64_t memory_before = Memory();
    const json load = Bench({"--rate", std::to_string(10 * peak), "--batch", batch});
    const uint64_t memory_after = Memory();
    std::this_thread::sleep_for(std::chrono::seconds(5));
    const double after = Bench({"--clients", "1"})["search"]["latency_ms"]["p50"];
    const double kept = load["search"]["requests_per_s"].get<double>() / peak;
    const json& refused = load["refused"];
    std::printf(
        "  requests of %d queries: peak %.0f a second; offered ten times as many: %.0f answered, "
        "%.0f refused a second\n",
        queries, peak, load["search"]["requests_per_s"].get<double>(),
        refused["requests"].get<double>() / load["seconds"].get<double>());
    std::printf("  refusals: p50 %.1f ms, p99 %.1f ms, longest %.1f ms; answers: p50 %.0f ms\n",
                refused["latency_ms"]["p50"].get<double>(),
                refused["latency_ms"]["p99"].get<double>(),
                refused["latency_ms"]["max"].get<double>(),
                load["search"]["latency_ms"]["p50"].get<double>());
    std::printf(
        "  memory: %.0f MB before, %.0f MB after; one client's median: %.3f ms before, %.3f ms "
        "five seconds after\n",
        static_cast<double>(memory_before) / 1e3, static_cast<double>(memory_after) / 1e3, idle,
        after);
    PrintRatio("overload" + batch + "_throughput_kept", kept);
    PrintRatio("overload" + batch + "_refused_p99_ms", refused["latency_ms"]["p99"]);
    PrintRatio("latency_after_overload" + batch, after / idle);
  }

  void LoadEngine() {
    engine_ =
        std::make_unique<Collection>(kCollection,
                                     CollectionConfig{static_cast<uint32_t>(data_.dimension()),
                                                      Metric::kCosine, Normalization::kNone},
                                     workers_);
    for (const CollectionState::Part& part : data_.state.parts) {
      std::vector<PointView> points;
      for (uint32_t row = 0; row < part.rows; ++row) {
        points.push_back({part.segment->id(row), part.segment->vector(row)});
      }
      Must(engine_->Upsert(points).status());
    }
    Must(engine_->TrainLayout().status());
    Must(engine_->Recode());
  }

  void LoadServer() {
    server_ = std::make_unique<testing::ServerProcess>(std::vector<std::string>{"--in-memory"});
    const client::Client client(server_->address());
    const auto dimension = static_cast<uint32_t>(data_.dimension());
    Must(client.CreateCollection({.name = kCollection, .dimension = dimension}).status());
    client::BulkWriter writer = client.BulkUpsert(kCollection);
    uint64_t id = 0;
    for (const CollectionState::Part& part : data_.state.parts) {
      constexpr uint32_t kBlock = 1'000;
      for (uint32_t begin = 0; begin < part.rows; begin += kBlock) {
        client::PointBlock block;
        for (uint32_t row = begin; row < std::min(part.rows, begin + kBlock); ++row) {
          block.ids.emplace_back(id++);
          const auto vector = part.segment->vector(row);
          block.vectors.insert(block.vectors.end(), vector.begin(), vector.end());
        }
        Must(writer.Write(block));
      }
    }
    Must(writer.Finish().status());
    // As the engine's rows are: under a trained layout.
    if (!server_->WaitForLog("reencoded collection")) {
      throw std::runtime_error("the server has not trained a layout");
    }
  }

  // Of each search of so many queries, with a pause before each.
  std::vector<double> EngineSeconds(size_t batch, std::chrono::microseconds pause = {}) {
    std::vector<double> seconds;
    const double end = Seconds() + seconds_;
    for (size_t first = 0; Seconds() < end; first += batch) {
      std::vector<Query> queries;
      for (size_t i = 0; i < batch; ++i) {
        queries.push_back({.target = std::span(data_.queries[(first + i) % data_.queries.size()])});
      }
      if (pause.count() > 0) std::this_thread::sleep_for(pause);
      const double start = Seconds();
      Must(engine_->Search(queries, {.k = kK}).status());
      seconds.push_back(Seconds() - start);
    }
    return seconds;
  }

  json Bench(std::vector<std::string> options) const {
    const auto folder = std::filesystem::read_symlink("/proc/self/exe").parent_path();
    std::vector<std::string> command = {
        folder / "vexact",  "bench",       kCollection,
        "--json",           "--server",    server_->address(),
        "--queries",        queries_file_, "-k",
        std::to_string(kK), "--duration",  std::to_string(seconds_)};
    command.insert(command.end(), options.begin(), options.end());
    const testing::Finished finished = testing::Run(command, {}, std::chrono::minutes(5));
    if (finished.status != 0) throw std::runtime_error(finished.err);
    return json::parse(finished.out);
  }

  // Resident, in kB.
  uint64_t Memory() const { return ProcessNumber(server_->pid(), "status", "VmRSS"); }

  const DataSet data_;
  const std::string queries_file_;
  const double seconds_;
  Workers workers_{static_cast<int>(std::max(1u, std::thread::hardware_concurrency()))};
  std::unique_ptr<Collection> engine_;
  std::unique_ptr<testing::ServerProcess> server_;
};

int Run(int argc, char** argv) {
  CLI::App app{
      "Measures what the server adds to the engine, and what overload does to it: a vexactd of "
      "its\n"
      "own and `vexact bench`, which share this machine's processors with it.\n"
      "Prints times and lines \"RATIO <name> <value>\".\n\n"
      "Examples:\n"
      "  vexact-bench-server                  a minute and a half\n"
      "  vexact-bench-server --rounds 1       a first look"};
  std::string data_dir = VEXACT_DEFAULT_DATA_DIR;
  int rounds = 5;
  double seconds = 3;
  app.add_option("--data-dir", data_dir, "folder of sentences.f16.npy and queries.f32.npy")
      ->capture_default_str();
  app.add_option("--rounds", rounds, "how often each contender's turn comes")
      ->capture_default_str();
  app.add_option("--seconds", seconds, "of a turn")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  auto data = Sentences(data_dir);
  if (!data) {
    std::printf("skipped: no sentences.f16.npy in %s\n", data_dir.c_str());
    return 0;
  }
  ServerBenchmark benchmark(*std::move(data), data_dir + "/queries.f32.npy", seconds);
  std::printf("server\n");
  benchmark.Compare(rounds);
  std::printf("overload\n");
  benchmark.Overload();
  return 0;
}

}  // namespace
}  // namespace vexact::bench

int main(int argc, char** argv) { return vexact::bench::RunMain(vexact::bench::Run, argc, argv); }

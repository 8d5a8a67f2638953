// bench.
#include <sched.h>

#include <algorithm>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/bench/load.h"
#include "client/bench/report.h"
#include "client/bench/workload.h"
#include "client/command/command.h"
#include "client/command/format.h"
#include "client/command/interruption.h"
#include "client/command/progress.h"

namespace vexact::client {
namespace {

// In flight at most in the open loop, unless told otherwise.
constexpr uint32_t kOpenLoopClients = 4096;

struct CommandOptions {
  std::string collection;
  std::string queries;
  uint32_t k = 10;
  std::string metric;
  std::string engine;
  uint32_t batch = 1;
  uint32_t clients = 0;      // 0: the default of the loop
  uint32_t connections = 0;  // 0: one for each client, up to 4
  double rate = 0;
  std::string arrivals = "poisson";
  double duration_s = 10;
  double warmup_s = 1;
  double upserts_percent = 0;
  std::string golden;
};

BenchSetting SettingOf(const Globals& globals, const CommandOptions& options) {
  constexpr uint32_t kConnections = 4;
  BenchSetting setting;
  setting.workload = {.collection = options.collection,
                      .search = {.k = options.k,
                                 .metric = ParseMetric(options.metric),
                                 .engine = ParseEngine(options.engine)},
                      .batch = options.batch,
                      .upsert_share = options.upserts_percent / 100};
  LoadOptions& load = setting.load;
  load.clients = options.clients > 0 ? options.clients : options.rate > 0 ? kOpenLoopClients : 1;
  load.rate = options.rate;
  load.arrivals = options.arrivals == "even" ? Arrivals::kEven : Arrivals::kPoisson;
  load.warmup = absl::Seconds(options.warmup_s);
  load.duration = absl::Seconds(options.duration_s);
  load.timeout = globals.call().timeout;
  setting.connections = options.connections > 0 ? options.connections : kConnections;
  setting.connections = std::min(setting.connections, load.clients);
  return setting;
}

// The vectors and their golden answers; BadInput has been called where there is an exit status.
struct Input {
  BenchVectors vectors;
  std::optional<Golden> golden;
};

absl::StatusOr<Input> ReadInput(const CommandOptions& options) {
  Input input;
  if (!options.queries.empty()) {
    absl::StatusOr<BenchVectors> vectors = ReadVectors(options.queries);
    if (!vectors.ok()) return vectors.status();
    input.vectors = *std::move(vectors);
    if (input.vectors.empty()) {
      return absl::InvalidArgumentError(options.queries + " holds no queries");
    }
  }
  if (!options.golden.empty()) {
    absl::StatusOr<Golden> golden = Golden::Read(options.golden, options.k);
    if (!golden.ok()) return golden.status();
    input.golden = *std::move(golden);
    // The first ones have answers; the others are left out.
    if (input.vectors.size() > input.golden->queries()) {
      input.vectors.resize(input.golden->queries());
    }
  }
  return input;
}

absl::Status CheckOptions(const CommandOptions& options) {
  if (!options.golden.empty() && options.queries.empty()) {
    return absl::InvalidArgumentError("--golden goes with --queries, the file that it answers");
  }
  if (!options.golden.empty() && options.upserts_percent > 0) {
    return absl::InvalidArgumentError(
        "--golden does not go with --upserts: rows that are added change the true answers");
  }
  return absl::OkStatus();
}

// One search beforehand, so that what every request would be refused for is told at once.
absl::Status TrySearch(const Client& client, const BenchSetting& setting,
                       const BenchVectors& vectors, const CallOptions& call) {
  if (setting.workload.upsert_share >= 1) return absl::OkStatus();
  return client
      .SearchBatch(setting.collection.name, QueriesOf(vectors, 0, setting.workload.batch),
                   setting.workload.search, call)
      .status();
}

// Where load and server share a machine, what the load takes is missing there. Requests that come
// whatever the answers do, be they far too many, should not also push the server's threads from
// their processors: one that is due while all of them compute waits for the next turn, some
// milliseconds. (It counts from when it was due.) To be called before any thread is made.
void TakeTurns() {
  const sched_param parameter{};
  (void)sched_setscheduler(0, SCHED_BATCH, &parameter);
}

std::vector<std::unique_ptr<Connection>> Connect(const Globals& globals, uint32_t count) {
  std::vector<std::unique_ptr<Connection>> connections;
  for (uint32_t i = 0; i < count; ++i) {
    // Every request is measured as it is, and gRPC keeps no copy of it.
    connections.push_back(
        std::make_unique<Connection>(globals.server, globals.connect, Retries::kOff));
    // All at once and beforehand. One that cannot be made tells so with its first request.
    connections.back()->channel()->GetState(/*try_to_connect=*/true);
  }
  for (const auto& connection : connections) {
    connection->channel()->WaitForConnected(absl::ToChronoTime(absl::Now() + absl::Seconds(5)));
  }
  return connections;
}

int Measure(const Globals& globals, BenchSetting& setting, Input input) {
  const Client client = globals.client();
  const Workload workload(setting.workload, input.vectors, std::move(input.golden));
  const auto connections = Connect(globals, setting.connections);
  Load load(setting.load, workload, connections);
  Progress progress;
  load.Run([&](absl::Duration time) {
    progress.Show([&] { return RenderBenchProgress(setting, load.measured(), time); });
  });
  progress.Clear();
  setting.interrupted = Interrupted();
  const absl::Status removed = workload.RemoveRows(client);

  const Measured& measured = load.measured();
  if (globals.json) {
    Print(BenchJson(setting, measured));
  } else {
    std::cout << RenderBench(setting, measured);
  }
  if (!removed.ok()) {
    return Fail(removed,
                "Rows with ids vexact-bench:... may be left; the next bench with "
                "--upserts deletes them.");
  }
  if (setting.interrupted) return kInterrupted;
  return Answered(measured) == 0 || Recall(measured).value_or(1) < 1 ? kRefused : kDone;
}

int RunBench(const Globals& globals, const CommandOptions& options) {
  if (const absl::Status status = CheckOptions(options); !status.ok()) {
    return BadInput(std::string(status.message()));
  }
  absl::StatusOr<Input> input = ReadInput(options);
  if (!input.ok()) return BadInput(std::string(input.status().message()));

  const InterruptionGuard guard;
  BenchSetting setting = SettingOf(globals, options);
  if (options.rate > 0) TakeTurns();
  const Client client = globals.client();
  const auto description = client.GetCollection(options.collection, globals.call());
  if (!description.ok()) return Fail(description.status());
  setting.collection = description->collection;
  if (options.queries.empty()) {
    absl::StatusOr<BenchVectors> vectors =
        SampleVectors(client, setting.collection, globals.call());
    if (Interrupted()) return kInterrupted;
    if (!vectors.ok()) return Fail(vectors.status());
    input->vectors = *std::move(vectors);
  }
  const absl::Status tried = TrySearch(client, setting, input->vectors, globals.call());
  if (!tried.ok()) return Fail(tried);
  return Measure(globals, setting, *std::move(input));
}

}  // namespace

void AddBenchCommand(Program& program) {
  auto options = std::make_shared<CommandOptions>();
  CLI::App* bench = AddCommand<CommandOptions>(
      program, "bench", "Put a load on a server and measure its answers",
      "  vexact bench docs --clients 64\n"
      "  vexact bench docs --rate 2000 --duration 60 --queries queries.npy --json\n"
      "  vexact bench docs --clients 16 --upserts 10\n"
      "  vexact bench docs --queries queries.npy --golden queries.top100.ids.npy",
      options, RunBench);
  AddCollectionArgument(bench, &options->collection);
  bench
      ->add_option("--queries", options->queries,
                   "The rows of a .npy file (default: random rows of the collection)")
      ->type_name("FILE");
  bench->add_option("-k", options->k, "Neighbours per query, 1 to 10000")
      ->type_name("N")
      ->capture_default_str();
  AddMetricOption(bench, &options->metric, "Instead of the collection's own");
  bench->add_option("--engine", options->engine, "Instead of the server's default")
      ->check(OneOf({"scan", "reference", "faiss"}))
      ->type_name("scan|reference|faiss");
  bench->add_option("--batch", options->batch, "Queries of a search, rows of an upsert, 1 to 4096")
      ->check(CLI::Range(1, 4096))
      ->type_name("N")
      ->capture_default_str();
  bench
      ->add_option("--clients", options->clients,
                   "Requests in flight, 1 to 65536: always so many (default: 1); with --rate at "
                   "most (default: 4096)")
      ->check(CLI::Range(1, 65536))
      ->type_name("N");
  bench
      ->add_option("--connections", options->connections,
                   "Connections that share them, 1 to 1024 (default: one a client, at most 4)")
      ->check(CLI::Range(1, 1024))
      ->type_name("N");
  bench
      ->add_option("--rate", options->rate,
                   "Requests a second, whatever the answers do (default: each client sends the "
                   "next when it has its answer)")
      ->check(CLI::Range(0.001, 10e6))
      ->type_name("R");
  bench->add_option("--arrivals", options->arrivals, "With --rate: how requests are spread in time")
      ->check(OneOf({"poisson", "even"}))
      ->type_name("poisson|even")
      ->capture_default_str();
  bench->add_option("--duration", options->duration_s, "Measure for so long")
      ->check(CLI::Range(0.1, 1e6))
      ->type_name("SECONDS")
      ->capture_default_str();
  bench->add_option("--warmup", options->warmup_s, "Load for so long before")
      ->check(CLI::Range(0.0, 1e6))
      ->type_name("SECONDS")
      ->capture_default_str();
  bench
      ->add_option("--upserts", options->upserts_percent,
                   "So many of the requests are upserts, of rows that are deleted in the end")
      ->check(CLI::Range(0.0, 100.0))
      ->type_name("PERCENT");
  bench
      ->add_option("--golden", options->golden,
                   "The true ids or scores for --queries, a .npy; exit status 1 unless all "
                   "answers are right")
      ->type_name("FILE");
}

}  // namespace vexact::client

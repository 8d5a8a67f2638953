#include <CLI/CLI.hpp>
#include <algorithm>
#include <thread>

#include "benchmarks/engine_pipe.h"
#include "benchmarks/growth_benchmark.h"
#include "benchmarks/scan_benchmark.h"

int main(int argc, char** argv) {
  CLI::App app{
      "Measures the engine. Prints the times of each case and lines \"RATIO <name> <value>\".\n"
      "Run it on an otherwise idle machine; the large cases need 9 GB of memory.\n\n"
      "Examples:\n"
      "  vexact-bench scan                    all cases\n"
      "  vexact-bench scan --only small       one of: small worst sentences concurrent clustered "
      "isotropic\n"
      "  vexact-bench growth                  how the time grows with rows, k, batch, dimensions\n"
      "  scripts/bench                        against other engines, through vexact-bench engine"};
  app.require_subcommand(1);
  vexact::bench::ScanOptions options{.only = "", .rounds = 20, .data_dir = VEXACT_DEFAULT_DATA_DIR};
  CLI::App* scan =
      app.add_subcommand("scan", "the exact engine against a float32 scan at the memory's speed");
  scan->add_option("--only", options.only, "cases whose name contains this");
  scan->add_option("--rounds", options.rounds, "counted rounds of each measurement")
      ->capture_default_str();
  scan->add_option("--data", options.data_dir, "folder of sentences.f16.npy and queries.f32.npy")
      ->capture_default_str();
  CLI::App* growth = app.add_subcommand(
      "growth", "how the time of a search grows with rows, k, batch and dimensions");
  growth->add_option("--rounds", options.rounds, "counted searches of each line")
      ->capture_default_str();
  growth->add_option("--data", options.data_dir, "folder of sentences.f16.npy and queries.f32.npy")
      ->capture_default_str();
  constexpr int kMaxThreads = 1'024;
  int threads = std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, kMaxThreads);
  CLI::App* engine = app.add_subcommand(
      "engine",
      "the engine for a program that drives it through standard input and output "
      "(benchmarks/engine_pipe.h)");
  engine->add_option("--threads", threads, "threads of a search")
      ->check(CLI::Range(1, kMaxThreads))
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  if (engine->parsed()) return vexact::bench::RunEnginePipe(threads);
  if (growth->parsed()) {
    return vexact::bench::RunGrowthBenchmark(options.data_dir, options.rounds);
  }
  return vexact::bench::RunScanBenchmark(options);
}

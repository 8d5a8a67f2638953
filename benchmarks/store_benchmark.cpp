// vexact-bench-store: what durability costs. Runs vexactd on a folder of its own and measures it
// through gRPC; prints times and lines "RATIO <name> <value>".
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "benchmarks/data.h"
#include "benchmarks/measure.h"
#include "benchmarks/process.h"
#include "tests/support/server_process.h"
#include "vexact/client.h"

namespace vexact::bench {
namespace {

using client::PointBlock;

constexpr size_t kBlockRows = 1'000;
constexpr uint32_t kDimension = 384;

// Rows one after another.
std::vector<float> Rows(const std::string& data_dir) {
  const auto sentences = Sentences(data_dir);
  std::vector<float> rows;
  if (sentences) {
    for (const CollectionState::Part& part : sentences->state.parts) {
      const float* const first = part.segment->vector(0).data();
      rows.insert(rows.end(), first, first + size_t{part.rows} * kDimension);
    }
    return rows;
  }
  std::mt19937_64 random(1);
  std::normal_distribution<float> normal;
  rows.resize(size_t{150'000} * kDimension);
  for (float& x : rows) x = normal(random);
  return rows;
}

class StoreBenchmark {
 public:
  StoreBenchmark(std::filesystem::path folder, std::vector<float> rows)
      : folder_(std::move(folder)), rows_(std::move(rows)), n_(rows_.size() / kDimension) {
    std::filesystem::create_directories(folder_);
    Start();
  }
  ~StoreBenchmark() {
    server_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  // Against the same bytes written to the same disk by dd, and synced: in turns, because a disk's
  // speed changes from one minute to the next. Nothing else is under way when either begins.
  void BulkLoad(int rounds) {
    std::printf("\nbulk load: %zu x %u float32, %.0f MB\n", n_, kDimension, Megabytes());
    const std::string source = folder_ / "rows", copy = folder_ / "dd";
    std::ofstream(source, std::ios::binary)
        .write(reinterpret_cast<const char*>(rows_.data()),
               static_cast<std::streamsize>(rows_.size() * sizeof(float)));
    std::vector<double> dd, load, server_cpu, client_cpu;
    uint64_t written = 0;
    for (int round = 0; round < rounds; ++round) {
      RemoveCollection();
      std::filesystem::remove(copy);
      WaitUntilQuiet();
      dd.push_back(CopyByDd(source, copy));
      const uint64_t before = ProcessNumber(server_->pid(), "io", "write_bytes");
      const double server_before = ProcessorSeconds(server_->pid());
      const double client_before = ProcessorSeconds(getpid());
      const double start = Seconds();
      Load("bulk", n_, 0);
      load.push_back(Seconds() - start);
      server_cpu.push_back(ProcessorSeconds(server_->pid()) - server_before);
      client_cpu.push_back(ProcessorSeconds(getpid()) - client_before);
      std::printf(
          "  dd %4.0f ms, vexact %4.0f ms: %.2f    processor: server %.2f s, client %.2f s\n",
          dd.back() * 1e3, load.back() * 1e3, dd.back() / load.back(), server_cpu.back(),
          client_cpu.back());
      std::fflush(stdout);
      if (round + 1 == rounds) WaitUntilQuiet();
      written = ProcessNumber(server_->pid(), "io", "write_bytes") - before;
    }
    std::filesystem::remove(source);
    std::filesystem::remove(copy);
    PrintTimes("dd", dd);
    PrintTimes("vexact", load);
    std::printf("  vexact: %.0f rows/s, %.0f MB/s, blocks of %zu rows, all synced\n",
                static_cast<double>(n_) / Median(load), Megabytes() / Median(load), kBlockRows);
    std::printf("  processor time: server %.2f s, client %.2f s\n", Median(server_cpu),
                Median(client_cpu));
    PrintRatio("bulk_load_vs_dd", Median(dd) / Median(load));
    PrintRatio("bulk_write_amplification",
               static_cast<double>(written) / static_cast<double>(rows_.size() * sizeof(float)));
  }

  // Upserts of one row each.
  void SingleRows() {
    std::printf("\nupserts of one row\n");
    Must(client_->CreateCollection({.name = "bulk", .dimension = kDimension}));
    const double one = Upserts(1);
    const client::Storage before = Must(client_->GetInfo()).storage;
    const double sixteen = Upserts(16);
    const client::Storage after = Must(client_->GetInfo()).storage;
    std::printf("  1 client %.0f a second, 16 clients %.0f a second\n", one, sixteen);
    PrintRatio("upserts_16_clients_vs_1", sixteen / one);
    PrintRatio("syncs_per_acknowledgement",
               static_cast<double>(after.syncs - before.syncs) / (sixteen * kSecondsOfUpserts));
  }

  // Start until it serves, for so many rows, with the files in the page cache.
  void Restart(size_t rows) {
    RemoveCollection();
    Load("bulk", rows, 0);
    WaitUntilQuiet();
    const std::vector<float> query(rows_.begin(), rows_.begin() + kDimension);
    const auto first = Must(client_->Search("bulk", query, {.k = 10}));
    const uint64_t memory_before = ProcessNumber(server_->pid(), "status", "VmRSS");
    client_.reset();
    server_.reset();
    const double start = Seconds();
    Start();
    const double seconds = Seconds() - start;
    const auto again = Must(client_->Search("bulk", query, {.k = 10}));
    const double searched = Seconds() - start - seconds;
    const uint64_t memory_after = ProcessNumber(server_->pid(), "status", "VmRSS");
    const bool same =
        std::equal(first.begin(), first.end(), again.begin(), again.end(),
                   [](const auto& a, const auto& b) { return a.id == b.id && a.score == b.score; });
    std::printf("%10zu %10.2f %14.1f %14.0f %14.0f  %s\n", rows, seconds, searched * 1e3,
                static_cast<double>(memory_before) / 1e3, static_cast<double>(memory_after) / 1e3,
                same ? "the same answer" : "ANOTHER ANSWER");
    std::fflush(stdout);
    if (!same) throw std::runtime_error("the first search after the start was wrong");
  }

 private:
  static constexpr double kSecondsOfUpserts = 5;

  void Start() {
    server_ = std::make_unique<testing::ServerProcess>(
        std::vector<std::string>{"--data-dir", folder_ / "data"});
    client_ = std::make_unique<client::Client>(server_->address());
  }

  double Megabytes() const { return static_cast<double>(rows_.size() * sizeof(float)) / 1e6; }

  // Seconds of writing and syncing the file's bytes.
  static double CopyByDd(const std::string& source, const std::string& target) {
    const double start = Seconds();
    const auto finished = testing::Run(
        {"dd", "if=" + source, "of=" + target, "bs=1M", "conv=fsync"}, {}, std::chrono::minutes(5));
    const double seconds = Seconds() - start;
    if (finished.status != 0) throw std::runtime_error(finished.err);
    return seconds;
  }

  void RemoveCollection() const {
    if (Must(client_->ListCollections()).collections.empty()) return;
    Must(client_->DeleteCollection("bulk"));
  }

  void Load(const std::string& name, size_t rows, uint64_t first_id) {
    Must(client_->CreateCollection({.name = name, .dimension = kDimension}));
    client::BulkWriter writer = client_->BulkUpsert(name);
    for (size_t begin = 0; begin < rows; begin += kBlockRows) {
      PointBlock block;
      const size_t end = std::min(rows, begin + kBlockRows);
      block.ids.reserve(end - begin);
      block.vectors.reserve((end - begin) * kDimension);
      for (size_t i = begin; i < end; ++i) {
        block.ids.emplace_back(uint64_t{first_id + i});
        const float* const row = rows_.data() + i % n_ * kDimension;
        block.vectors.insert(block.vectors.end(), row, row + kDimension);
      }
      if (!writer.Write(block).ok()) break;
    }
    if (Must(writer.Finish()).rows != rows) throw std::runtime_error("rows are missing");
  }

  // Until nothing is written any more: flushed, re-encoded, codes saved, what was removed given
  // back.
  void WaitUntilQuiet() const {
    sync();
    uint64_t last = 0;
    for (int quiet = 0; quiet < 5;) {
      std::this_thread::sleep_for(std::chrono::seconds(1));
      const uint64_t now = ProcessNumber(server_->pid(), "io", "write_bytes");
      quiet = now == last ? quiet + 1 : 0;
      last = now;
    }
  }

  // A second's acknowledgements of `clients` that upsert as fast as they are answered.
  double Upserts(int clients) const {
    std::atomic<uint64_t> acknowledged = 0;
    std::atomic<bool> failed = false;
    const double end = Seconds() + kSecondsOfUpserts;
    {
      std::vector<std::jthread> threads;
      for (int c = 0; c < clients; ++c) {
        threads.emplace_back([&, c] {
          const client::Client own(client_->address());
          for (size_t i = 0; Seconds() < end && !failed; ++i) {
            const float* const row = rows_.data() + (i * 16 + c) % n_ * kDimension;
            const auto id = uint64_t{1} << 40 | uint64_t(c) << 32 | i;
            if (own.Upsert("bulk", {{id, std::vector<float>(row, row + kDimension)}}).ok()) {
              ++acknowledged;
            } else {
              failed = true;
            }
          }
        });
      }
    }
    if (failed) throw std::runtime_error("an upsert failed");
    return static_cast<double>(acknowledged) / kSecondsOfUpserts;
  }

  const std::filesystem::path folder_;
  const std::vector<float> rows_;
  const size_t n_;
  std::unique_ptr<testing::ServerProcess> server_;
  std::unique_ptr<client::Client> client_;
};

int Run(int argc, char** argv) {
  CLI::App app{
      "Measures what durability costs: a vexactd of its own on a new folder, through gRPC.\n"
      "Prints times and lines \"RATIO <name> <value>\". Needs 8 GB of disk and of memory.\n\n"
      "Examples:\n"
      "  vexact-bench-store --dir /mnt/disk     the disk to measure\n"
      "  vexact-bench-store bulk                the bulk load alone"};
  std::string parent = ".";
  std::string data_dir = VEXACT_DEFAULT_DATA_DIR;
  size_t most = 1'000'000;
  app.add_option("--dir", parent, "folder on the disk to measure; what is written is removed")
      ->capture_default_str();
  app.add_option("--data", data_dir, "folder of sentences.f16.npy")->capture_default_str();
  app.add_option("--rows", most, "most rows of a restart")->capture_default_str();
  std::vector<std::string> parts = {"bulk", "upserts", "restart"};
  int rounds = 5;
  app.add_option("--rounds", rounds, "bulk loads, each beside a dd")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("PART", parts, "bulk, upserts or restart; all when none is named")
      ->check(CLI::IsMember({"bulk", "upserts", "restart"}));
  CLI11_PARSE(app, argc, argv);
  StoreBenchmark benchmark(
      std::filesystem::path(parent) / ("vexact-bench-store." + std::to_string(getpid())),
      Rows(data_dir));
  const auto wanted = [&](const char* part) { return std::ranges::count(parts, part) > 0; };
  if (wanted("bulk")) benchmark.BulkLoad(rounds);
  if (wanted("upserts")) benchmark.SingleRows();
  if (!wanted("restart")) return 0;
  std::printf("\nrestart\n%10s %10s %14s %14s %14s\n", "rows", "serving s", "first search ms",
              "MB before", "MB after");
  for (size_t rows = most / 8; rows <= most; rows *= 2) benchmark.Restart(rows);
  return 0;
}

}  // namespace
}  // namespace vexact::bench

int main(int argc, char** argv) { return vexact::bench::RunMain(vexact::bench::Run, argc, argv); }

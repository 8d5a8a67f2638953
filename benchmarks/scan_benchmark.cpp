#include "benchmarks/scan_benchmark.h"

#include <faiss/IndexFlat.h>
#include <omp.h>
#include <sys/resource.h>

#include <atomic>
#include <cstdio>
#include <functional>
#include <memory>
#include <thread>

#include "benchmarks/data.h"
#include "benchmarks/fp32_scan.h"
#include "benchmarks/measure.h"
#include "core/collection.h"
#include "core/reference_score.h"
#include "core/scan.h"

namespace vexact::bench {
namespace {

constexpr int kThreads = 2;

EngineQuery AsQuery(const std::vector<float>& vector) { return {vector, Dot(vector, vector), {}}; }

class Benchmark {
 public:
  explicit Benchmark(const ScanOptions& options) : options_(options) {}

  int Run() {
    Case("small", [&] { Single("small", Isotropic(100'000, 128, 50), 5); });
    Case("worst", [&] { Single("worst", AllEqual(300'000, 768, 50), 10); });
    Case("sentences", [&] { SentencesCase(); });
    Case("concurrent", [&] { ConcurrentUpserts(); });
    Case("clustered", [&] { Single("clustered", Clustered(1'000'000, 768, 50), 10); });
    Case("isotropic", [&] { IsotropicCase(); });
    return wrong_ == 0 ? 0 : 1;
  }

 private:
  void Case(const std::string& name, const std::function<void()>& run) {
    if (name.find(options_.only) == std::string::npos) return;
    std::printf("%s\n", name.c_str());
    std::fflush(stdout);
    run();
  }

  // One query at a time, two threads, against the yardstick; answers checked against the reference
  // engine.
  void Single(const std::string& name, const DataSet& data, size_t k) {
    Check(data, k);
    const auto scan = MakeScanEngine(workers_);
    const Contender contenders[] = {ScanContender("scan", *scan, data, k),
                                    Fp32Contender(data, workers_, k)};
    const auto seconds = Interleave(contenders, options_.rounds);
    Print(contenders, seconds);
    const double raw_bytes =
        static_cast<double>(data.state.live_rows * data.dimension() * sizeof(float));
    std::printf("  fp32_scan reads %.1f GB/s, scan %.1f GB/s of codes\n",
                raw_bytes / Median(seconds[1]) / 1e9, raw_bytes / 4 / Median(seconds[0]) / 1e9);
    PrintRatio(name + "_vs_fp32_scan", Median(seconds[1]) / Median(seconds[0]));
  }

  void IsotropicCase() {
    const DataSet data = Isotropic(1'000'000, 768, 50);
    Single("isotropic", data, 10);
    Threads(data);
    InstructionSets(data);
    Growth(data);
    Faiss(data);
  }

  void Threads(const DataSet& data) {
    std::vector<Contender> contenders;
    std::vector<std::unique_ptr<Workers>> workers;
    std::vector<std::unique_ptr<Engine>> engines;
    for (int threads = 1; threads <= kThreads; ++threads) {
      workers.push_back(std::make_unique<Workers>(threads));
      engines.push_back(MakeScanEngine(*workers.back()));
      const std::string label = std::to_string(threads) + (threads == 1 ? " thread" : " threads");
      contenders.push_back(ScanContender("scan, " + label, *engines.back(), data, 10));
      contenders.push_back(Fp32Contender(data, *workers.back(), 10, "fp32_scan, " + label));
    }
    Print(contenders, Interleave(contenders, options_.rounds));
  }

  void InstructionSets(const DataSet& data) {
    std::vector<Contender> contenders;
    std::vector<std::unique_ptr<Engine>> engines;
    for (const Kernel* kernel : RunnableKernels()) {
      engines.push_back(MakeScanEngine(workers_, {.kernel = kernel}));
      contenders.push_back(
          ScanContender("scan, " + std::string(kernel->isa), *engines.back(), data, 10));
    }
    contenders.push_back(Fp32Contender(data, workers_, 10));
    const auto seconds = Interleave(contenders, options_.rounds);
    Print(contenders, seconds);
    for (size_t i = 0; i < engines.size(); ++i) {
      PrintRatio("isotropic_" + std::string(RunnableKernels()[i]->isa) + "_vs_fp32_scan",
                 Median(seconds.back()) / Median(seconds[i]));
    }
  }

  // Time against the number of rows: nanoseconds per row should settle once the start of a search
  // no longer counts.
  void Growth(const DataSet& data) {
    const auto scan = MakeScanEngine(workers_);
    std::vector<CollectionState> states;
    std::vector<Contender> contenders;
    for (const uint64_t rows : {10'000, 30'000, 100'000, 300'000, 1'000'000}) {
      states.push_back(FirstRows(data.state, rows));
    }
    for (const CollectionState& state : states) {
      contenders.push_back(
          {"scan, " + std::to_string(state.live_rows) + " rows", [&](size_t round) {
             const EngineQuery query = AsQuery(data.queries[round % data.queries.size()]);
             (void)scan->Search(state, Metric::kInnerProduct, {&query, 1}, 10, {});
           }});
    }
    const auto seconds = Interleave(contenders, options_.rounds);
    Print(contenders, seconds);
    for (size_t i = 0; i < states.size(); ++i) {
      std::printf("  %8zu rows: %6.2f ns/row\n", static_cast<size_t>(states[i].live_rows),
                  Median(seconds[i]) * 1e9 / static_cast<double>(states[i].live_rows));
    }
  }

  // For information: the distribution's FAISS, one query on one thread and a batch on all.
  void Faiss(const DataSet& data) {
    omp_set_num_threads(kThreads);
    constexpr uint64_t kRows = 300'000;  // its copy of the rows is float32 again
    const CollectionState state = FirstRows(data.state, kRows);
    faiss::IndexFlatIP index(static_cast<int64_t>(data.dimension()));
    for (const CollectionState::Part& part : state.parts)
      index.add(part.rows, part.segment->vector(0).data());
    const auto scan = MakeScanEngine(workers_);
    const Contender contenders[] = {
        {"scan, 300,000 rows",
         [&](size_t round) {
           const EngineQuery query = AsQuery(data.queries[round % data.queries.size()]);
           (void)scan->Search(state, Metric::kInnerProduct, {&query, 1}, 10, {});
         }},
        {"FAISS " + std::to_string(FAISS_VERSION_MAJOR) + "." +
             std::to_string(FAISS_VERSION_MINOR) + "." + std::to_string(FAISS_VERSION_PATCH) +
             " IndexFlatIP, 300,000",
         [&](size_t round) {
           float scores[10];
           faiss::Index::idx_t labels[10];
           index.search(1, data.queries[round % data.queries.size()].data(), 10, scores, labels);
         }}};
    Print(contenders, Interleave(contenders, options_.rounds));
  }

  void SentencesCase() {
    const auto data = Sentences(options_.data_dir);
    if (!data) {
      std::printf("  skipped: no sentences.f16.npy in %s\n", options_.data_dir.c_str());
      return;
    }
    Single("sentences_k10", *data, 10);
    Single("sentences_k1000", *data, 1'000);
    Single("sentences_k10000", *data, 10'000);
  }

  // The slowest percent of searches while another thread writes 20,000 rows/s into the same
  // collection, against the same without.
  void ConcurrentUpserts() {
    constexpr uint32_t kDimension = 128;
    constexpr uint64_t kRows = 200'000;
    constexpr size_t kRowsPerWrite = 200;
    constexpr double kWritesPerSecond = 100;
    constexpr size_t kSearches = 2'000;
    const DataSet data = Isotropic(kRows, kDimension, 50);
    Collection collection("bench", {.dimension = kDimension, .metric = Metric::kInnerProduct},
                          workers_);
    std::vector<PointView> points;
    for (const CollectionState::Part& part : data.state.parts) {
      points.clear();
      for (uint32_t row = 0; row < part.rows; ++row)
        points.push_back({part.segment->id(row), part.segment->vector(row)});
      if (!collection.Upsert(points).ok()) std::abort();
    }
    const auto search = [&] {
      std::vector<double> seconds;
      for (size_t i = 0; i < kSearches; ++i) {
        const Query query{.target = std::span<const float>(data.queries[i % data.queries.size()])};
        const double start = Seconds();
        if (!collection.Search({&query, 1}, {.k = 10}).ok()) std::abort();
        seconds.push_back(Seconds() - start);
      }
      return seconds;
    };
    const auto write = [&](std::stop_token stop) {
      const double start = Seconds();
      std::vector<PointView> some(kRowsPerWrite);
      for (uint64_t n = 0; !stop.stop_requested(); ++n) {
        for (size_t i = 0; i < kRowsPerWrite; ++i) {
          // New ids, then replacements of them: the collection grows a little, and compaction runs.
          some[i] = {uint64_t{kRows + (n * kRowsPerWrite + i) % 100'000}, points[i].vector};
        }
        if (!collection.Upsert(some).ok()) std::abort();
        written_ += kRowsPerWrite;
        const double next = start + static_cast<double>(n + 1) / kWritesPerSecond;
        while (Seconds() < next && !stop.stop_requested())
          std::this_thread::sleep_for(std::chrono::microseconds(200));
      }
    };
    (void)search();  // warm-up
    std::vector<double> quiet, busy;
    double busy_seconds = 0;
    for (int round = 0; round < 3; ++round) {
      const auto calm = search();
      quiet.insert(quiet.end(), calm.begin(), calm.end());
      std::jthread writer(write);
      const double start = Seconds();
      const auto loaded = search();
      busy_seconds += Seconds() - start;
      busy.insert(busy.end(), loaded.begin(), loaded.end());
    }
    PrintTimes("search, quiet", quiet);
    PrintTimes("search, 20,000 rows/s written", busy);
    std::printf("  written: %.0f rows/s\n", static_cast<double>(written_.load()) / busy_seconds);
    PrintRatio("p99_with_upserts_vs_quiet", Quantile(busy, 0.99) / Quantile(quiet, 0.99));
  }

  Contender ScanContender(const std::string& name, Engine& engine, const DataSet& data, size_t k) {
    return {name, [&engine, &data, k](size_t round) {
              const EngineQuery query = AsQuery(data.queries[round % data.queries.size()]);
              (void)engine.Search(data.state, Metric::kInnerProduct, {&query, 1}, k, {});
            }};
  }

  Contender Fp32Contender(const DataSet& data, Workers& workers, size_t k,
                          const std::string& name = "fp32_scan") {
    return {name, [&data, &workers, k](size_t round) {
              (void)Fp32Scan(data.state, data.queries[round % data.queries.size()], k, workers);
            }};
  }

  void Print(std::span<const Contender> contenders,
             const std::vector<std::vector<double>>& seconds) {
    for (size_t c = 0; c < contenders.size(); ++c) PrintTimes(contenders[c].name, seconds[c]);
  }

  // A benchmark of wrong answers is worth nothing: three queries against the reference engine,
  // every score bit.
  void Check(const DataSet& data, size_t k) {
    const auto scan = MakeScanEngine(workers_);
    const auto reference = MakeReferenceEngine(workers_);
    for (size_t q = 0; q < 3; ++q) {
      const EngineQuery query = AsQuery(data.queries[q]);
      const auto got = scan->Search(data.state, Metric::kInnerProduct, {&query, 1}, k, {});
      const auto expected =
          reference->Search(data.state, Metric::kInnerProduct, {&query, 1}, k, {});
      const bool same =
          std::equal(got->hits[0].begin(), got->hits[0].end(), expected->hits[0].begin(),
                     expected->hits[0].end(), [](const ScoredRow& a, const ScoredRow& b) {
                       return a.row == b.row && a.score == b.score;
                     });
      if (same) continue;
      std::printf("  WRONG answer to query %zu\n", q);
      ++wrong_;
    }
  }

  const ScanOptions& options_;
  Workers workers_{kThreads};
  std::atomic<uint64_t> written_ = 0;
  int wrong_ = 0;
};

}  // namespace

int RunScanBenchmark(const ScanOptions& options) { return Benchmark(options).Run(); }

}  // namespace vexact::bench

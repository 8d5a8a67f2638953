#include "benchmarks/growth_benchmark.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <random>
#include <thread>
#include <vector>

#include "benchmarks/data.h"
#include "benchmarks/measure.h"
#include "core/collection.h"

namespace vexact::bench {
namespace {

using Vectors = std::vector<std::vector<float>>;

constexpr size_t kFactors = 64;
constexpr double kFactorDecay = 0.97;
constexpr float kNoise = 0.15f;

// Sums of kFactors directions, each a little weaker than the one before, and noise: the decaying
// spectrum of real embeddings. Seeded.
Vectors Correlated(size_t n, uint32_t dimension, uint64_t seed) {
  std::mt19937_64 directions_random(1);
  std::normal_distribution<float> normal;
  Vectors directions(kFactors, std::vector<float>(dimension));
  for (size_t f = 0; f < kFactors; ++f) {
    const auto scale = static_cast<float>(std::pow(kFactorDecay, static_cast<double>(f)));
    for (float& x : directions[f]) x = scale * normal(directions_random);
  }
  std::mt19937_64 random(seed);
  Vectors vectors(n, std::vector<float>(dimension));
  for (auto& vector : vectors) {
    for (float& x : vector) x = kNoise * normal(random);
    for (const auto& direction : directions) {
      const float weight = normal(random);
      for (size_t j = 0; j < dimension; ++j) vector[j] += weight * direction[j];
    }
  }
  return vectors;
}

Vectors RowsOf(const DataSet& data) {
  Vectors rows;
  for (const CollectionState::Part& part : data.state.parts) {
    for (uint32_t row = 0; row < part.rows; ++row) {
      const auto vector = part.segment->vector(row);
      rows.emplace_back(vector.begin(), vector.end());
    }
  }
  return rows;
}

class Growth {
 public:
  explicit Growth(size_t rounds) : rounds_(rounds) {}

  // A collection of `rows` as it becomes by itself; or one that never trains a layout.
  std::unique_ptr<Collection> Load(std::span<const std::vector<float>> rows,
                                   Metric metric = Metric::kInnerProduct, bool trains = true) {
    CollectionTuning tuning;
    if (!trains) tuning.training_rows = std::numeric_limits<uint32_t>::max();
    auto collection = std::make_unique<Collection>(
        "growth",
        CollectionConfig{.dimension = static_cast<uint32_t>(rows.front().size()), .metric = metric},
        workers_, nullptr, tuning);
    constexpr size_t kRowsPerWrite = 1'000;
    for (size_t first = 0; first < rows.size(); first += kRowsPerWrite) {
      std::vector<PointView> points;
      for (size_t i = first; i < std::min(rows.size(), first + kRowsPerWrite); ++i) {
        points.push_back({uint64_t{i}, rows[i]});
      }
      if (!collection->Upsert(points).ok()) std::abort();
    }
    if (!collection->Maintain().ok()) std::abort();
    return collection;
  }

  static void PrintHead(const char* what) {
    std::printf("\n%12s %12s %14s %11s %10s %12s\n", what, "median ms", "ns/row/query", "refined %",
                "rescored", "bytes/row");
  }

  void Print(const std::string& label, const Collection& collection, const Vectors& queries,
             size_t batch, uint32_t k) const {
    std::vector<double> seconds;
    SearchStatistics all;
    uint64_t asked = 0;
    size_t next = 0;
    for (size_t round = 0; round < rounds_ + 2; ++round) {
      std::vector<Query> some;
      for (size_t i = 0; i < batch; ++i, ++next) {
        some.push_back({.target = std::span<const float>(queries[next % queries.size()])});
      }
      const double start = Seconds();
      const auto result = collection.Search(some, {.k = k});
      if (!result.ok()) std::abort();
      if (round < 2) continue;  // warming up
      seconds.push_back(Seconds() - start);
      all += result->statistics;
      asked += batch;
    }
    const auto rows = static_cast<double>(collection.info().rows);
    const auto pairs = rows * static_cast<double>(asked);
    const double median = Median(seconds);
    std::printf("%12s %12.3f %14.3f %11.3f %10.1f %12.1f\n", label.c_str(), median * 1e3,
                median * 1e9 / rows / static_cast<double>(batch),
                100 * static_cast<double>(all.rows_refined) / pairs,
                static_cast<double>(all.rows_rescored) / static_cast<double>(asked),
                static_cast<double>(all.bytes_read) / pairs);
    std::fflush(stdout);
  }

  // A layout is trained at any number of rows, and compared with none.
  void PrintWithLayout(std::span<const std::vector<float>> rows, const Vectors& queries) {
    const auto without = Load(rows, Metric::kInnerProduct, false);
    const auto with = Load(rows, Metric::kInnerProduct, false);
    if (!with->TrainLayout().ok() || !with->Recode().ok()) std::abort();
    const auto search = [&](const Collection& collection) {
      return [&](size_t round) { Search(collection, queries[round % queries.size()]); };
    };
    const Contender contenders[] = {{"without", search(*without)}, {"with", search(*with)}};
    const auto seconds = Interleave(contenders, 10 * rounds_);
    std::printf("%12zu %12.3f %12.3f %10.2f\n", rows.size(), Median(seconds[0]) * 1e3,
                Median(seconds[1]) * 1e3, Median(seconds[0]) / Median(seconds[1]));
    std::fflush(stdout);
  }

  // How long training and coding all rows anew take while nothing else runs.
  void PrintTraining(const std::string& label, std::span<const std::vector<float>> rows) {
    const auto collection = Load(rows, Metric::kInnerProduct, false);
    const double start = Seconds();
    if (!collection->TrainLayout().ok()) std::abort();
    const double trained = Seconds();
    if (!collection->Recode().ok()) std::abort();
    const double recoded = Seconds() - trained;
    const auto n = static_cast<double>(rows.size());
    std::printf("%16s %12.2f %12.2f %12.1f\n", label.c_str(), trained - start, recoded,
                recoded / n * 1e6);
    std::fflush(stdout);
  }

  // Searches that follow one another, on a quiet collection and on one that is coded anew all the
  // while, under a layout equal to its own.
  void PrintReencoding(std::span<const std::vector<float>> rows, const Vectors& queries) {
    constexpr size_t kSearches = 1'000;
    const auto collection = Load(rows);
    const auto measure = [&] {
      std::vector<double> seconds;
      for (size_t i = 0; i < kSearches; ++i) {
        const double start = Seconds();
        Search(*collection, queries[i % queries.size()]);
        seconds.push_back(Seconds() - start);
      }
      return seconds;
    };
    const auto quiet = measure();
    std::jthread background([&](const std::stop_token& stop) {
      const TrainedLayout trained = collection->layout().trained;
      while (!stop.stop_requested()) {
        TrainedLayout again = trained;
        again.layout = std::make_shared<Layout>(*trained.layout);
        collection->SetLayout(std::move(again));
        (void)collection->Recode(stop);
      }
    });
    const auto busy = measure();
    PrintTimes("quiet", quiet);
    PrintTimes("re-encoding", busy);
    PrintRatio("search_while_reencoding_vs_quiet", Median(busy) / Median(quiet));
  }

 private:
  static void Search(const Collection& collection, const std::vector<float>& vector) {
    const Query query{.target = std::span<const float>(vector)};
    if (!collection.Search({&query, 1}, {.k = 10}).ok()) std::abort();
  }

  const size_t rounds_;
  Workers workers_{static_cast<int>(std::max(1u, std::thread::hardware_concurrency()))};
};

}  // namespace

int RunGrowthBenchmark(const std::string& data_dir, size_t rounds) {
  Growth growth(rounds);
  const auto sentences = Sentences(data_dir);
  const Vectors rows = sentences ? RowsOf(*sentences) : Correlated(150'000, 384, 2);
  const Vectors queries = sentences ? sentences->queries : Correlated(1'000, 384, 3);
  std::printf("%s: %zu x %zu, inner product\n",
              sentences ? "sentences" : "synthetic (no sentences in --data)", rows.size(),
              rows.front().size());
  Growth::PrintHead("rows");
  for (const size_t share : {16, 8, 4, 2, 1}) {
    const size_t n = rows.size() / share;
    const auto part = growth.Load({rows.data(), n});
    growth.Print(std::to_string(n), *part, queries, 1, 10);
  }
  const auto whole = growth.Load(rows);
  Growth::PrintHead("k");
  for (const uint32_t k : {1u, 10u, 100u, 1'000u, 10'000u}) {
    growth.Print(std::to_string(k), *whole, queries, 1, k);
  }
  Growth::PrintHead("batch");
  for (const size_t batch : {1, 2, 3, 4, 8, 12, 16, 64, 256, 1'000, 4'096}) {
    growth.Print(std::to_string(batch), *whole, queries, batch, 10);
  }
  std::printf("\nwith a trained layout, and without\n%12s %12s %12s %10s\n", "rows", "without ms",
              "with ms", "ratio");
  for (const size_t n : {1'024u, 2'048u, 4'096u, 8'192u, 16'384u, 32'768u}) {
    growth.PrintWithLayout({rows.data(), n}, queries);
  }
  std::printf("\nsearches while all rows are coded anew, again and again\n");
  growth.PrintReencoding(rows, queries);
  std::printf("\nsynthetic, decaying spectrum: 100,000 x 128, with a common offset\n");
  Growth::PrintHead("offset");
  for (const Metric metric : kMetrics) {
    for (const float offset : {0.0f, 1e6f}) {
      Vectors shifted = Correlated(100'000, 128, 2);
      Vectors asking = Correlated(200, 128, 3);
      for (Vectors* vectors : {&shifted, &asking}) {
        for (auto& vector : *vectors) {
          for (float& x : vector) x += offset;
        }
      }
      const char* const name = metric == Metric::kInnerProduct ? "ip"
                               : metric == Metric::kCosine     ? "cosine"
                                                               : "l2";
      growth.Print(std::string(name) + (offset == 0 ? " 0" : " 1e6"), *growth.Load(shifted, metric),
                   asking, 1, 10);
    }
  }
  std::printf("\nsynthetic, decaying spectrum: 40,000 rows\n");
  Growth::PrintHead("dimensions");
  for (const uint32_t dimension : {64u, 128u, 384u, 768u, 1'024u, 1'536u, 3'072u}) {
    const auto collection = growth.Load(Correlated(40'000, dimension, 2));
    growth.Print(std::to_string(dimension), *collection, Correlated(200, dimension, 3), 1, 10);
  }
  std::printf("\ntraining, and coding all rows anew\n%16s %12s %12s %12s\n", "", "training s",
              "coding s", "us a row");
  growth.PrintTraining(sentences ? "sentences" : "synthetic", rows);
  for (const uint32_t dimension : {128u, 384u, 768u, 1'024u, 1'536u, 3'072u}) {
    growth.PrintTraining("40,000 x " + std::to_string(dimension), Correlated(40'000, dimension, 2));
  }
  return 0;
}

}  // namespace vexact::bench

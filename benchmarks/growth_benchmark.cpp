#include "benchmarks/growth_benchmark.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
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

  // A collection of `rows` whose layout is trained and whose segments are coded under it.
  std::unique_ptr<Collection> Load(std::span<const std::vector<float>> rows,
                                   Metric metric = Metric::kInnerProduct) {
    auto collection = std::make_unique<Collection>(
        "growth",
        CollectionConfig{.dimension = static_cast<uint32_t>(rows.front().size()), .metric = metric},
        workers_);
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

 private:
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
  return 0;
}

}  // namespace vexact::bench

#include "core/trainer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "core/eigen.h"
#include "core/segment_codes.h"
#include "tests/core/oracle.h"

namespace vexact {
namespace {

using Rows = std::vector<std::vector<float>>;

constexpr uint64_t kMany = 1'000'000;  // rows that the sample stands for

// Components of deviation `spread(j)` around `mean`.
Rows MakeRows(size_t n, size_t dimension, const std::function<double(size_t)>& spread, float mean,
              uint64_t seed) {
  oracle::Random random(seed);
  Rows rows(n, std::vector<float>(dimension));
  for (auto& row : rows) {
    for (size_t j = 0; j < dimension; ++j) {
      row[j] = mean + static_cast<float>(spread(j)) * random.Normal();
    }
  }
  return rows;
}

double Even(size_t) { return 1; }
// As embeddings have it: half of the energy in a tenth of the directions.
double Decaying(size_t j) { return 1 / std::sqrt(1 + static_cast<double>(j)); }

TrainingSample Sample(const Rows& rows, Metric metric) {
  TrainingSample sample{.dimension = static_cast<uint32_t>(rows.front().size()),
                        .metric = metric,
                        .collection_rows = kMany,
                        .rows = {},
                        .queries = {},
                        .scores = {}};
  for (const auto& row : rows) sample.rows.insert(sample.rows.end(), row.begin(), row.end());
  for (size_t q = 0; q < 12; ++q) {
    const auto& query = rows[q * rows.size() / 12];
    sample.queries.insert(sample.queries.end(), query.begin(), query.end());
    std::vector<double> scores;
    for (const auto& row : rows) scores.push_back(oracle::Score(metric, query, row));
    std::sort(scores.begin(), scores.end(),
              [&](double a, double b) { return Nearer(metric, a, b); });
    sample.scores.push_back(scores[kTrainingK]);
  }
  return sample;
}

TrainedLayout TrainOn(const Rows& rows, Metric metric = Metric::kCosine) {
  return Train(Sample(rows, metric), ActiveKernel(), [] { return true; });
}

void ExpectSane(const TrainedLayout& trained) {
  const LayoutForecast& forecast = trained.forecast;
  ASSERT_EQ(forecast.passed.size(), trained.layout->levels());
  for (const double share : forecast.passed) {
    EXPECT_GE(share, 0);
    EXPECT_LE(share, 1);
  }
  EXPECT_TRUE(std::is_sorted(forecast.passed.rbegin(), forecast.passed.rend()));
  EXPECT_GE(forecast.batch_passed, 0);
  EXPECT_LE(forecast.batch_passed, 1);
  EXPECT_GE(forecast.scored, 0);
  EXPECT_LE(forecast.scored, forecast.passed.back());
  EXPECT_GT(forecast.bytes_per_row, 0);
  EXPECT_GT(forecast.nanoseconds(), 0);
  EXPECT_EQ(trained.trained_rows, kMany);
  EXPECT_TRUE(std::is_sorted(trained.energy.begin(), trained.energy.end()));
  EXPECT_EQ(trained.energy.size(), trained.layout->basis_rows);
}

bool IsIdentity(const Layout& layout) {
  return !layout.has_basis() && !layout.has_sketch() && layout.center.empty() &&
         layout.first_width == layout.dimension;
}

TEST(Train, LeavesEvenRowsAsTheyAre) {
  for (const Metric metric : kMetrics) {
    const TrainedLayout trained = TrainOn(MakeRows(1'024, 96, Even, 0, 1), metric);
    ExpectSane(trained);
    EXPECT_TRUE(IsIdentity(*trained.layout)) << Name(metric);
  }
}

// What is narrow is read late or coarsely.
TEST(Train, ReadsLessOfRowsWithFewWideDirections) {
  for (const Metric metric : kMetrics) {
    SCOPED_TRACE(Name(metric));
    const Rows rows = MakeRows(2'048, 192, Decaying, 0, 2);
    const TrainedLayout trained = TrainOn(rows, metric);
    ExpectSane(trained);
    const Layout& layout = *trained.layout;
    ASSERT_TRUE(layout.has_basis());
    EXPECT_LT(layout.alone_row_bytes(), 192);
    EXPECT_GT(trained.energy[layout.basis_rows / 2], 0.5);
    const LayoutForecast identity =
        Forecast(Sample(rows, metric), *Layout::Identity(192), ActiveKernel());
    EXPECT_LT(trained.forecast.nanoseconds(), identity.nanoseconds());
    EXPECT_LT(trained.forecast.bytes_per_row, identity.bytes_per_row);
  }
}

TEST(Train, CentersRowsWithACommonOffset) {
  const Rows rows = MakeRows(1'024, 64, Decaying, 50, 3);
  const TrainedLayout trained = TrainOn(rows, Metric::kL2);
  ExpectSane(trained);
  const Layout& layout = *trained.layout;
  ASSERT_EQ(layout.center.size(), 64);
  for (const float component : layout.center) EXPECT_NEAR(component, 50, 0.5);
  EXPECT_NEAR(layout.center_norm, 50 * 8, 1);
  // Room for rows farther out than those of the sample.
  EXPECT_GT(layout.longest, 10);
  EXPECT_TRUE(TrainOn(MakeRows(1'024, 64, Decaying, 0, 3)).layout->center.empty());
}

// What the certificate builds on: it is not for the trainer to be optimistic about itself.
TEST(Train, StatesItsErrors) {
  const Rows rows = MakeRows(1'024, 128, Decaying, 3, 4);
  const TrainedLayout trained = TrainOn(rows);
  const Layout& layout = *trained.layout;
  ASSERT_TRUE(layout.has_basis());
  long double squares = 0;
  for (size_t i = 0; i < layout.basis_rows; ++i) {
    for (size_t k = 0; k < layout.basis_rows; ++k) {
      long double product = i == k ? -1 : 0;
      for (size_t j = 0; j < layout.dimension; ++j) {
        product += static_cast<long double>(layout.basis_at(i, j)) * layout.basis_at(k, j);
      }
      squares += product * product;
    }
  }
  EXPECT_GE(layout.defect, static_cast<double>(std::sqrt(squares)));
  EXPECT_LT(layout.defect, 1e-4);
  EXPECT_GE(layout.projection_error, layout.ProjectionBound());
  EXPECT_LT(layout.projection_error, 1e-3);
  if (!layout.center.empty()) {
    EXPECT_NEAR(layout.center_norm, std::sqrt(oracle::Dot(layout.center, layout.center)), 1e-9);
  }
}

TEST(Train, GivesTheSameLayoutForTheSameRows) {
  const Rows rows = MakeRows(1'024, 96, Decaying, 1, 5);
  const TrainedLayout once = TrainOn(rows);
  const TrainedLayout again = TrainOn(rows);
  EXPECT_EQ(once.layout->first_width, again.layout->first_width);
  EXPECT_EQ(once.layout->center, again.layout->center);
  EXPECT_EQ(once.layout->weights, again.layout->weights);
  EXPECT_EQ(once.layout->sketch_reach, again.layout->sketch_reach);
  EXPECT_EQ(once.layout->defect, again.layout->defect);
  ASSERT_TRUE(once.layout->has_basis());
  ASSERT_EQ(once.layout->basis_bytes(), again.layout->basis_bytes());
  EXPECT_EQ(std::memcmp(once.layout->basis_data(), again.layout->basis_data(),
                        once.layout->basis_bytes()),
            0);
  EXPECT_EQ(once.forecast.passed, again.forecast.passed);
  EXPECT_EQ(once.energy, again.energy);
}

// Where the whole decomposition would take too long, a few directions serve.
TEST(Train, TakesALeadingBasisBeyondAThousandDimensions) {
  const uint32_t dimension = kMaxWholeDimension + 64;
  const auto spread = [](size_t j) { return j < 24 ? 10.0 : 0.05; };
  const TrainedLayout trained = TrainOn(MakeRows(512, dimension, spread, 0, 6), Metric::kL2);
  ExpectSane(trained);
  ASSERT_TRUE(trained.layout->leading());
  EXPECT_LE(trained.layout->basis_rows, 512);
  EXPECT_EQ(trained.layout->first_width, trained.layout->basis_rows);
  EXPECT_GT(trained.energy.back(), 0.9);
}

// A forecast is what the codes do, with nothing added: counted for the identity on rows whose
// answer is plain.
TEST(Forecast, CountsWhatPasses) {
  Rows rows = MakeRows(256, 32, Even, 0, 7);
  for (auto& row : rows) row[0] = -100;
  for (size_t i = 0; i < 32; ++i) rows[i][0] = 100;
  TrainingSample sample = Sample(rows, Metric::kInnerProduct);
  sample.queries.assign(32, 0);
  sample.queries[0] = 1;
  sample.scores = {50};
  const auto forecast = Forecast(sample, *Layout::Identity(32), ActiveKernel());
  EXPECT_EQ(forecast.passed, (std::vector<double>{32.0 / 256}));
  EXPECT_EQ(forecast.batch_passed, 32.0 / 256);
}

TEST(Train, AsksOnTheWayWhetherToGoOn) {
  const TrainingSample sample = Sample(MakeRows(512, 64, Decaying, 0, 8), Metric::kL2);
  int asked = 0;
  EXPECT_NE(Train(sample, ActiveKernel(), [&] { return ++asked > 0; }).layout, nullptr);
  EXPECT_GE(asked, 3);
  for (const int stop_at : {1, 2, asked - 1}) {
    int again = 0;
    EXPECT_EQ(Train(sample, ActiveKernel(), [&] { return ++again < stop_at; }).layout, nullptr);
    EXPECT_LE(again, stop_at + 1) << "it went on";
  }
}

}  // namespace
}  // namespace vexact

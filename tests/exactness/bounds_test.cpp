// The bounds of the certificate contain the score. Builds without any library of the engine, so
// that it also runs for other machines (scripts/test-arm64).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/exactness/coded.h"

namespace vexact {
namespace {

std::vector<Reading> ReadingsOf(const Layout& layout) {
  std::vector<Reading> readings = {Reading::kAllDigits, Reading::kHighDigits};
  if (layout.has_sketch()) readings.push_back(Reading::kSketch);
  return readings;
}

const char* Name(Reading reading) {
  return reading == Reading::kAllDigits    ? "all digits"
         : reading == Reading::kHighDigits ? "high digits"
                                           : "sketch";
}

// What one level says of a row.
struct Interval {
  double estimate, radius;
};

Interval FirstInterval(const Codes& codes, const Asked& asked, size_t row, double estimate,
                       Reading reading) {
  const CodeColumns& columns = codes.columns();
  const EncodedQuery::Factors& factors = asked.ranking.Factors(reading);
  const bool sketch = reading == Reading::kSketch;
  const double tail = columns.tail == nullptr ? 0 : double{FromHalf(columns.tail[row])};
  return {
      estimate,
      double{factors.constant} * FromHalf((sketch ? columns.sketch_scale : columns.scale)[row]) +
          double{factors.error} * FromHalf((sketch ? columns.sketch_error : columns.error)[row]) +
          double{factors.tail} * tail};
}

// By level from 1 on; `estimate` is the first slab's, on all digits.
std::vector<Interval> LaterIntervals(const Codes& codes, const EncodedQuery& query, size_t row,
                                     double estimate, const Kernel& kernel) {
  const CodeColumns& columns = codes.columns();
  const Layout& layout = codes.layout();
  std::vector<Interval> intervals;
  double sum = layout.later_begin() > 0 ? estimate : 0;
  for (size_t level = 1; level < layout.levels(); ++level) {
    const size_t at = (level - 1) * kSlabWidth;
    const SlabProducts products =
        kernel.slab_products(columns.later_slab(row, level), query.later_high.data() + at,
                             query.later_low.data() + at, 1);
    const double high = products.high - 128.0 * query.later_high_sums[level - 1];
    const double low = products.low - 128.0 * query.later_low_sums[level - 1];
    const uint16_t* numbers = columns.numbers(row);
    const double scale = FromHalf(numbers[0]);
    sum += double{query.later_scale} * scale * (128 * high + low);
    const EncodedQuery::Factors& factors = query.factors[level];
    intervals.push_back({sum, factors.constant * scale +
                                  double{factors.error} * FromHalf(numbers[2 * level - 1]) +
                                  double{factors.tail} * FromHalf(numbers[2 * level])});
  }
  return intervals;
}

// <q - lambda center, x - center>, in units of the scaled query.
double Product(const std::vector<float>& query, const std::vector<float>& row,
               const EncodedQuery& encoded, const Layout& layout) {
  double sum = 0;
  for (size_t j = 0; j < row.size(); ++j) {
    const double mu = layout.center.empty() ? 0 : layout.center[j];
    sum += (query[j] - encoded.lambda * mu) * (row[j] - mu);
  }
  return std::ldexp(sum, -encoded.exponent);
}

// In float64: the score lies within what an interval says of it.
void ExpectWithin(const Interval& interval, const Codes& codes, const Asked& asked, size_t row,
                  double product, double rank) {
  const auto [estimate, radius] = interval;
  // A row without a certificate says nothing of itself: its numbers are infinite or NaN.
  if (asked.encoded.usable && std::isfinite(radius) && std::isfinite(estimate)) {
    ASSERT_LE(std::abs(product - estimate), radius);
  }
  const double norm = codes.columns().norm[row];
  const double bend = codes.Bend(row);
  ASSERT_FALSE(asked.ranking.Upper(estimate, radius, norm, bend) < rank);
  ASSERT_FALSE(estimate + radius < asked.ranking.Needed(rank, norm, bend));
}

// At every level and in every reading of the first.
void ExpectContained(const Codes& codes, const Asked& asked, const Rows& rows,
                     const std::vector<float>& query, const std::vector<double>& ranks,
                     const Kernel& kernel) {
  std::vector<double> products;
  for (const auto& row : rows) {
    products.push_back(Product(query, row, asked.encoded, codes.layout()));
  }
  for (const Reading reading : ReadingsOf(codes.layout())) {
    const auto all = asked.Survivors(kAnyRank, reading);
    ASSERT_EQ(all.size(), codes.Room());
    for (size_t row = 0; row < rows.size(); ++row) {
      SCOPED_TRACE(testing::Message() << Name(reading) << ", row " << row);
      ExpectWithin(FirstInterval(codes, asked, row, all[row].estimate, reading), codes, asked, row,
                   products[row], ranks[row]);
      if (reading != Reading::kAllDigits) continue;
      const auto later = LaterIntervals(codes, asked.encoded, row, all[row].estimate, kernel);
      for (size_t i = 0; i < later.size(); ++i) {
        SCOPED_TRACE(testing::Message() << "level " << i + 1);
        ExpectWithin(later[i], codes, asked, row, products[row], ranks[row]);
      }
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

// In float32, as the kernels decide: no row is lost whose rank reaches tau.
void ExpectNoneLost(const Codes& codes, const Asked& asked, const std::vector<double>& ranks,
                    Random& random) {
  for (const Reading reading : ReadingsOf(codes.layout())) {
    SCOPED_TRACE(Name(reading));
    for (int i = 0; i < 6; ++i) {
      const double tau = ranks[Below(random, ranks.size())];
      ExpectNoneMissing(RowsOf(asked.Survivors(tau, reading)), ranks, tau);
    }
  }
}

void ExpectCertified(const Layout& layout, const Rows& rows, const Rows& queries, Random& random) {
  for (const Kernel* kernel : RunnableKernels()) {
    SCOPED_TRACE(kernel->isa);
    const Codes codes(layout, *kernel, rows);
    for (const std::vector<float>& query : queries) {
      for (const Metric metric : kMetrics) {
        const auto is_zero = [](const std::vector<float>& x) { return Dot(x, x) == 0; };
        if (metric == Metric::kCosine && std::any_of(rows.begin(), rows.end(), is_zero)) continue;
        SCOPED_TRACE(Name(metric));
        const Asked asked(codes, query, metric, *kernel);
        const auto ranks = Ranks(rows, query, metric, asked.encoded);
        ExpectContained(codes, asked, rows, query, ranks, *kernel);
        ExpectNoneLost(codes, asked, ranks, random);
        if (testing::Test::HasFatalFailure()) return;
      }
    }
  }
}

TEST(Code, BoundsContainTheScore) {
  Random random(6);
  for (int kind = 0; kind < kKinds; ++kind) {
    for (const uint32_t dimension : {1u, 3u, 64u, 65u, 200u, 1'000u}) {
      const auto first_width = static_cast<uint32_t>(1 + Below(random, dimension));
      const auto layout = Layout::Identity(dimension, first_width);
      const Rows rows = MakeRows(static_cast<Kind>(kind), 50, dimension, random);
      const Rows queries = MakeQueries(static_cast<Kind>(kind), rows, 4, random);
      SCOPED_TRACE(testing::Message()
                   << Name(static_cast<Kind>(kind)) << ", " << Describe(*layout));
      ExpectCertified(*layout, rows, queries, random);
      if (HasFatalFailure()) return;
    }
  }
}

// Layouts that fit the rows, that fit other rows, and that fit nothing.
TEST(Code, BoundsContainTheScoreUnderAnyLayout) {
  for (int kind = 0; kind < kKinds; ++kind) {
    for (const uint32_t dimension : {1u, 2u, 8u, 17u, 64u, 65u, 130u, 200u}) {
      for (uint64_t seed = 1; seed <= 8; ++seed) {
        Random random(1'000 * dimension + seed);
        const Rows rows = MakeRows(static_cast<Kind>(kind), 40, dimension, random);
        const Rows others =
            MakeRows(static_cast<Kind>(Below(random, kKinds)), 8, dimension, random);
        const auto layout = MakeLayout(AnyForm(seed % 3 == 0 ? others : rows, random), random);
        const Rows queries = MakeQueries(static_cast<Kind>(kind), rows, 3, random);
        SCOPED_TRACE(testing::Message() << Name(static_cast<Kind>(kind)) << ", seed " << seed
                                        << ", " << Describe(*layout));
        ExpectCertified(*layout, rows, queries, random);
        if (HasFatalFailure()) return;
      }
    }
  }
}

// Where numbers that cancel each other in the bound would overflow float32: a query's part along a
// center that is far shorter than the query or the rows.
TEST(Code, BoundsContainTheScoreAroundTinyCenters) {
  for (const double norm : {1e-44, 1e-39, 1e-30, 1e-20, 1e-10}) {
    for (uint64_t seed = 1; seed <= 12; ++seed) {
      Random random(seed);
      const auto kind = seed % 2 == 0 ? Kind::kGaussian : Kind::kWildNorms;
      const Rows rows = MakeRows(kind, 40, 24, random);
      LayoutForm form = AnyForm(rows, random);
      form.center = MakeRows(Kind::kGaussian, 1, 24, random).front();
      for (float& x : form.center) x = static_cast<float>(x * norm);
      form.longest = 0x1p40;
      const auto layout = MakeLayout(form, random);
      SCOPED_TRACE(testing::Message()
                   << "norm " << norm << ", seed " << seed << ", " << Describe(*layout));
      Rows queries = MakeQueries(kind, rows, 3, random);
      for (const float along : {1.0f, -1e6f, 1e15f}) {
        queries.push_back(form.center);
        for (float& x : queries.back()) x *= along;
        queries.back()[0] += 1e-3f * queries.back()[1];
      }
      ExpectCertified(*layout, rows, queries, random);
      if (HasFatalFailure()) return;
    }
  }
}

}  // namespace
}  // namespace vexact

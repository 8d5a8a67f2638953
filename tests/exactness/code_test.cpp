// Codes and bounds. Builds without any library of the engine, so that
// it also runs for other machines (scripts/test-arm64).
#include "core/code.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <deque>
#include <limits>
#include <new>
#include <set>

#include "core/ranking.h"
#include "core/reference_score.h"
#include "tests/exactness/layouts.h"
#include "tests/exactness/operands.h"
#include "tests/exactness/worlds.h"

namespace vexact {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr double kAnyRank = -std::numeric_limits<double>::infinity();

using Rows = std::vector<std::vector<float>>;

// The codes of some rows, padded with the last one to whole groups.
class Codes {
 public:
  Codes(const Layout& layout, const Kernel& kernel, const Rows& rows)
      : groups_((rows.size() + kGroupRows - 1) / kGroupRows),
        first_(Room() * layout.first_bytes()),
        sketch_(Room() * layout.sketch_bytes()),
        later_(layout.later_at(Room())),
        sketch_scale_(Room()),
        sketch_error_(Room()),
        scale_(Room()),
        error_(Room()),
        tail_(Room()),
        norm_(Room()),
        bend_(Room()) {
    columns_ = {.layout = &layout,
                .capacity = Room(),
                .first_slab = first_.data(),
                .sketch = layout.has_sketch() ? sketch_.data() : nullptr,
                .sketch_scale = sketch_scale_.data(),
                .sketch_error = sketch_error_.data(),
                .scale = scale_.data(),
                .error = error_.data(),
                .tail = layout.later_slabs() > 0 ? tail_.data() : nullptr,
                .norm = norm_.data(),
                .bend = layout.center.empty() ? nullptr : bend_.data(),
                .later = later_.data()};
    for (size_t group = 0; group < groups_; ++group) {
      std::vector<float> block;
      double dots[kGroupRows];
      for (size_t i = 0; i < kGroupRows; ++i) {
        const std::vector<float>& row = rows[std::min(group * kGroupRows + i, rows.size() - 1)];
        block.insert(block.end(), row.begin(), row.end());
        dots[i] = Dot(row, row);
      }
      EncodeGroup(columns_, kernel, group * kGroupRows, block.data(), dots);
    }
  }

  const CodeColumns& columns() const { return columns_; }
  const Layout& layout() const { return *columns_.layout; }
  size_t groups() const { return groups_; }
  size_t Room() const { return groups_ * kGroupRows; }
  double Bend(size_t row) const { return columns_.bend == nullptr ? 0 : columns_.bend[row]; }

 private:
  size_t groups_;
  Aligned<uint8_t> first_, sketch_, later_;
  Aligned<uint16_t> sketch_scale_, sketch_error_, scale_, error_, tail_;
  Aligned<float> norm_, bend_;
  CodeColumns columns_;
};

// A query of some codes, and what every kernel function says of them.
class Asked {
 public:
  Asked(const Codes& codes, const std::vector<float>& query, Metric metric, const Kernel& kernel)
      : encoded(EncodeQuery(query, Dot(query, query), metric, codes.layout(), kernel)),
        ranking(metric, encoded, codes.layout()),
        codes_(codes),
        kernel_(kernel) {}
  Asked(const Asked&) = delete;

  FirstSlab Slab(Reading reading) const {
    return codes_.columns().first(
        reading == Reading::kSketch ? FirstCode::kSketch : FirstCode::kByte, 0,
        ranking.needs_norm(), ranking.needs_bend());
  }

  // The rows that are not ruled out for `tau`, in order. All of them for kAnyRank.
  std::vector<Survivor> Survivors(double tau, Reading reading) const {
    if (reading != Reading::kHighDigits) {
      Aligned<float> bounds(codes_.Room());
      const std::vector<Survivor> all = Bound(bounds, reading);
      std::vector<Survivor> out = Select(bounds, tau);
      for (Survivor& survivor : out) survivor.estimate = all[survivor.row].estimate;
      return out;
    }
    const QueryTerms terms = ranking.Terms(tau, reading);
    const auto packed = Pack({&encoded.first_high}, kernel_);
    const Tile tile{packed.data(), &encoded.first_high_sum, &terms, 1, ranking.norm_apart()};
    std::vector<Survivor> out(codes_.Room());
    out.resize(kernel_.filter_tile(Slab(reading), codes_.groups(), tile, out.data()));
    std::sort(out.begin(), out.end(),
              [](const Survivor& a, const Survivor& b) { return a.row < b.row; });
    return out;
  }

  // All rows with their estimates, and their bounds in `bounds`. Of a query that is alone: not for
  // kHighDigits.
  std::vector<Survivor> Bound(Aligned<float>& bounds, Reading reading) const {
    const auto packed = Pack({&encoded.sketch}, kernel_);
    const QueryDigits digits =
        reading == Reading::kSketch
            ? QueryDigits{packed.data(), nullptr, encoded.sketch_sum, 0}
            : QueryDigits{encoded.first_high.data(), encoded.first_low.data(),
                          encoded.first_high_sum, encoded.first_low_sum};
    std::vector<Survivor> out(codes_.Room());
    out.resize(kernel_.bound(Slab(reading), codes_.groups(), digits, ranking.BoundTerms(reading),
                             ranking.EstimateTerms(kAnyRank, reading), bounds.data(), out.data()));
    return out;
  }

  std::vector<Survivor> Select(Aligned<float>& bounds, double tau) const {
    const Ranking::Selection selection = ranking.Select(tau);
    std::vector<Survivor> out(codes_.Room());
    out.resize(kernel_.select(bounds.data(), selection.norm == 0 ? nullptr : codes_.columns().norm,
                              selection.norm, selection.threshold, codes_.groups(), out.data()));
    return out;
  }

  const EncodedQuery encoded;
  const Ranking ranking;

 private:
  const Codes& codes_;
  const Kernel& kernel_;
};

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

std::set<uint32_t> RowsOf(const std::vector<Survivor>& survivors, uint32_t query = 0) {
  std::set<uint32_t> rows;
  for (const Survivor& survivor : survivors) {
    if (survivor.query == query) rows.insert(survivor.row);
  }
  return rows;
}

// Ranks that the rows' reference scores have at least.
std::vector<double> Ranks(const Rows& rows, const std::vector<float>& query, Metric metric,
                          const EncodedQuery& encoded) {
  std::vector<double> ranks;
  for (const std::vector<float>& row : rows) {
    ranks.push_back(Ranking::FromScore(
        metric, encoded, ReferenceScore(metric, query, encoded.dot, row, Dot(row, row))));
  }
  return ranks;
}

// Of the rows whose rank reaches `tau`, none is missing among `survivors`.
void ExpectNoneMissing(const std::set<uint32_t>& survivors, const std::vector<double>& ranks,
                       double tau) {
  for (uint32_t row = 0; row < ranks.size(); ++row) {
    if (ranks[row] >= tau) {
      ASSERT_TRUE(survivors.contains(row)) << "row " << row;
    }
  }
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

Rows MakeQueries(Kind kind, const Rows& rows, size_t n, Random& random) {
  Rows queries;
  for (size_t q = 0; q < n; ++q) queries.push_back(MakeQuery(kind, rows, false, random));
  return queries;
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

// Of `count` queries that pass over the rows together, each keeps the rows that it must keep, and
// none that it would not keep alone but for rounding.
void ExpectTileLosesNone(const Codes& codes, const std::deque<Asked>& asked, size_t count,
                         const std::vector<std::vector<double>>& ranks, const Kernel& kernel,
                         Random& random) {
  std::vector<const std::vector<int8_t>*> digits;
  std::vector<int32_t> sums;
  std::vector<double> taus;
  std::vector<QueryTerms> terms;
  bool norm_apart = false;
  for (size_t q = 0; q < count; ++q) {
    digits.push_back(&asked[q].encoded.first_high);
    sums.push_back(asked[q].encoded.first_high_sum);
    taus.push_back(ranks[q][Below(random, ranks[q].size())]);
    terms.push_back(asked[q].ranking.Terms(taus[q], Reading::kHighDigits));
    norm_apart = norm_apart || asked[q].ranking.norm_apart();
  }
  sums.resize(kernel.tile_queries);
  const auto packed = Pack(digits, kernel);
  const Tile tile{packed.data(), sums.data(), terms.data(), count, norm_apart};
  // One of them may ask for what another does not.
  const FirstSlab slab = codes.columns().first(FirstCode::kByte, 0, true, true);
  std::vector<Survivor> out(codes.Room() * count);
  out.resize(kernel.filter_tile(slab, codes.groups(), tile, out.data()));
  for (const Survivor& survivor : out) ASSERT_LT(survivor.query, count);
  for (size_t q = 0; q < count; ++q) {
    SCOPED_TRACE(testing::Message() << "query " << q << " of " << count);
    const auto together = RowsOf(out, static_cast<uint32_t>(q));
    ExpectNoneMissing(together, ranks[q], taus[q]);
    const double lower = taus[q] - 1e-3 * std::abs(taus[q]) - 1e-3;
    const auto alone = RowsOf(asked[q].Survivors(lower, Reading::kHighDigits));
    ASSERT_TRUE(std::includes(alone.begin(), alone.end(), together.begin(), together.end()));
  }
}

TEST(Code, TilesLoseNoRow) {
  for (uint64_t seed = 1; seed <= 24; ++seed) {
    Random random(seed);
    const auto dimension = static_cast<uint32_t>(8 + Below(random, 150));
    const auto kind = static_cast<Kind>(Below(random, kKinds));
    const Rows rows = MakeRows(kind, 90, dimension, random);
    const auto layout = MakeLayout(AnyForm(rows, random), random);
    const bool zeros =
        std::any_of(rows.begin(), rows.end(), [](const auto& row) { return Dot(row, row) == 0; });
    const Metric metric = kMetrics[Below(random, 3)];
    if (metric == Metric::kCosine && zeros) continue;
    for (const Kernel* kernel : RunnableKernels()) {
      SCOPED_TRACE(testing::Message()
                   << "seed " << seed << ", " << Name(kind) << ", " << Name(metric) << ", "
                   << Describe(*layout) << ", " << kernel->isa);
      const Codes codes(*layout, *kernel, rows);
      std::deque<Asked> asked;
      std::vector<std::vector<double>> ranks;
      for (const auto& query : MakeQueries(kind, rows, kernel->tile_queries, random)) {
        asked.emplace_back(codes, query, metric, *kernel);
        ranks.push_back(Ranks(rows, query, metric, asked.back().encoded));
      }
      for (size_t count = 1; count <= kernel->tile_queries; ++count) {
        ExpectTileLosesNone(codes, asked, count, ranks, *kernel, random);
        if (HasFatalFailure()) return;
      }
    }
  }
}

// A bound that is always infinite would pass every test above.
TEST(Code, BoundsRuleMostRowsOut) {
  Random random(13);
  const Rows rows = MakeRows(Kind::kGaussian, 1'600, 64, random);
  struct {
    LayoutForm form;
    size_t most;  // rows of 1,600 that may be kept for the 10 best
  } const cases[] = {
      {{.dimension = 64, .first_width = 64}, 40},
      {{.dimension = 64, .first_width = 64, .basis = Basis::kWhole}, 40},
      {{.dimension = 64,
        .first_width = 64,
        .basis = Basis::kWhole,
        .center = rows[0],
        .longest = 100},
       80},
      {{.dimension = 64, .first_width = 64, .sketch = true, .weight_range = 0}, 400},
  };
  for (const auto& [form, most] : cases) {
    const auto layout = MakeLayout(form, random);
    SCOPED_TRACE(Describe(*layout));
    for (const Kernel* kernel : RunnableKernels()) {
      SCOPED_TRACE(kernel->isa);
      const Codes codes(*layout, *kernel, rows);
      for (const Metric metric : kMetrics) {
        const std::vector<float> query = MakeRows(Kind::kGaussian, 1, 64, random).front();
        const Asked asked(codes, query, metric, *kernel);
        auto ranks = Ranks(rows, query, metric, asked.encoded);
        std::nth_element(ranks.begin(), ranks.begin() + 9, ranks.end(), std::greater<>());
        const Reading reading = layout->has_sketch() ? Reading::kSketch : Reading::kAllDigits;
        EXPECT_LE(asked.Survivors(ranks[9], reading).size(), most) << Name(metric);
        EXPECT_LE(asked.Survivors(ranks[9], Reading::kHighDigits).size(), 2 * most) << Name(metric);
      }
    }
  }
}

TEST(Code, SurvivesWhereTheCertificateDoesNotApply) {
  // Norms outside [2^-40, 2^40]: whatever the threshold, the reference score decides.
  const Rows rows = {{1e-20f, 0}, {0, 1e20f}, {1, 1}, {0, 0}};
  const std::vector<float> query = {1, 2};
  const auto layout = Layout::Identity(2);
  for (const Kernel* kernel : RunnableKernels()) {
    const Codes codes(*layout, *kernel, rows);
    const Asked asked(codes, query, Metric::kInnerProduct, *kernel);
    EXPECT_EQ(RowsOf(asked.Survivors(1e30, Reading::kAllDigits)), (std::set<uint32_t>{0, 1}));
    // And queries: nothing is ruled out for them.
    for (const float huge : {1e-20f, 1e20f}) {
      const Asked unusable(codes, {huge, 0}, Metric::kL2, *kernel);
      EXPECT_FALSE(unusable.encoded.usable);
      EXPECT_EQ(unusable.Survivors(1e30, Reading::kAllDigits).size(), codes.Room());
    }
  }
}

// What refining reads of a row beside its later slabs is what the first pass reads.
TEST(Code, KeepsTheNumbersOfARowBesideItsLaterSlabs) {
  Random random(16);
  const Rows rows = MakeRows(Kind::kWildNorms, 64, 40, random);
  for (const std::vector<float>& center : {std::vector<float>(), rows[0]}) {
    const auto layout = MakeLayout({.dimension = 40, .first_width = 16, .center = center}, random);
    const Codes codes(*layout, *RunnableKernels().front(), rows);
    for (size_t row = 0; row < codes.Room(); ++row) {
      const CodeColumns::RowNumbers numbers = codes.columns().row_numbers(row);
      EXPECT_EQ(numbers.tail, FromHalf(codes.columns().tail[row]));
      EXPECT_EQ(numbers.norm, codes.columns().norm[row]);
      EXPECT_EQ(numbers.bend, codes.Bend(row));
    }
  }
}

// A layout of rows that are all alike has no length to it at all.
TEST(Code, RowsFartherThanTheLongestSurvive) {
  const Rows rows = {{101, 100}, {103, 100}, {100, 90}, {100, 111}, {100, 100}};
  auto layout = std::make_shared<Layout>(*Layout::Identity(2));
  layout->center = {100, 100};
  layout->center_norm = std::sqrt(20'000.0);
  layout->projection_error = layout->ProjectionBound();
  for (const double longest : {10, 0}) {
    layout->longest = longest;
    for (const Kernel* kernel : RunnableKernels()) {
      const Codes codes(*layout, *kernel, rows);
      for (const Metric metric : kMetrics) {
        SCOPED_TRACE(testing::Message()
                     << "longest " << longest << ", " << kernel->isa << ", " << Name(metric));
        const Asked asked(codes, {1, 2}, metric, *kernel);
        const auto kept = RowsOf(asked.Survivors(1e9, Reading::kAllDigits));
        for (uint32_t row = 0; row < rows.size(); ++row) {
          const bool farther = longest == 0 ? row != 4 : row == 3;
          EXPECT_EQ(kept.contains(row), farther) << "row " << row;
          const double error = FromHalf(codes.columns().error[row]);
          const double upper = asked.ranking.Upper(0, asked.encoded.factors[0].error * error,
                                                   codes.columns().norm[row], codes.Bend(row));
          EXPECT_EQ(upper == std::numeric_limits<double>::infinity(), farther) << "row " << row;
        }
      }
    }
  }
}

// Rows are stored with their norm rounded to float32, so that the square of what is stored may lie
// up to 2^-23 above |x|^2. The other margins of the L2 bound hide that from an answer, as far as
// data was found; the bound itself is wrong without it. Rows and query are integers: their ranks
// are exact in float64.
TEST(Code, NeedsTheRoundingOfSquares) {
  Random random(5);
  constexpr uint32_t kDimension = 256;
  Rows rows(256, std::vector<float>(kDimension));
  for (auto& row : rows) {
    for (float& x : row) x = static_cast<float>(63 + Below(random, 3));
  }
  std::vector<float> query(kDimension);
  for (float& x : query) x = static_cast<float>(Below(random, 2));
  const auto layout = Layout::Identity(kDimension);
  const Kernel& kernel = *RunnableKernels().front();
  const Codes codes(*layout, kernel, rows);
  const EncodedQuery encoded = EncodeQuery(query, Dot(query, query), Metric::kL2, *layout, kernel);
  const double scale = std::ldexp(1.0, -encoded.exponent);
  const auto rows_outside = [&](Term left_out) {
    const Ranking ranking(Metric::kL2, encoded, *layout, left_out);
    size_t outside = 0;
    for (size_t row = 0; row < rows.size(); ++row) {
      const double product = Dot(query, rows[row]);
      const double rank = product - Dot(rows[row], rows[row]) / 2 - encoded.dot / 2;
      outside += ranking.Upper(product * scale, 0, codes.columns().norm[row], 0) < rank;
    }
    return outside;
  };
  EXPECT_EQ(rows_outside(Term::kNone), 0u);
  EXPECT_GT(rows_outside(Term::kSquareRounding), 0u);
}

TEST(Code, RoundsOutward) {
  Random random(7);
  for (int i = 0; i < 100'000; ++i) {
    const double value = std::bit_cast<double>(random());
    if (std::isnan(value)) continue;
    ASSERT_GE(RoundUp(value), value);
    ASSERT_LE(RoundDown(value), value);
    ASSERT_GE(FromHalf(HalfUp(std::abs(value))), std::abs(value));
  }
  EXPECT_EQ(RoundUp(1.0), 1.0f);
  EXPECT_EQ(RoundDown(1.0), 1.0f);
  EXPECT_EQ(RoundDown(1e300), std::numeric_limits<float>::max());
  EXPECT_EQ(RoundUp(-1e300), -std::numeric_limits<float>::max());
  for (const double exact : {0.0, 1.0, 1.5, 127.0, 0x1p-30, 0x1p40}) {
    EXPECT_EQ(FromHalf(HalfUp(exact)), exact);
  }
  EXPECT_EQ(FromHalf(HalfUp(1 + 0x1p-20)), 1 + 0x1p-7f) << "the next number of 8 bits";
  EXPECT_EQ(FromHalf(HalfUp(std::numeric_limits<double>::infinity())), kInfinity);
}

}  // namespace
}  // namespace vexact

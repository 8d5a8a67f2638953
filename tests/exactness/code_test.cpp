// Codes, bounds and the kernels that read them. Builds without any library of the engine, so that
// it also runs for other machines (scripts/test-arm64).
#include "core/code.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <new>

#include "core/ranking.h"
#include "core/reference_score.h"
#include "tests/exactness/worlds.h"

namespace vexact {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// A vector whose first element is 64-byte aligned.
template <typename T>
class Aligned {
 public:
  explicit Aligned(size_t n) : data_(new (std::align_val_t(64)) T[n + 1]()) {}
  Aligned(const Aligned&) = delete;
  ~Aligned() { operator delete[](data_, std::align_val_t(64)); }
  T* data() { return data_; }

 private:
  T* data_;
};

// The codes of some rows, padded with the last one to whole groups.
class Codes {
 public:
  Codes(const Layout& layout, const std::vector<std::vector<float>>& rows)
      : groups_((rows.size() + kGroupRows - 1) / kGroupRows),
        first_(Room() * layout.first_bytes()),
        later_(Room() * layout.later_slabs() * kSlabWidth),
        numbers_(4 * Room()),
        bounds_(Room() * layout.later_slabs()) {
    columns_ = {.layout = layout,
                .capacity = Room(),
                .first_slab = first_.data(),
                .later_slabs = later_.data(),
                .scale = numbers_.data(),
                .norm = numbers_.data() + Room(),
                .error = numbers_.data() + 2 * Room(),
                .tail = layout.later_slabs() > 0 ? numbers_.data() + 3 * Room() : nullptr,
                .later = bounds_.data()};
    for (size_t group = 0; group < groups_; ++group) {
      std::vector<float> block;
      double dots[kGroupRows];
      for (size_t i = 0; i < kGroupRows; ++i) {
        const std::vector<float>& row = rows[std::min(group * kGroupRows + i, rows.size() - 1)];
        block.insert(block.end(), row.begin(), row.end());
        dots[i] = Dot(row, row);
      }
      EncodeGroup(columns_, group * kGroupRows, block.data(), dots);
    }
  }

  const CodeColumns& columns() const { return columns_; }
  size_t groups() const { return groups_; }

  FilterInput Input(const EncodedQuery& query) const { return MakeFilterInput(columns_, 0, query); }

 private:
  size_t Room() const { return groups_ * kGroupRows; }

  size_t groups_;
  Aligned<uint8_t> first_, later_;
  Aligned<float> numbers_;
  Aligned<LevelBounds> bounds_;
  CodeColumns columns_;
};

double Radius(const CodeColumns& columns, const EncodedQuery& query, size_t level, size_t row) {
  const EncodedQuery::Factors& factors = query.factors[level];
  const size_t later = columns.layout.later_slabs();
  const double error =
      level == 0 ? columns.error[row] : columns.later[row * later + level - 1].error;
  const double tail = level > 0                 ? columns.later[row * later + level - 1].tail
                      : columns.tail != nullptr ? columns.tail[row]
                                                : 0;
  return factors.error * error + factors.norm * double{columns.norm[row]} + factors.tail * tail;
}

// At every level, for every metric: the reference score lies within what the codes say of it.
void ExpectContained(const Codes& codes, const std::vector<std::vector<float>>& rows,
                     const std::vector<float>& query, const Kernel& kernel) {
  const CodeColumns& columns = codes.columns();
  const EncodedQuery encoded = EncodeQuery(query, Dot(query, query), columns.layout, kernel);
  std::vector<Survivor> survivors(codes.groups() * kGroupRows);
  ASSERT_EQ(kernel.filter(codes.Input(encoded), codes.groups(), survivors.data()),
            survivors.size());
  for (size_t row = 0; row < rows.size(); ++row) {
    double estimate = survivors[row].estimate;
    for (size_t level = 0; level < columns.layout.levels(); ++level) {
      if (level > 0) {
        const size_t digits = columns.layout.first_bytes() + (level - 1) * kSlabWidth;
        const SlabProducts products =
            kernel.slab_products(columns.later_slab(level - 1, row), encoded.high.data() + digits,
                                 encoded.low.data() + digits);
        estimate += double{encoded.scale} * columns.scale[row] *
                    (128.0 * (products.high - encoded.high_offsets[level]) +
                     (products.low - encoded.low_offsets[level]));
      }
      const double radius = Radius(columns, encoded, level, row);
      for (const Metric metric : kMetrics) {
        const double dot = Dot(rows[row], rows[row]);
        if (metric == Metric::kCosine && dot == 0) continue;
        const Ranking ranking(metric, encoded);
        const double score = ReferenceScore(metric, query, encoded.dot, rows[row], dot);
        const double upper = ranking.Upper(estimate, radius, columns.norm[row]);
        const double lower = ranking.Lower(estimate, radius, columns.norm[row]);
        ASSERT_GE(upper, ranking.FromScore(score))
            << Name(metric) << ", row " << row << ", level " << level;
        ASSERT_LE(lower, upper);
        if (metric == Metric::kL2) continue;
        const double rank =
            score * (metric == Metric::kCosine ? encoded.norm : std::ldexp(1.0, -encoded.exponent));
        ASSERT_LE(lower, rank) << Name(metric) << ", row " << row << ", level " << level;
      }
    }
  }
}

TEST(Code, BoundsContainTheScore) {
  Random random(6);
  for (int kind = 0; kind < kKinds; ++kind) {
    for (const uint32_t dimension : {1u, 3u, 64u, 65u, 200u, 1'000u}) {
      const Layout layout{dimension, static_cast<uint32_t>(1 + Below(random, dimension))};
      const auto rows = MakeRows(static_cast<Kind>(kind), 50, dimension, random);
      const Codes codes(layout, rows);
      for (int q = 0; q < 4; ++q) {
        const std::vector<float> query = MakeQuery(static_cast<Kind>(kind), rows, false, random);
        for (const Kernel* kernel : RunnableKernels()) {
          SCOPED_TRACE(testing::Message()
                       << Name(static_cast<Kind>(kind)) << ", " << dimension
                       << " dimensions, first slab " << layout.first_width << ", " << kernel->isa);
          ExpectContained(codes, rows, query, *kernel);
        }
      }
    }
  }
}

TEST(Code, SurvivesWhereTheCertificateDoesNotApply) {
  // Norms outside [2^-60, 2^60]: whatever the threshold, the reference score decides.
  const std::vector<std::vector<float>> rows = {{1e-30f, 0}, {0, 1e25f}, {1, 1}, {0, 0}};
  const Codes codes(Layout::Whole(2), rows);
  const std::vector<float> query = {1, 2};
  for (const Kernel* kernel : RunnableKernels()) {
    const EncodedQuery encoded = EncodeQuery(query, Dot(query, query), Layout::Whole(2), *kernel);
    FilterInput input = codes.Input(encoded);
    input.threshold = 1e30f;
    Survivor survivors[kGroupRows];
    ASSERT_EQ(kernel->filter(input, 1, survivors), 2u);
    EXPECT_EQ(survivors[0].row, 0u);
    EXPECT_EQ(survivors[1].row, 1u);
  }
}

// Rows are stored with their norm rounded up to float32, so that the square of what is stored lies
// up to 2^-22 above |x|^2. The other margins of the L2 bound hide that from an answer, as far as
// data was found; the bound itself is wrong without it. Rows and query are integers: their ranks
// are exact in float64.
TEST(Code, NeedsTheRoundingOfSquares) {
  Random random(5);
  constexpr uint32_t kDimension = 256;
  std::vector<std::vector<float>> rows(256, std::vector<float>(kDimension));
  for (auto& row : rows) {
    for (float& x : row) x = static_cast<float>(63 + Below(random, 3));
  }
  std::vector<float> query(kDimension);
  for (float& x : query) x = static_cast<float>(Below(random, 2));
  const Codes codes(Layout::Whole(kDimension), rows);
  const EncodedQuery encoded =
      EncodeQuery(query, Dot(query, query), Layout::Whole(kDimension), *RunnableKernels().front());
  const double scale = std::ldexp(1.0, -encoded.exponent);
  const auto rows_outside = [&](Term left_out) {
    const Ranking ranking(Metric::kL2, encoded, left_out);
    size_t outside = 0;
    for (size_t row = 0; row < rows.size(); ++row) {
      const double product = Dot(query, rows[row]) * scale;
      const double rank = product - Dot(rows[row], rows[row]) / 2 * scale;
      const double norm = codes.columns().norm[row];
      outside += ranking.Upper(product, 0, norm) < rank || ranking.Lower(product, 0, norm) > rank;
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
  }
  EXPECT_EQ(RoundUp(1.0), 1.0f);
  EXPECT_EQ(RoundDown(1.0), 1.0f);
  EXPECT_EQ(RoundDown(1e300), std::numeric_limits<float>::max());
  EXPECT_EQ(RoundUp(-1e300), -std::numeric_limits<float>::max());
}

// Products of whole planes, at their extremes too, are the same integers in every table: what the
// filter calls an estimate with both scales 1.
TEST(Kernel, ProductsAreExact) {
  Random random(8);
  for (const Kernel* kernel : RunnableKernels()) {
    for (const size_t width : {8ul, 16ul, 64ul, 72ul, 1'000ul, 65'536ul}) {
      for (const int extreme : {0, 1, 2}) {
        SCOPED_TRACE(testing::Message()
                     << kernel->isa << ", width " << width << ", extreme " << extreme);
        Aligned<uint8_t> codes(width * kGroupRows);
        std::vector<int8_t> high(width), low(width);
        int64_t high_sum = 0, low_sum = 0;
        for (size_t j = 0; j < width; ++j) {
          const int top = kernel->max_digit;
          high[j] =
              static_cast<int8_t>(extreme == 0 ? static_cast<int>(Below(random, 2 * top + 1)) - top
                                  : extreme == 1 ? top
                                                 : -top);
          low[j] = static_cast<int8_t>(extreme == 0   ? static_cast<int>(Below(random, 128)) - 64
                                       : extreme == 1 ? 63
                                                      : -64);
          high_sum += high[j];
          low_sum += low[j];
        }
        for (size_t i = 0; i < width * kGroupRows; ++i) {
          codes.data()[i] = static_cast<uint8_t>(extreme == 0   ? 1 + Below(random, 255)
                                                 : extreme == 1 ? 255
                                                                : 1);
        }
        std::vector<double> expected(kGroupRows);
        for (size_t row = 0; row < kGroupRows; ++row) {
          int64_t h = 0, l = 0;
          for (size_t j = 0; j < width; ++j) {
            const int c = codes.data()[j / 4 * 64 + row * 4 + j % 4] - 128;
            h += c * high[j];
            l += c * low[j];
          }
          // As the filter adds them: each plane rounded to float32 once.
          expected[row] = static_cast<float>(h) * 128.0 + static_cast<float>(l);
        }
        Aligned<float> ones(kGroupRows), zeros(kGroupRows);
        std::fill_n(ones.data(), kGroupRows, 1.0f);
        const FilterInput input{.codes = codes.data(),
                                .width = width,
                                .scale = ones.data(),
                                .row_error = zeros.data(),
                                .norm = ones.data(),
                                .high = high.data(),
                                .low = low.data(),
                                .high_offset = static_cast<int32_t>(128 * high_sum),
                                .low_offset = static_cast<int32_t>(128 * low_sum),
                                .query_scale = 1,
                                .threshold = -kInfinity};
        Survivor survivors[kGroupRows];
        ASSERT_EQ(kernel->filter(input, 1, survivors), kGroupRows);
        for (size_t row = 0; row < kGroupRows; ++row) {
          EXPECT_EQ(survivors[row].row, row);
          EXPECT_EQ(survivors[row].estimate, static_cast<float>(expected[row]));
        }
      }
    }
  }
}

TEST(Kernel, SlabProductsAreExact) {
  Random random(9);
  for (const Kernel* kernel : RunnableKernels()) {
    for (int i = 0; i < 1'000; ++i) {
      Aligned<uint8_t> codes(kSlabWidth);
      int8_t high[kSlabWidth], low[kSlabWidth];
      SlabProducts expected;
      for (size_t j = 0; j < kSlabWidth; ++j) {
        codes.data()[j] = static_cast<uint8_t>(i == 0 ? 255 : 1 + Below(random, 255));
        const int top = kernel->max_digit;
        high[j] =
            static_cast<int8_t>(i == 0 ? top : static_cast<int>(Below(random, 2 * top + 1)) - top);
        low[j] = static_cast<int8_t>(i == 0 ? -64 : static_cast<int>(Below(random, 128)) - 64);
        expected.high += codes.data()[j] * high[j];
        expected.low += codes.data()[j] * low[j];
      }
      const SlabProducts products = kernel->slab_products(codes.data(), high, low);
      ASSERT_EQ(products.high, expected.high) << kernel->isa;
      ASSERT_EQ(products.low, expected.low) << kernel->isa;
    }
  }
}

TEST(Kernel, FilterKeepsWhatIsNotLess) {
  // Bounds 0 to 15 against a threshold of 7, then against NaN, infinities and a threshold per row.
  for (const Kernel* kernel : RunnableKernels()) {
    SCOPED_TRACE(kernel->isa);
    Aligned<uint8_t> codes(8 * kGroupRows);
    std::memset(codes.data(), 128, 8 * kGroupRows);
    Aligned<float> bounds(kGroupRows), norms(kGroupRows), scales(kGroupRows);
    for (size_t i = 0; i < kGroupRows; ++i)
      bounds.data()[i] = norms.data()[i] = static_cast<float>(i);
    const int8_t digits[8] = {};
    FilterInput input{.codes = codes.data(),
                      .width = 8,
                      .scale = scales.data(),
                      .row_error = bounds.data(),
                      .norm = norms.data(),
                      .high = digits,
                      .low = digits,
                      .query_scale = 1,
                      .row_error_factor = 1};
    Survivor survivors[kGroupRows];
    input.threshold = 7;
    EXPECT_EQ(kernel->filter(input, 1, survivors), 9u);
    EXPECT_EQ(survivors[0].row, 7u);
    input.threshold = std::numeric_limits<float>::quiet_NaN();
    EXPECT_EQ(kernel->filter(input, 1, survivors), kGroupRows);
    input.threshold = kInfinity;
    EXPECT_EQ(kernel->filter(input, 1, survivors), 0u);
    input.threshold = 0;
    input.norm_threshold = 2;  // i >= 2 i for 0 alone
    EXPECT_EQ(kernel->filter(input, 1, survivors), 1u);
    input.norm_threshold = 0;
    input.square_threshold = 0.25f;  // i >= i^2 / 4 up to 4
    EXPECT_EQ(kernel->filter(input, 1, survivors), 5u);
  }
}

}  // namespace
}  // namespace vexact

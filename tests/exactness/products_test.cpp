// The kernels that read codes, against the same arithmetic in whole numbers. Builds without any
// library of the engine, so that it also runs for other machines (scripts/test-arm64).
#include "core/kernel/kernel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "core/code.h"
#include "tests/exactness/layouts.h"
#include "tests/exactness/operands.h"
#include "tests/exactness/worlds.h"

namespace vexact {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

using Rows = std::vector<std::vector<float>>;

// Numbers beside the codes that leave a survivor's estimate what the products are.
class PlainSlab {
 public:
  PlainSlab(FirstCode code, size_t width, size_t groups)
      : codes(groups * kGroupRows * FirstSlabBytes(code, width)),
        scale_(groups * kGroupRows),
        error(groups * kGroupRows),
        norm(groups * kGroupRows) {
    std::fill_n(scale_.data(), groups * kGroupRows, HalfUp(1));
    slab_ = {.code = code,
             .width = width,
             .codes = codes.data(),
             .scale = scale_.data(),
             .error = error.data()};
  }
  const FirstSlab& slab() const { return slab_; }
  FirstSlab WithNorm() {
    FirstSlab slab = slab_;
    slab.norm = norm.data();
    return slab;
  }

  Aligned<uint8_t> codes;

 private:
  Aligned<uint16_t> scale_;
  FirstSlab slab_;

 public:
  Aligned<uint16_t> error;
  Aligned<float> norm;
};

constexpr QueryTerms kEverything{.scale = 1, .threshold = -kInfinity};

enum class Extreme { kNone, kTop, kBottom };
constexpr Extreme kExtremes[] = {Extreme::kNone, Extreme::kTop, Extreme::kBottom};

// In [low, high], or one of its ends.
int Within(int low, int high, Extreme extreme, Random& random) {
  if (extreme == Extreme::kTop) return high;
  if (extreme == Extreme::kBottom) return low;
  return low + static_cast<int>(Below(random, static_cast<size_t>(high - low + 1)));
}

std::vector<int8_t> MakeDigits(size_t n, int low, int high, Extreme extreme, Random& random) {
  std::vector<int8_t> digits(n);
  for (int8_t& digit : digits) digit = static_cast<int8_t>(Within(low, high, extreme, random));
  return digits;
}

int32_t SumOf(const std::vector<int8_t>& digits) {
  int32_t sum = 0;
  for (const int8_t digit : digits) sum += digit;
  return sum;
}

void FillCodes(PlainSlab& slab, size_t groups, Extreme extreme, Random& random) {
  const bool sketch = slab.slab().code == FirstCode::kSketch;
  const size_t bytes = groups * kGroupRows * FirstSlabBytes(slab.slab().code, slab.slab().width);
  for (size_t i = 0; i < bytes; ++i) {
    slab.codes.data()[i] = static_cast<uint8_t>(sketch ? Within(0, 255, extreme, random)
                                                       : Within(1, 255, extreme, random));
  }
}

// Twice what the code of one coordinate stands for, read as kernel.h describes the slab.
int TwiceCode(const FirstSlab& slab, size_t row, size_t j) {
  const uint8_t* group =
      slab.codes + row / kGroupRows * kGroupRows * FirstSlabBytes(slab.code, slab.width);
  const uint8_t* mine = group + row % kGroupRows * 4;
  if (slab.code == FirstCode::kByte) return 2 * (mine[j / 4 * 64 + j % 4] - 128);
  const int both = mine[j / 8 * 64 + j % 4];
  return 2 * (j % 8 < 4 ? both & 15 : both >> 4) - 15;
}

double ExactProduct(const FirstSlab& slab, size_t row, const std::vector<int8_t>& digits) {
  int64_t sum = 0;
  for (size_t j = 0; j < slab.width; ++j) sum += TwiceCode(slab, row, j) * digits[j];
  return static_cast<double>(sum) / 2;
}

// Products of whole planes, at their extremes too, are the same integers in every table: what a
// kernel calls an estimate with both scales 1.
TEST(Kernel, ProductsAreExact) {
  Random random(8);
  constexpr size_t kGroups = 2;
  for (const Kernel* kernel : RunnableKernels()) {
    for (const size_t width : {8ul, 16ul, 64ul, 72ul, 1'000ul, 65'536ul}) {
      for (const Extreme of_codes : kExtremes) {
        for (const Extreme of_digits : kExtremes) {
          SCOPED_TRACE(testing::Message() << kernel->isa << ", width " << width);
          PlainSlab slab(FirstCode::kByte, width, kGroups);
          FillCodes(slab, kGroups, of_codes, random);
          const int top = kernel->max_digit;
          const auto high = MakeDigits(width, -top, top, of_digits, random);
          const auto low = MakeDigits(width, -64, 63, of_digits, random);
          const QueryDigits digits{high.data(), low.data(), SumOf(high), SumOf(low)};
          Survivor bounded[kGroups * kGroupRows];
          Aligned<float> bounds(std::size(bounded));
          ASSERT_EQ(kernel->bound(slab.slab(), kGroups, digits, {.scale = 1}, kEverything,
                                  bounds.data(), bounded),
                    std::size(bounded));
          for (size_t row = 0; row < std::size(bounded); ++row) {
            // As the kernel adds them: each plane rounded to float32 once.
            const auto h = static_cast<float>(ExactProduct(slab.slab(), row, high));
            const auto l = static_cast<float>(ExactProduct(slab.slab(), row, low));
            const auto expected = static_cast<float>(double{h} * 128 + l);
            ASSERT_EQ(bounded[row].row, row);
            ASSERT_EQ(bounded[row].estimate, expected);
            ASSERT_EQ(bounds.data()[row], expected);
          }
        }
      }
    }
  }
}

// The same of tiles, which read the high plane alone. Every number of queries takes a tile of its
// own width, every number of groups leaves another rest.
TEST(Kernel, ProductsOfTilesAreExact) {
  Random random(14);
  for (const Kernel* kernel : RunnableKernels()) {
    for (const size_t width : {8ul, 24ul, 64ul, 1'000ul, 8'192ul}) {
      for (const Extreme extreme : kExtremes) {
        for (size_t queries = 1; queries <= kernel->tile_queries; ++queries) {
          const size_t groups = 1 + Below(random, width > 1'000 ? 2 : 6);
          SCOPED_TRACE(testing::Message() << kernel->isa << ", width " << width << ", " << queries
                                          << " queries, " << groups << " groups");
          PlainSlab slab(FirstCode::kByte, width, groups);
          FillCodes(slab, groups, extreme, random);
          std::vector<std::vector<int8_t>> digits;
          std::vector<int8_t> packed(width * kernel->tile_queries, int8_t{1});
          std::vector<int32_t> sums(kernel->tile_queries);
          for (size_t q = 0; q < queries; ++q) {
            const Extreme own = q % 2 == 0 ? extreme : kExtremes[Below(random, 3)];
            digits.push_back(MakeDigits(width, -kernel->max_digit, kernel->max_digit, own, random));
            for (size_t j = 0; j < width; ++j) {
              packed[(j / 4 * kernel->tile_queries + q) * 4 + j % 4] = digits[q][j];
            }
            sums[q] = SumOf(digits[q]);
          }
          const std::vector<QueryTerms> terms(kernel->tile_queries, kEverything);
          const Tile tile{packed.data(), sums.data(), terms.data(), queries};
          std::vector<Survivor> survivors(groups * kGroupRows * queries);
          ASSERT_EQ(kernel->filter_tile(slab.slab(), groups, tile, survivors.data()),
                    survivors.size());
          std::set<std::pair<uint32_t, uint32_t>> seen;
          for (const Survivor& survivor : survivors) {
            ASSERT_LT(survivor.query, queries);
            ASSERT_TRUE(seen.emplace(survivor.query, survivor.row).second) << "written twice";
            ASSERT_EQ(survivor.estimate, static_cast<float>(ExactProduct(slab.slab(), survivor.row,
                                                                         digits[survivor.query])));
          }
        }
      }
    }
  }
}

// And of sketches, which one query reads, with its one plane.
TEST(Kernel, ProductsOfSketchesAreExact) {
  Random random(16);
  for (const Kernel* kernel : RunnableKernels()) {
    for (const size_t width : {8ul, 24ul, 64ul, 1'000ul, 8'192ul}) {
      for (const Extreme extreme : kExtremes) {
        for (size_t groups = 1; groups <= 5; ++groups) {
          SCOPED_TRACE(testing::Message()
                       << kernel->isa << ", width " << width << ", " << groups << " groups");
          PlainSlab slab(FirstCode::kSketch, width, groups);
          FillCodes(slab, groups, extreme, random);
          const auto digits = MakeDigits(width, -127, 127, extreme, random);
          const auto packed = Pack({&digits}, *kernel);
          const size_t rows = groups * kGroupRows;
          Aligned<float> bounds(rows);
          std::vector<Survivor> survivors(rows);
          ASSERT_EQ(kernel->bound(slab.slab(), groups, {packed.data(), nullptr, SumOf(digits), 0},
                                  {.scale = 1}, kEverything, bounds.data(), survivors.data()),
                    rows);
          for (size_t row = 0; row < rows; ++row) {
            const auto expected = static_cast<float>(ExactProduct(slab.slab(), row, digits));
            ASSERT_EQ(survivors[row].row, row);
            ASSERT_EQ(survivors[row].estimate, expected);
            ASSERT_EQ(bounds.data()[row], expected);
          }
        }
      }
    }
  }
}

TEST(Kernel, SlabProductsAreExact) {
  Random random(9);
  for (const Kernel* kernel : RunnableKernels()) {
    for (int i = 0; i < 1'000; ++i) {
      const size_t slabs = i < 4 ? 1'024 : 1 + Below(random, 9);
      const size_t n = slabs * kSlabWidth;
      const Extreme of_codes = i < 4 ? Extreme::kTop : Extreme::kNone;
      const Extreme of_digits = i < 4 ? kExtremes[1 + i % 2] : Extreme::kNone;
      Aligned<uint8_t> block(n + kSlabWidth);
      uint8_t* const codes = block.data() + Below(random, kSlabWidth);  // they begin anywhere
      const auto high = MakeDigits(n, -kernel->max_digit, kernel->max_digit, of_digits, random);
      const auto low = MakeDigits(n, -64, 63, of_digits, random);
      SlabProducts expected;
      for (size_t j = 0; j < n; ++j) {
        codes[j] = static_cast<uint8_t>(Within(1, 255, of_codes, random));
        expected.high += codes[j] * high[j];
        expected.low += codes[j] * low[j];
      }
      const auto products = kernel->slab_products(codes, high.data(), low.data(), slabs);
      ASSERT_EQ(products.high, expected.high) << kernel->isa << ", " << slabs << " slabs";
      ASSERT_EQ(products.low, expected.low) << kernel->isa << ", " << slabs << " slabs";
    }
  }
}

TEST(Kernel, KeepsWhatIsNotLess) {
  // Bounds 0 to 15 against a threshold of 7, then against NaN, infinities and a threshold per row.
  for (const Kernel* kernel : RunnableKernels()) {
    SCOPED_TRACE(kernel->isa);
    PlainSlab slab(FirstCode::kByte, 8, 1);
    std::memset(slab.codes.data(), 128, 8 * kGroupRows);
    for (size_t i = 0; i < kGroupRows; ++i) {
      slab.error.data()[i] = HalfUp(static_cast<double>(i));
      slab.norm.data()[i] = static_cast<float>(i);
    }
    const int8_t zeros[8] = {};
    const std::vector<int8_t> packed(8 * kernel->tile_queries);
    const std::vector<int32_t> sums(kernel->tile_queries);
    Aligned<float> bounds(kGroupRows);
    Survivor survivors[kGroupRows];
    const auto kept = [&](const QueryTerms& terms) {
      const std::vector<QueryTerms> all(kernel->tile_queries, terms);
      const Tile tile{packed.data(), sums.data(), all.data(), 1, terms.norm != 0};
      return kernel->filter_tile(slab.WithNorm(), 1, tile, survivors);
    };
    QueryTerms terms{.error = 1, .threshold = 7};
    EXPECT_EQ(kept(terms), 9u);
    EXPECT_EQ(survivors[0].row, 7u);
    terms.threshold = std::numeric_limits<float>::quiet_NaN();
    EXPECT_EQ(kept(terms), kGroupRows);
    terms.threshold = kInfinity;
    EXPECT_EQ(kept(terms), 0u);
    terms.threshold = 0;
    terms.norm = -2;  // i >= 2 i for 0 alone
    EXPECT_EQ(kept(terms), 1u);
    terms.norm = 0;
    terms.square = -0.25f;  // i >= i^2 / 4 up to 4
    EXPECT_EQ(kept(terms), 5u);

    kernel->bound(slab.WithNorm(), 1, {zeros, zeros, 0, 0}, {.error = 1}, {}, bounds.data(),
                  survivors);
    const auto selected = [&](float norm, float threshold) {
      return kernel->select(bounds.data(), slab.norm.data(), norm, threshold, 1, survivors);
    };
    EXPECT_EQ(selected(0, 7), 9u);
    EXPECT_EQ(survivors[0].row, 7u);
    EXPECT_EQ(selected(0, std::numeric_limits<float>::quiet_NaN()), kGroupRows);
    EXPECT_EQ(selected(0, kInfinity), 0u);
    EXPECT_EQ(selected(-2, 0), 1u);
    EXPECT_EQ(kernel->select(bounds.data(), nullptr, 0, 7, 1, survivors), 9u);
  }
}

// Against float64, for whole and broken panels, runs and rows.
TEST(Kernel, ProjectionsErrAsLittleAsTheySay) {
  Random random(15);
  for (const Kernel* kernel : RunnableKernels()) {
    for (const uint32_t d : {1u, 7u, 63u, 64u, 65u, 200u, 1'000u, 4'096u}) {
      for (const size_t count : {1ul, 64ul, 65ul}) {
        Layout layout{.dimension = d};
        layout.basis_rows = static_cast<uint32_t>(count);
        layout.basis.resize(layout.panels() * d * (kPanelRows / 16));
        const Rows basis = MakeRows(Kind::kGaussian, count, d, random);
        for (size_t i = 0; i < count; ++i) {
          for (size_t j = 0; j < d; ++j) layout.basis_at(i, j) = basis[i][j];
        }
        const size_t n = 1 + Below(random, 9);
        const Rows rows =
            MakeRows(Below(random, 2) == 0 ? Kind::kOffset : Kind::kGaussian, n, d, random);
        std::vector<float> block;
        for (const auto& row : rows) block.insert(block.end(), row.begin(), row.end());
        const size_t step = layout.panels() * kPanelRows;
        Aligned<float> out(n * step);
        kernel->project(layout.basis_data(), layout.panels(), d, block.data(), n, out.data());
        for (size_t i = 0; i < n; ++i) {
          for (size_t r = 0; r < count; ++r) {
            double sum = 0, magnitudes = 0;
            for (size_t j = 0; j < d; ++j) {
              sum += double{basis[r][j]} * rows[i][j];
              magnitudes += std::abs(double{basis[r][j]} * rows[i][j]);
            }
            ASSERT_LE(std::abs(out.data()[i * step + r] - sum),
                      ProjectError(d) * 0x1p-24 * magnitudes)
                << kernel->isa << ", dimension " << d << ", vector " << r << " of " << count
                << ", row " << i << " of " << n;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace vexact

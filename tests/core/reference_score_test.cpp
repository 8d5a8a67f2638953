#include "core/reference_score.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "tests/core/oracle.h"

namespace vexact {
namespace {

using oracle::Bits;
using Vector = std::vector<float>;

TEST(ReferenceScore, IsPlainArithmeticOnSmallVectors) {
  EXPECT_EQ(Dot(Vector{3, 1, 2}, Vector{1, 4, 2}), 11);
  EXPECT_EQ(SquaredL2(Vector{3, 1, 2}, Vector{1, 4, 2}), 13);
  EXPECT_EQ(ReferenceScore(Metric::kInnerProduct, Vector{3, 4}, 25, Vector{4, 3}, 25), 24);
  EXPECT_EQ(ReferenceScore(Metric::kCosine, Vector{3, 4}, 25, Vector{4, 3}, 25), 0.96);
  EXPECT_EQ(ReferenceScore(Metric::kL2, Vector{3, 4}, 25, Vector{4, 3}, 25), 2);
}

// 1e16 + 1 is 1e16 in float64: which terms meet first is visible in the result.
TEST(ReferenceScore, AddsTermsSixteenApartInOneLane) {
  Vector a(17);
  Vector b(17);
  a[0] = b[0] = 1e8f;
  a[8] = 1e8f;
  b[8] = -1e8f;
  a[16] = b[16] = 1;
  // Lane 0 is 1e16 + 1 = 1e16, lane 8 is -1e16; from left to right it would have been 1.
  EXPECT_EQ(Dot(a, b), 0);
}

TEST(ReferenceScore, AddsLanesAsAHalvingTree) {
  Vector a(16);
  Vector b(16);
  a[0] = b[0] = 1e8f;
  a[1] = b[1] = 1;
  a[8] = 1e8f;
  b[8] = -1e8f;
  // Lanes 0 and 8 meet before lanes 0 and 1; from left to right it would have been 0.
  EXPECT_EQ(Dot(a, b), 1);
}

TEST(ReferenceScore, RoundsTheSquareBeforeAddingIt) {
  Vector a(33);
  Vector b(33);
  a[0] = a[16] = 0x1p-27f;  // lane 0 is 2^-53 before the last term
  a[32] = 1;
  b[32] = -0x1p-30f;
  // The square of 1 + 2^-30 rounds to 1 + 2^-29, and 2^-53 more is a tie that goes to even. Fused,
  // the square's 2^-60 would have broken the tie upwards.
  EXPECT_EQ(SquaredL2(a, b), 1 + 0x1p-29);
}

TEST(ReferenceScore, RoundsTheDifferenceBeforeSquaringIt) {
  EXPECT_EQ(SquaredL2(Vector{0x1p60f}, Vector{1}), 0x1p120);
}

TEST(ReferenceScore, NeverGivesNegativeZeroForNothing) {
  EXPECT_EQ(Bits(Dot(Vector{-0.0f, -0.0f}, Vector{1, 1})), Bits(0.0));
  EXPECT_EQ(Bits(Dot(Vector(16, -0.0f), Vector(16, 1))), Bits(0.0));
  EXPECT_EQ(Bits(SquaredL2(Vector{-0.0f}, Vector{0.0f})), Bits(0.0));
}

TEST(ReferenceScore, IsFiniteForTheLargestVectors) {
  constexpr float kLargest = std::numeric_limits<float>::max();
  const Vector a(65'536, kLargest);
  const Vector b(65'536, -kLargest);
  const double square = static_cast<double>(kLargest) * kLargest;
  EXPECT_NEAR(Dot(a, a) / (square * 65'536), 1, 1e-12);
  EXPECT_NEAR(SquaredL2(a, b) / (square * 65'536), 4, 1e-12);
  EXPECT_EQ(ReferenceScore(Metric::kCosine, a, Dot(a, a), b, Dot(b, b)), -1);
}

TEST(ReferenceScore, SeesTheSmallestVectors) {
  const Vector a{std::numeric_limits<float>::denorm_min()};
  EXPECT_EQ(Dot(a, a), 0x1p-298);
  EXPECT_EQ(ReferenceScore(Metric::kCosine, a, Dot(a, a), a, Dot(a, a)), 1);
}

TEST(ReferenceScore, IsTheOracleBitForBitWhateverTheData) {
  for (const oracle::Maker& maker : oracle::Makers()) {
    for (uint64_t seed = 1; seed <= 200; ++seed) {
      SCOPED_TRACE(std::string(maker.name) + ", seed " + std::to_string(seed));
      oracle::Random random(seed);
      const size_t dimension = 1 + random.Below(700);
      const Vector q = maker.make(random, dimension);
      const Vector x = maker.make(random, dimension);
      const double dot_qq = Dot(q, q);
      const double dot_xx = Dot(x, x);
      for (const Metric metric : kMetrics) {
        if (metric == Metric::kCosine && (dot_qq == 0 || dot_xx == 0)) continue;
        ASSERT_EQ(Bits(ReferenceScore(metric, q, dot_qq, x, dot_xx)),
                  Bits(oracle::Score(metric, q, x)))
            << Name(metric) << ", dimension " << dimension;
      }
    }
  }
}

TEST(ReferenceScore, DoesNotDependOnWhoIsTheQuery) {
  oracle::Random random(7);
  const Vector a = random.Gaussian(333);
  const Vector b = random.Gaussian(333);
  EXPECT_EQ(Bits(Dot(a, b)), Bits(Dot(b, a)));
  EXPECT_EQ(Bits(SquaredL2(a, b)), Bits(SquaredL2(b, a)));
}

TEST(L2Normalize, DividesInFloat64AndRoundsOnce) {
  Vector out(2);
  L2Normalize(Vector{3, 4}, 25, out);
  EXPECT_EQ(out, (Vector{0.6f, 0.8f}));
  for (const oracle::Maker& maker : oracle::Makers()) {
    oracle::Random random(11);
    Vector x = maker.make(random, 77);
    const Vector expected = oracle::Normalized(x);
    L2Normalize(x, Dot(x, x), x);  // in place
    EXPECT_EQ(x, expected) << maker.name;
  }
}

}  // namespace
}  // namespace vexact

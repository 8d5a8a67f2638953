#include "core/compare.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "core/collection.h"
#include "tests/core/harness.h"

namespace vexact {
namespace {

using Vector = std::vector<float>;
using testing::DoubleNear;
using testing::ElementsAre;
using testing::Optional;

Comparison MustCompare(const Vector& a, const Vector& b) {
  const auto result = Compare(a, b);
  EXPECT_THAT(result.status(), IsOk());
  return result.value_or(Comparison());
}

TEST(Compare, TextbookInThreeDimensions) {
  const Comparison c = MustCompare({3, 1, 2}, {1, 4, 2});
  EXPECT_EQ(c.dot, 11);
  EXPECT_EQ(c.norm_a, std::sqrt(14.0));
  EXPECT_EQ(c.norm_b, std::sqrt(21.0));
  EXPECT_EQ(c.squared_distance, 13);
  EXPECT_EQ(c.distance, std::sqrt(13.0));
  EXPECT_EQ(c.cosine_similarity, 11 / std::sqrt(14.0 * 21.0));
  EXPECT_EQ(c.cosine_distance, 1 - 11 / std::sqrt(14.0 * 21.0));
  EXPECT_THAT(c.angle_degrees, Optional(DoubleNear(50.0938, 1e-4)));
  EXPECT_THAT(c.scalar_projection, Optional(DoubleNear(2.4003967925959, 1e-12)));
  EXPECT_THAT(c.vector_projection,
              ElementsAre(DoubleNear(11.0 / 21, 1e-15), DoubleNear(44.0 / 21, 1e-15),
                          DoubleNear(22.0 / 21, 1e-15)));
}

TEST(Compare, ProjectsOnAnAxis) {
  const Comparison c = MustCompare({4, 3}, {1, 0});
  EXPECT_EQ(c.scalar_projection, 4);
  EXPECT_THAT(c.vector_projection, ElementsAre(4, 0));
  EXPECT_EQ(c.cosine_similarity, 0.8);
  EXPECT_EQ(c.norm_a, 5);
}

TEST(Compare, ProjectionPointsBackWhenTheAngleIsObtuse) {
  const Comparison c = MustCompare({-4, 3}, {2, 0});
  EXPECT_EQ(c.scalar_projection, -4);
  EXPECT_THAT(c.vector_projection, ElementsAre(-4, 0));
}

TEST(Compare, UnitVectorsWithDotFourFifthsAreRootOfTwoFifthsApart) {
  const Comparison c = MustCompare({1, 0}, {0.8f, 0.6f});
  EXPECT_NEAR(c.dot, 0.8, 1e-7);
  EXPECT_NEAR(c.distance, std::sqrt(0.4), 1e-7);
}

TEST(Compare, IsNotSymmetricOnlyInItsProjections) {
  const Comparison ab = MustCompare({1, 2}, {3, -1});
  const Comparison ba = MustCompare({3, -1}, {1, 2});
  EXPECT_EQ(ab.dot, ba.dot);
  EXPECT_EQ(ab.norm_a, ba.norm_b);
  EXPECT_EQ(ab.distance, ba.distance);
  EXPECT_EQ(ab.angle_degrees, ba.angle_degrees);
  EXPECT_NE(ab.scalar_projection, ba.scalar_projection);
}

TEST(Compare, KnowsTheAnglesOfTheSquare) {
  EXPECT_EQ(MustCompare({1, 0}, {5, 0}).angle_degrees, 0);
  EXPECT_THAT(MustCompare({1, 0}, {0, 5}).angle_degrees, Optional(DoubleNear(90, 1e-13)));
  EXPECT_THAT(MustCompare({1, 0}, {3, 3}).angle_degrees, Optional(DoubleNear(45, 1e-13)));
  EXPECT_EQ(MustCompare({1, 0}, {-2, 0}).angle_degrees, 180);
}

// acos of a cosine cannot tell these angles from 0 and 180 degrees: the cosine rounds to 1.
TEST(Compare, TinyAnglesKeepTheirDigits) {
  for (const float tangent : {1e-4f, 1e-9f, 1e-15f, 1e-30f}) {
    const double degrees = std::atan(static_cast<double>(tangent)) * 180 / std::numbers::pi;
    const Comparison near = MustCompare({1, 0}, {1, tangent});
    EXPECT_THAT(near.angle_degrees, Optional(DoubleNear(degrees, 1e-12 * degrees))) << tangent;
    const Comparison opposite = MustCompare({1, 0}, {-1, tangent});
    EXPECT_THAT(opposite.angle_degrees, Optional(DoubleNear(180 - degrees, 1e-13))) << tangent;
  }
  EXPECT_EQ(MustCompare({1, 0}, {1, 1e-9f}).cosine_similarity, 1);
}

TEST(Compare, AVectorIsAtNoDistanceFromItself) {
  oracle::Random random(3);
  const Vector a = random.Gaussian(384);
  const Comparison c = MustCompare(a, a);
  EXPECT_EQ(c.distance, 0);
  EXPECT_EQ(c.cosine_similarity, 1);
  EXPECT_EQ(c.cosine_distance, 0);
  EXPECT_EQ(c.angle_degrees, 0);
  EXPECT_NEAR(*c.scalar_projection, c.norm_a, 1e-12);
}

TEST(Compare, AZeroVectorHasNoDirection) {
  const Comparison zero_b = MustCompare({3, 4}, {0, -0.0f});
  EXPECT_EQ(zero_b.dot, 0);
  EXPECT_EQ(zero_b.norm_a, 5);
  EXPECT_EQ(zero_b.norm_b, 0);
  EXPECT_EQ(zero_b.squared_distance, 25);
  EXPECT_EQ(zero_b.distance, 5);
  EXPECT_EQ(zero_b.cosine_similarity, std::nullopt);
  EXPECT_EQ(zero_b.cosine_distance, std::nullopt);
  EXPECT_EQ(zero_b.angle_degrees, std::nullopt);
  EXPECT_EQ(zero_b.scalar_projection, std::nullopt);
  EXPECT_TRUE(zero_b.vector_projection.empty());

  const Comparison zero_a = MustCompare({0, 0}, {3, 4});
  EXPECT_EQ(zero_a.angle_degrees, std::nullopt);
  EXPECT_EQ(zero_a.cosine_similarity, std::nullopt);
  EXPECT_EQ(zero_a.scalar_projection, 0) << "nothing has a projection: nothing";
  EXPECT_THAT(zero_a.vector_projection, ElementsAre(0, 0));
}

TEST(Compare, CountsInTheReferenceScore) {
  for (const oracle::Maker& maker : oracle::Makers()) {
    oracle::Random random(17);
    const Vector a = maker.make(random, 205);
    const Vector b = maker.make(random, 205);
    const Comparison c = MustCompare(a, b);
    EXPECT_EQ(oracle::Bits(c.dot), oracle::Bits(oracle::Dot(a, b))) << maker.name;
    EXPECT_EQ(oracle::Bits(c.squared_distance), oracle::Bits(oracle::SquaredL2(a, b)));
    ASSERT_TRUE(c.cosine_similarity) << maker.name;
    EXPECT_EQ(oracle::Bits(*c.cosine_similarity),
              oracle::Bits(oracle::Score(Metric::kCosine, a, b)));
    EXPECT_GE(*c.angle_degrees, 0);
    EXPECT_LE(*c.angle_degrees, 180);
    EXPECT_NEAR(std::cos(*c.angle_degrees * std::numbers::pi / 180), *c.cosine_similarity, 1e-12)
        << maker.name;
    for (const double component : c.vector_projection) EXPECT_TRUE(std::isfinite(component));
  }
}

TEST(Compare, RefusesDifferentDimensions) {
  EXPECT_THAT(Compare(Vector{1, 2, 3}, Vector{1, 2}).status(),
              StatusIs(kInvalid, "a has 3 components, b has 2; they must have the same dimension"));
}

TEST(Compare, RefusesNothingAndTooMuch) {
  EXPECT_THAT(Compare(Vector{}, Vector{}).status(),
              StatusIs(kInvalid, "a and b have 0 components; there must be 1 to 65536"));
  const Vector large(kMaxDimension + 1, 1);
  EXPECT_THAT(Compare(large, large).status(),
              StatusIs(kInvalid, "a and b have 65537 components; there must be 1 to 65536"));
  const Vector largest(kMaxDimension, std::numeric_limits<float>::max());
  EXPECT_EQ(MustCompare(largest, largest).cosine_similarity, 1);
}

TEST(Compare, RefusesWhatIsNotFiniteOnEitherSide) {
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_THAT(Compare(Vector{1, infinity}, Vector{1, 2}).status(),
              StatusIs(kInvalid, "a: component 1 is +infinity; vectors must be finite"));
  EXPECT_THAT(Compare(Vector{1, 2}, Vector{std::nanf(""), 2}).status(),
              StatusIs(kInvalid, "b: component 0 is NaN; vectors must be finite"));
}

}  // namespace
}  // namespace vexact

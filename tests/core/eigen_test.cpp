#include "core/eigen.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "tests/core/oracle.h"

namespace vexact {
namespace {

// Rows that are widest along known directions: the axes, in an order of their own, with known mean
// squares.
struct KnownRows {
  size_t dimension;
  std::vector<size_t> axis;       // the i-th widest
  std::vector<double> deviation;  // along it
  std::vector<float> rows;
};

KnownRows MakeKnownRows(size_t n, size_t dimension, size_t wide, oracle::Random& random) {
  KnownRows known{.dimension = dimension, .axis = {}, .deviation = {}, .rows = {}};
  for (size_t i = 0; i < wide; ++i) {
    known.axis.push_back((i * 7 + 3) % dimension);
    known.deviation.push_back(10 * std::pow(0.7, static_cast<double>(i)));
  }
  known.rows.resize(n * dimension);
  for (size_t row = 0; row < n; ++row) {
    float* const x = known.rows.data() + row * dimension;
    for (size_t j = 0; j < dimension; ++j) x[j] = 0.01f * random.Normal();
    for (size_t i = 0; i < wide; ++i) {
      x[known.axis[i]] = static_cast<float>(known.deviation[i]) * random.Normal();
    }
  }
  return known;
}

Directions Find(const KnownRows& known, size_t count, const std::vector<float>& center = {}) {
  return FindDirections(known.rows, center, known.dimension, count, [] { return true; });
}

void ExpectOrthonormal(const Directions& directions, size_t count, size_t d) {
  ASSERT_EQ(directions.vectors.size(), count * d);
  ASSERT_EQ(directions.squares.size(), count);
  for (size_t i = 0; i < count; ++i) {
    for (size_t k = 0; k <= i; ++k) {
      double product = 0;
      for (size_t j = 0; j < d; ++j) {
        product += directions.vectors[i * d + j] * directions.vectors[k * d + j];
      }
      ASSERT_NEAR(product, i == k ? 1 : 0, 1e-10) << i << ", " << k;
    }
  }
}

// What is widest comes first, along the axes that the rows were made of.
void ExpectKnown(const KnownRows& known, const Directions& directions) {
  for (size_t i = 0; i < known.axis.size(); ++i) {
    const double along = directions.vectors[i * known.dimension + known.axis[i]];
    EXPECT_GT(std::abs(along), 0.98) << "direction " << i;
    const double square = known.deviation[i] * known.deviation[i];
    EXPECT_NEAR(directions.squares[i], square, 0.2 * square) << "direction " << i;
  }
  for (size_t i = 1; i < directions.squares.size(); ++i) {
    EXPECT_LE(directions.squares[i], directions.squares[i - 1] * (1 + 1e-9));
  }
}

TEST(FindDirections, FindsKnownAxesInAnyOrder) {
  oracle::Random random(1);
  for (const size_t dimension : {8, 40, 130}) {
    SCOPED_TRACE(dimension);
    const KnownRows known = MakeKnownRows(3'000, dimension, 8, random);
    const Directions all = Find(known, dimension);
    ExpectOrthonormal(all, dimension, dimension);
    ExpectKnown(known, all);
    // Fewer are the first of them.
    const Directions few = Find(known, 5);
    EXPECT_EQ(few.vectors,
              std::vector<double>(all.vectors.begin(),
                                  all.vectors.begin() + static_cast<ptrdiff_t>(5 * dimension)));
  }
}

TEST(FindDirections, FindsKnownAxesAmongTooManyDimensionsToDecompose) {
  oracle::Random random(2);
  constexpr size_t kDimension = kMaxWholeDimension + 100;
  const KnownRows known = MakeKnownRows(1'000, kDimension, 8, random);
  const Directions some = Find(known, 24);
  ExpectOrthonormal(some, 24, kDimension);
  ExpectKnown(known, some);
}

TEST(FindDirections, LooksFromTheCenter) {
  oracle::Random random(3);
  KnownRows known = MakeKnownRows(2'000, 20, 4, random);
  std::vector<float> center(20);
  for (size_t j = 0; j < 20; ++j) center[j] = 1'000 * random.Normal();
  for (size_t i = 0; i < known.rows.size(); ++i) known.rows[i] += center[i % 20];
  const Directions around = Find(known, 20, center);
  ExpectKnown(known, around);
  // From the origin the center itself is what is widest.
  const Directions from_origin = Find(known, 20);
  double along = 0, squares = 0;
  for (size_t j = 0; j < 20; ++j) {
    along += from_origin.vectors[j] * center[j];
    squares += double{center[j]} * center[j];
  }
  EXPECT_GT(std::abs(along) / std::sqrt(squares), 0.999);
}

TEST(FindDirections, GivesTheSameBitsForTheSameRows) {
  oracle::Random random(4);
  for (const size_t dimension : {50, 1'100}) {
    const KnownRows known = MakeKnownRows(600, dimension, 6, random);
    const Directions once = Find(known, 20);
    const Directions again = Find(known, 20);
    EXPECT_EQ(once.vectors, again.vectors) << dimension;
    EXPECT_EQ(once.squares, again.squares) << dimension;
  }
}

// Fewer rows than directions, and rows that are all alike, leave directions without width.
TEST(FindDirections, IsOrthonormalWhereThereIsNothingToFind) {
  for (const size_t dimension : {30, 1'100}) {
    SCOPED_TRACE(dimension);
    oracle::Random random(5);
    const KnownRows few = MakeKnownRows(16, dimension, 4, random);
    const Directions of_few = Find(few, 30);
    ExpectOrthonormal(of_few, 30, dimension);
    for (const double square : of_few.squares) EXPECT_GE(square, -1e-8);
    KnownRows alike{.dimension = dimension, .axis = {}, .deviation = {}, .rows = {}};
    alike.rows.assign(64 * dimension, 0.25f);
    const std::vector<float> center(dimension, 0.25f);
    const Directions of_alike = Find(alike, 30, center);
    ExpectOrthonormal(of_alike, 30, dimension);
    for (const double square : of_alike.squares) EXPECT_NEAR(square, 0, 1e-12);
  }
}

TEST(FindDirections, YieldsOnTheWay) {
  oracle::Random random(6);
  const KnownRows known = MakeKnownRows(3'000, 64, 6, random);
  int yields = 0;
  (void)FindDirections(known.rows, {}, 64, 64, [&] { return ++yields > 0; });
  EXPECT_GE(yields, 3);
}

// ------------------------------------------------------------------------------------- the defect

double DefectOf(const std::vector<std::vector<double>>& rows) {
  return OrthonormalityDefect(rows.size(), rows.front().size(),
                              [&](size_t i, size_t j) { return rows[i][j]; });
}

TEST(OrthonormalityDefect, IsThatOfKnownMatrices) {
  EXPECT_LE(DefectOf({{1, 0}, {0, 1}}), 1e-13);
  EXPECT_LE(DefectOf({{0.6, 0.8, 0}}), 1e-13);
  // 2 I - I, and 4 - 1 on one of the axes.
  EXPECT_NEAR(DefectOf({{std::sqrt(2.0), 0}, {0, std::sqrt(2.0)}}), std::sqrt(2.0), 1e-8);
  EXPECT_NEAR(DefectOf({{2, 0}, {0, 1}}), 3, 1e-8);
  // Two of the same: the ones beside the diagonal.
  EXPECT_NEAR(DefectOf({{1, 0, 0}, {1, 0, 0}}), std::sqrt(2.0), 1e-8);
}

TEST(OrthonormalityDefect, IsNeverTooSmall) {
  oracle::Random random(7);
  for (const size_t dimension : {3, 20, 60}) {
    std::vector<std::vector<double>> rows;
    for (size_t i = 0; i < dimension; ++i) {
      std::vector<double> row(dimension);
      for (size_t j = 0; j < dimension; ++j) row[j] = 0.01 * random.Normal() + (i == j ? 1 : 0);
      rows.push_back(std::move(row));
    }
    long double squares = 0;
    for (size_t i = 0; i < dimension; ++i) {
      for (size_t k = 0; k < dimension; ++k) {
        long double product = i == k ? -1 : 0;
        for (size_t j = 0; j < dimension; ++j) {
          product += static_cast<long double>(rows[i][j]) * rows[k][j];
        }
        squares += product * product;
      }
    }
    const auto exact = static_cast<double>(std::sqrt(squares));
    EXPECT_GE(DefectOf(rows), exact);
    EXPECT_LE(DefectOf(rows), exact * 1.000001 + 1e-8);
  }
}

}  // namespace
}  // namespace vexact

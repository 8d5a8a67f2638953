#include "tests/exactness/worlds.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace vexact {
namespace {

std::vector<float> Gaussian(uint32_t dimension, Random& random, double spread = 1,
                            double mean = 0) {
  std::normal_distribution<double> normal(mean, spread);
  std::vector<float> vector(dimension);
  for (float& x : vector) x = static_cast<float>(normal(random));
  return vector;
}

bool IsZero(const std::vector<float>& vector) {
  return std::all_of(vector.begin(), vector.end(), [](float x) { return x == 0; });
}

std::vector<float> MakeRow(Kind kind, uint32_t dimension,
                           const std::vector<std::vector<float>>& centres, Random& random) {
  switch (kind) {
    case Kind::kGaussian:
      return Gaussian(dimension, random);
    case Kind::kClustered: {
      std::vector<float> row = Gaussian(dimension, random, 0.01);
      const std::vector<float>& centre = centres[Below(random, centres.size())];
      for (size_t j = 0; j < row.size(); ++j) row[j] += centre[j];
      return row;
    }
    case Kind::kSmallIntegers: {
      std::vector<float> row(dimension);
      for (float& x : row) x = static_cast<float>(static_cast<int>(Below(random, 7)) - 3);
      return row;
    }
    case Kind::kAllEqual:
      return centres[0];
    case Kind::kFewDistinct:
      return centres[Below(random, std::min<size_t>(centres.size(), 3))];
    case Kind::kWildNorms:
      return Gaussian(dimension, random,
                      std::pow(10.0, static_cast<double>(Below(random, 61)) - 30));
    case Kind::kDenormals:
      return Gaussian(dimension, random, 20.0 * std::numeric_limits<float>::denorm_min());
    case Kind::kOneHuge: {
      std::vector<float> row = Gaussian(dimension, random, 1e-6);
      row[Below(random, dimension)] = static_cast<float>(Below(random, 2) == 0 ? 1e6 : -1e6);
      return row;
    }
    case Kind::kOffset:
      return Gaussian(dimension, random, 1, 1e6);
    case Kind::kSparse: {
      std::vector<float> row(dimension);
      for (size_t i = 0; i < 1 + dimension / 20; ++i) {
        row[Below(random, dimension)] = Gaussian(1, random)[0];
      }
      return row;
    }
    case Kind::kWithZeros:
      return Below(random, 3) == 0 ? std::vector<float>(dimension) : Gaussian(dimension, random);
    case Kind::kNearDuplicates: {
      std::vector<float> row = centres[Below(random, std::min<size_t>(centres.size(), 4))];
      float& x = row[Below(random, dimension)];
      if (Below(random, 2) == 0) x = std::nextafter(x, 2 * x);
      return row;
    }
  }
  return {};
}

}  // namespace

std::string_view Name(Kind kind) {
  constexpr std::string_view kNames[kKinds] = {
      "gaussian",  "clustered", "small integers", "all equal", "few distinct", "wild norms",
      "denormals", "one huge",  "offset",         "sparse",    "with zeros",   "near duplicates"};
  return kNames[static_cast<int>(kind)];
}

std::vector<std::vector<float>> MakeRows(Kind kind, size_t n, uint32_t dimension, Random& random) {
  std::vector<std::vector<float>> centres;
  for (int i = 0; i < 8; ++i) centres.push_back(Gaussian(dimension, random));
  std::vector<std::vector<float>> rows;
  for (size_t i = 0; i < n; ++i) rows.push_back(MakeRow(kind, dimension, centres, random));
  return rows;
}

std::vector<float> MakeQuery(Kind kind, const std::vector<std::vector<float>>& rows,
                             bool may_be_zero, Random& random) {
  const auto dimension = static_cast<uint32_t>(rows.front().size());
  std::vector<float> query = rows[Below(random, rows.size())];
  switch (Below(random, 8)) {
    case 0:  // a row itself
      break;
    case 1:  // its negative
      for (float& x : query) x = -x;
      break;
    case 2:
      query = MakeRows(kind, 1, dimension, random).front();
      break;
    case 3:
      query = Gaussian(dimension, random, 1e-35);
      break;
    case 4:
      query = Gaussian(dimension, random, 1e35);
      break;
    case 5:  // orthogonal to whatever leaves these two components alone
      std::fill(query.begin(), query.end(), 0.0f);
      query[Below(random, dimension)] = 1;
      query[Below(random, dimension)] = -1;
      break;
    case 6:
      if (may_be_zero) std::fill(query.begin(), query.end(), 0.0f);
      break;
    default:
      query = Gaussian(dimension, random);
  }
  while (!may_be_zero && IsZero(query)) query = Gaussian(dimension, random);
  return query;
}

}  // namespace vexact

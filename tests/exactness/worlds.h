// Data that is hard for a certificate: rows and queries of every kind that docs/exactness.md,
// section 5, names.
#pragma once

#include <cstdint>
#include <random>
#include <string_view>
#include <vector>

namespace vexact {

using Random = std::mt19937_64;

enum class Kind {
  kGaussian,
  kClustered,
  kSmallIntegers,  // many exact ties
  kAllEqual,
  kFewDistinct,  // ties across the k-th place
  kWildNorms,    // 1e-30 to 1e30 in one collection
  kDenormals,
  kOneHuge,  // one component, the rest tiny
  kOffset,   // a mean a million times the spread
  kSparse,
  kWithZeros,       // zero rows among others
  kNearDuplicates,  // copies that differ in the last bit of one component
};
inline constexpr int kKinds = 12;

std::string_view Name(Kind kind);

std::vector<std::vector<float>> MakeRows(Kind kind, size_t n, uint32_t dimension, Random& random);

// Queries for such rows: of the same kind, rows themselves, their negatives, orthogonal to much of
// the data, tiny, huge; zero ones only when asked for. Never a zero one otherwise.
std::vector<float> MakeQuery(Kind kind, const std::vector<std::vector<float>>& rows,
                             bool may_be_zero, Random& random);

// Uniform in [0, n).
inline size_t Below(Random& random, size_t n) { return random() % n; }

}  // namespace vexact

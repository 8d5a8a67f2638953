// Sums that go into the certificate, of rows and of queries alike (code.h).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "core/layout.h"

namespace vexact {

// The certificate applies to vectors of these norms.
inline constexpr double kLeastNorm = 0x1p-40;
inline constexpr double kGreatestNorm = 0x1p40;

// Covers the rounding of a float64 sum of up to 2^16 + 1 terms, its square root and the differences
// that went in: at most (2^16 + 4) 2^-53 < 2^-36 relative.
inline constexpr double kSumMargin = 1 + 0x1p-36;

// sum_j term(j) for begin <= j < end, in eight partial sums so that it becomes a vector loop.
template <typename Term>
double SumOver(size_t begin, size_t end, Term term) {
  constexpr size_t kParts = 8;
  double part[kParts] = {};
  size_t j = begin;
  for (; j + kParts <= end; j += kParts) {
    for (size_t i = 0; i < kParts; ++i) part[i] += term(j + i);
  }
  for (; j < end; ++j) part[0] += term(j);
  double sum = 0;
  for (const double p : part) sum += p;
  return sum;
}

// |(I - B^T B) z| from |z|^2 and |y|^2, y the computed B z, for a leading basis. With P = B^T B,
// |(I - P) z|^2 = |z|^2 - 2 |B z|^2 + |B^T B z|^2 <= |z|^2 - (1 - defect) |B z|^2, and |B z| >= |y|
// - projection_error |z|.
inline double Remainder(const Layout& layout, double z_squared, double y_squared) {
  const double widened = 1 + 1.25 * layout.defect + 2.25 * layout.projection_error + 0x1p-40;
  return std::sqrt(std::max(0.0, z_squared * widened - y_squared));
}

}  // namespace vexact

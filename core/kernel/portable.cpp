// The definition of the reference order of summation, for any CPU; every other table must agree
// with it bit for bit.
#include "core/kernel/tables.h"

namespace vexact {
namespace {

constexpr size_t kLanes = 16;

double SumLanes(double (&lane)[kLanes]) {
  for (size_t width = kLanes / 2; width > 0; width /= 2) {
    for (size_t l = 0; l < width; ++l) lane[l] += lane[l + width];
  }
  return lane[0];
}

template <typename Term>
double SumTerms(const float* a, const float* b, size_t n, Term term) {
  double lane[kLanes] = {};
  size_t j = 0;
  for (; j + kLanes <= n; j += kLanes) {
    for (size_t l = 0; l < kLanes; ++l) lane[l] += term(a[j + l], b[j + l]);
  }
  for (size_t l = 0; j + l < n; ++l) lane[l] += term(a[j + l], b[j + l]);
  return SumLanes(lane);
}

double Dot(const float* a, const float* b, size_t n) {
  return SumTerms(a, b, n, [](double x, double y) { return x * y; });
}

double SquaredL2(const float* a, const float* b, size_t n) {
  return SumTerms(a, b, n, [](double x, double y) {
    const double difference = x - y;
    return difference * difference;
  });
}

}  // namespace

const Kernel kPortableKernel = {.isa = "portable", .dot = Dot, .squared_l2 = SquaredL2};

}  // namespace vexact

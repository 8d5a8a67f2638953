// AVX2 and FMA: 16 float64 lanes in four registers.
#include <immintrin.h>

#include <cstring>

#include "core/kernel/tables.h"

namespace vexact {
namespace {

constexpr size_t kLanes = 16;

// Four float64 from four float32.
__m256d Widen(const float* x) { return _mm256_cvtps_pd(_mm_loadu_ps(x)); }

// lane[l] += lane[l + w] for w = 8, 4, 2, 1.
double SumLanes(const __m256d (&lane)[4]) {
  const __m256d eight_low = _mm256_add_pd(lane[0], lane[2]);
  const __m256d eight_high = _mm256_add_pd(lane[1], lane[3]);
  const __m256d four = _mm256_add_pd(eight_low, eight_high);
  const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
  return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

// `add(lane, a, b)` adds the terms of four components. The last, partial step is padded with zeros:
// their term is +0.0, and a lane, having started at +0.0, is never -0.0, so adding it changes no
// bit.
template <typename Add>
double SumTerms(const float* a, const float* b, size_t n, Add add) {
  __m256d lane[4] = {};
  size_t j = 0;
  for (; j + kLanes <= n; j += kLanes) {
    for (size_t r = 0; r < 4; ++r) {
      lane[r] = add(lane[r], Widen(a + j + 4 * r), Widen(b + j + 4 * r));
    }
  }
  if (j < n) {
    alignas(32) float last_a[kLanes] = {};
    alignas(32) float last_b[kLanes] = {};
    std::memcpy(last_a, a + j, (n - j) * sizeof(float));
    std::memcpy(last_b, b + j, (n - j) * sizeof(float));
    for (size_t r = 0; r < 4; ++r) {
      lane[r] = add(lane[r], Widen(last_a + 4 * r), Widen(last_b + 4 * r));
    }
  }
  return SumLanes(lane);
}

double Dot(const float* a, const float* b, size_t n) {
  return SumTerms(a, b, n,
                  [](__m256d lane, __m256d x, __m256d y) { return _mm256_fmadd_pd(x, y, lane); });
}

double SquaredL2(const float* a, const float* b, size_t n) {
  return SumTerms(a, b, n, [](__m256d lane, __m256d x, __m256d y) {
    const __m256d difference = _mm256_sub_pd(x, y);
    return _mm256_add_pd(lane, _mm256_mul_pd(difference, difference));
  });
}

}  // namespace

const Kernel kAvx2Kernel = {.isa = "avx2", .dot = Dot, .squared_l2 = SquaredL2};

}  // namespace vexact

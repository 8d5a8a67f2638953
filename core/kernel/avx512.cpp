// AVX-512: 16 float64 lanes in two registers.
#include <immintrin.h>

#include "core/kernel/tables.h"

namespace vexact {
namespace {

constexpr size_t kLanes = 16;

__m512d Low(__m512 x) { return _mm512_cvtps_pd(_mm512_castps512_ps256(x)); }
__m512d High(__m512 x) { return _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1)); }

// lane[l] += lane[l + w] for w = 8, 4, 2, 1.
double SumLanes(__m512d low, __m512d high) {
  const __m512d eight = _mm512_add_pd(low, high);
  const __m256d four =
      _mm256_add_pd(_mm512_castpd512_pd256(eight), _mm512_extractf64x4_pd(eight, 1));
  const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
  return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

// `add(lane, a, b)` adds the terms of eight components. The last, partial step is read as zeros
// beyond the end: their term is +0.0, and a lane, having started at +0.0, is never -0.0, so adding
// it changes no bit.
template <typename Add>
double SumTerms(const float* a, const float* b, size_t n, Add add) {
  __m512d low = _mm512_setzero_pd();
  __m512d high = _mm512_setzero_pd();
  size_t j = 0;
  for (; j + kLanes <= n; j += kLanes) {
    const __m512 x = _mm512_loadu_ps(a + j);
    const __m512 y = _mm512_loadu_ps(b + j);
    low = add(low, Low(x), Low(y));
    high = add(high, High(x), High(y));
  }
  if (j < n) {
    const auto mask = static_cast<__mmask16>((1u << (n - j)) - 1);
    const __m512 x = _mm512_maskz_loadu_ps(mask, a + j);
    const __m512 y = _mm512_maskz_loadu_ps(mask, b + j);
    low = add(low, Low(x), Low(y));
    high = add(high, High(x), High(y));
  }
  return SumLanes(low, high);
}

double Dot(const float* a, const float* b, size_t n) {
  return SumTerms(a, b, n,
                  [](__m512d lane, __m512d x, __m512d y) { return _mm512_fmadd_pd(x, y, lane); });
}

double SquaredL2(const float* a, const float* b, size_t n) {
  return SumTerms(a, b, n, [](__m512d lane, __m512d x, __m512d y) {
    const __m512d difference = _mm512_sub_pd(x, y);
    return _mm512_add_pd(lane, _mm512_mul_pd(difference, difference));
  });
}

}  // namespace

const Kernel kAvx512Kernel = {.isa = "avx512", .dot = Dot, .squared_l2 = SquaredL2};

}  // namespace vexact

// AVX-512 with VNNI: 16 float64 lanes in two registers; four byte products per 32-bit lane in one
// instruction.
#include <immintrin.h>

#include <cstring>

#include "core/kernel/filter.h"
#include "core/kernel/project.h"
#include "core/kernel/quantise.h"
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

struct Avx512Vnni {
  static constexpr bool kSigned = false;
  // 24 sums, two lines and a query's digits: 27 of 32 registers.
  static constexpr size_t kTileQueries = 12;
  static constexpr size_t kTileGroups = 2;
  using Codes = __m512i;
  using Digits = __m512i;
  using Ints = __m512i;
  using Floats = __m512;

  static Codes LoadCodes(const uint8_t* line) { return _mm512_load_si512(line); }
  static Codes LoadSketch(const uint8_t* line) { return _mm512_load_si512(line); }
  static Codes LowHalves(Codes codes) { return _mm512_and_si512(codes, _mm512_set1_epi8(15)); }
  static Codes HighHalves(Codes codes) { return LowHalves(_mm512_srli_epi16(codes, 4)); }
  static Digits LoadDigits(const int8_t* digits) {
    int32_t four;
    std::memcpy(&four, digits, sizeof(four));
    return _mm512_set1_epi32(four);
  }
  static void Prefetch(const uint8_t* line) { _mm_prefetch(line, _MM_HINT_T0); }
  static Ints SetInts(int32_t value) { return _mm512_set1_epi32(value); }
  static Ints AddInts(Ints a, Ints b) { return _mm512_add_epi32(a, b); }
  static Ints AddProducts(Ints sum, Codes codes, Digits digits) {
    return _mm512_dpbusd_epi32(sum, codes, digits);
  }
  static Floats ToFloats(Ints a) { return _mm512_cvtepi32_ps(a); }
  static Floats SetFloats(float value) { return _mm512_set1_ps(value); }
  static Floats LoadFloats(const float* from) { return _mm512_loadu_ps(from); }
  static Floats LoadHalves(const uint16_t* from) {
    const __m256i halves = _mm256_load_si256(reinterpret_cast<const __m256i*>(from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
  }
  static void StoreFloats(float* to, Floats a) { _mm512_storeu_ps(to, a); }
  static Floats AddFloats(Floats a, Floats b) { return _mm512_add_ps(a, b); }
  static Floats Multiply(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
  static Floats MultiplyAdd(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
  static uint32_t NotNegative(Floats a) {
    return _mm512_cmp_ps_mask(a, _mm512_setzero_ps(), _CMP_NLT_UQ);
  }
};

SlabProducts Avx512VnniSlabProducts(const uint8_t* codes, const int8_t* high, const int8_t* low,
                                    size_t slabs) {
  __m512i high_sum = _mm512_setzero_si512();
  __m512i low_sum = _mm512_setzero_si512();
  for (size_t j = 0; j < slabs * kSlabWidth; j += kSlabWidth) {
    const __m512i c = _mm512_loadu_si512(codes + j);
    high_sum = _mm512_dpbusd_epi32(high_sum, c, _mm512_loadu_si512(high + j));
    low_sum = _mm512_dpbusd_epi32(low_sum, c, _mm512_loadu_si512(low + j));
  }
  const auto halved = [](__m512i sum) {
    return _mm256_add_epi32(_mm512_castsi512_si256(sum), _mm512_extracti64x4_epi64(sum, 1));
  };
  // Pairs of lanes of both, then pairs of these.
  const __m256i pairs = _mm256_hadd_epi32(halved(high_sum), halved(low_sum));
  const __m128i fours =
      _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
  const __m128i sums = _mm_hadd_epi32(fours, fours);
  return {.high = _mm_cvtsi128_si32(sums), .low = _mm_extract_epi32(sums, 1)};
}

}  // namespace

const Kernel kAvx512VnniKernel = {.isa = "avx512vnni",
                                  .max_digit = 127,
                                  .dot = Dot,
                                  .squared_l2 = SquaredL2,
                                  .bound = Bound<Avx512Vnni>,
                                  .select = Select<Avx512Vnni>,
                                  .filter_tile = FilterTile<Avx512Vnni>,
                                  .tile_queries = Avx512Vnni::kTileQueries,
                                  .project = Project<Avx512Vnni>,
                                  .largest_magnitude = LargestMagnitude<Avx512Vnni>,
                                  .quantise = Quantise<Avx512Vnni>,
                                  .slab_products = Avx512VnniSlabProducts};

}  // namespace vexact

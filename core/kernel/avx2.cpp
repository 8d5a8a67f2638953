// AVX2 and FMA: 16 float64 lanes in four registers.
#include <immintrin.h>

#include <cstring>

#include "core/kernel/filter.h"
#include "core/kernel/project.h"
#include "core/kernel/quantise.h"
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

// Without a byte product that accumulates in 32 bits, pairs of products are added in 16 bits with
// saturation: 2 * 255 * 64 = 32,640 fits, so digits are held to [-64, 64].
constexpr int32_t kMaxDigit = 64;

// sum[i] += u_i0 d_0 + u_i1 d_1 + u_i2 d_2 + u_i3 d_3 in eight 32-bit lanes.
__m256i AddProducts8(__m256i sum, __m256i codes, __m256i digits) {
  const __m256i pairs = _mm256_maddubs_epi16(codes, digits);
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

struct Avx2 {
  static constexpr bool kSigned = false;
  // Eight sums, a line, a query's digits and the ones that add pairs: 12 of 16 registers.
  static constexpr size_t kTileQueries = 4;
  static constexpr size_t kTileGroups = 1;
  struct Codes {
    __m256i low, high;
  };
  using Ints = Codes;
  using Digits = __m256i;
  struct Floats {
    __m256 low, high;
  };

  static Codes LoadCodes(const uint8_t* line) {
    const auto* from = reinterpret_cast<const __m256i*>(line);
    return {_mm256_load_si256(from), _mm256_load_si256(from + 1)};
  }
  static Codes LoadSketch(const uint8_t* line) { return LoadCodes(line); }
  static Codes LowHalves(Codes codes) {
    const __m256i mask = _mm256_set1_epi8(15);
    return {_mm256_and_si256(codes.low, mask), _mm256_and_si256(codes.high, mask)};
  }
  static Codes HighHalves(Codes codes) {
    return LowHalves({_mm256_srli_epi16(codes.low, 4), _mm256_srli_epi16(codes.high, 4)});
  }
  static Digits LoadDigits(const int8_t* digits) {
    int32_t four;
    std::memcpy(&four, digits, sizeof(four));
    return _mm256_set1_epi32(four);
  }
  static void Prefetch(const uint8_t* line) { _mm_prefetch(line, _MM_HINT_T0); }
  static Ints SetInts(int32_t value) {
    return {_mm256_set1_epi32(value), _mm256_set1_epi32(value)};
  }
  static Ints AddInts(Ints a, Ints b) {
    return {_mm256_add_epi32(a.low, b.low), _mm256_add_epi32(a.high, b.high)};
  }
  static Ints AddProducts(Ints sum, Codes codes, Digits digits) {
    return {AddProducts8(sum.low, codes.low, digits), AddProducts8(sum.high, codes.high, digits)};
  }
  static Floats ToFloats(Ints a) { return {_mm256_cvtepi32_ps(a.low), _mm256_cvtepi32_ps(a.high)}; }
  static Floats SetFloats(float value) { return {_mm256_set1_ps(value), _mm256_set1_ps(value)}; }
  static Floats LoadFloats(const float* from) {
    return {_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)};
  }
  static Floats LoadHalves(const uint16_t* from) {
    const auto widen = [](const uint16_t* halves) {
      const __m128i eight = _mm_load_si128(reinterpret_cast<const __m128i*>(halves));
      return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(eight), 16));
    };
    return {widen(from), widen(from + 8)};
  }
  static void StoreFloats(float* to, Floats a) {
    _mm256_storeu_ps(to, a.low);
    _mm256_storeu_ps(to + 8, a.high);
  }
  static Floats AddFloats(Floats a, Floats b) {
    return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)};
  }
  static Floats Multiply(Floats a, Floats b) {
    return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
  }
  static Floats MultiplyAdd(Floats a, Floats b, Floats c) {
    return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
  }
  static uint32_t NotNegative(Floats a) {
    const __m256 zero = _mm256_setzero_ps();
    const int low = _mm256_movemask_ps(_mm256_cmp_ps(a.low, zero, _CMP_NLT_UQ));
    const int high = _mm256_movemask_ps(_mm256_cmp_ps(a.high, zero, _CMP_NLT_UQ));
    return static_cast<uint32_t>(low | high << 8);
  }
};

int32_t SumInts(__m256i a) {
  __m128i four = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
  four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4E));
  four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0xB1));
  return _mm_cvtsi128_si32(four);
}

SlabProducts Avx2SlabProducts(const uint8_t* codes, const int8_t* high, const int8_t* low,
                              size_t slabs) {
  __m256i high_sum = _mm256_setzero_si256();
  __m256i low_sum = _mm256_setzero_si256();
  const auto load = [](const auto* from) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  };
  for (size_t j = 0; j < slabs * kSlabWidth; j += 32) {
    const __m256i c = load(codes + j);
    high_sum = AddProducts8(high_sum, c, load(high + j));
    low_sum = AddProducts8(low_sum, c, load(low + j));
  }
  return {.high = SumInts(high_sum), .low = SumInts(low_sum)};
}

}  // namespace

const Kernel kAvx2Kernel = {.isa = "avx2",
                            .max_digit = kMaxDigit,
                            .dot = Dot,
                            .squared_l2 = SquaredL2,
                            .bound = Bound<Avx2>,
                            .select = Select<Avx2>,
                            .filter_tile = FilterTile<Avx2>,
                            .tile_queries = Avx2::kTileQueries,
                            .project = Project<Avx2>,
                            .largest_magnitude = LargestMagnitude<Avx2>,
                            .quantise = Quantise<Avx2>,
                            .slab_products = Avx2SlabProducts};

}  // namespace vexact

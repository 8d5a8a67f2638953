// arm64 with the dot-product extension: 16 float64 lanes in eight registers; four byte products per
// 32-bit lane in one instruction.
#include <arm_neon.h>

#include <cstring>

#include "core/kernel/filter.h"
#include "core/kernel/project.h"
#include "core/kernel/quantise.h"
#include "core/kernel/tables.h"

namespace vexact {
namespace {

constexpr size_t kLanes = 16;

// lane[l] += lane[l + w] for w = 8, 4, 2, 1; lane[r] holds lanes 2r and 2r + 1.
double SumLanes(float64x2_t (&lane)[8]) {
  for (size_t width = 4; width > 0; width /= 2) {
    for (size_t r = 0; r < width; ++r) lane[r] = vaddq_f64(lane[r], lane[r + width]);
  }
  return vgetq_lane_f64(lane[0], 0) + vgetq_lane_f64(lane[0], 1);
}

// `add(lane, a, b)` adds the terms of two components. The last, partial step is padded with zeros:
// their term is +0.0, and a lane, having started at +0.0, is never -0.0, so adding it changes no
// bit.
template <typename Add>
double SumTerms(const float* a, const float* b, size_t n, Add add) {
  float64x2_t lane[8];
  for (float64x2_t& l : lane) l = vdupq_n_f64(0);
  const auto step = [&](const float* x, const float* y) {
    for (size_t r = 0; r < 4; ++r) {
      const float32x4_t u = vld1q_f32(x + 4 * r);
      const float32x4_t v = vld1q_f32(y + 4 * r);
      lane[2 * r] = add(lane[2 * r], vcvt_f64_f32(vget_low_f32(u)), vcvt_f64_f32(vget_low_f32(v)));
      lane[2 * r + 1] = add(lane[2 * r + 1], vcvt_high_f64_f32(u), vcvt_high_f64_f32(v));
    }
  };
  size_t j = 0;
  for (; j + kLanes <= n; j += kLanes) step(a + j, b + j);
  if (j < n) {
    float last_a[kLanes] = {};
    float last_b[kLanes] = {};
    std::memcpy(last_a, a + j, (n - j) * sizeof(float));
    std::memcpy(last_b, b + j, (n - j) * sizeof(float));
    step(last_a, last_b);
  }
  return SumLanes(lane);
}

double Dot(const float* a, const float* b, size_t n) {
  return SumTerms(a, b, n, [](float64x2_t lane, float64x2_t x, float64x2_t y) {
    return vfmaq_f64(lane, x, y);
  });
}

double SquaredL2(const float* a, const float* b, size_t n) {
  return SumTerms(a, b, n, [](float64x2_t lane, float64x2_t x, float64x2_t y) {
    const float64x2_t difference = vsubq_f64(x, y);
    return vaddq_f64(lane, vmulq_f64(difference, difference));
  });
}

// The product instruction is signed: stored codes u = c + 128 become c.
int8x16_t ToSigned(uint8x16_t codes) {
  return vreinterpretq_s8_u8(veorq_u8(codes, vdupq_n_u8(0x80)));
}

struct Neon {
  static constexpr bool kSigned = true;
  // 16 registers of sums, a line and a query's digits: 21 of 32.
  static constexpr size_t kTileQueries = 4;
  static constexpr size_t kTileGroups = 1;
  struct Codes {
    int8x16_t part[4];
  };
  using Digits = int8x16_t;
  struct Ints {
    int32x4_t part[4];
  };
  struct Floats {
    float32x4_t part[4];
  };

  template <typename Result, typename Value>
  static Result Fill(Value value) {
    return {{value(0), value(1), value(2), value(3)}};
  }

  static Codes LoadCodes(const uint8_t* line) {
    return Fill<Codes>([&](int i) { return ToSigned(vld1q_u8(line + 16 * i)); });
  }
  // Halves of bytes are small enough to be signed as they are.
  static Codes LoadSketch(const uint8_t* line) {
    return Fill<Codes>([&](int i) { return vreinterpretq_s8_u8(vld1q_u8(line + 16 * i)); });
  }
  static Codes LowHalves(const Codes& codes) {
    return Fill<Codes>([&](int i) { return vandq_s8(codes.part[i], vdupq_n_s8(15)); });
  }
  static Codes HighHalves(const Codes& codes) {
    return Fill<Codes>([&](int i) {
      return vreinterpretq_s8_u8(vshrq_n_u8(vreinterpretq_u8_s8(codes.part[i]), 4));
    });
  }
  static Digits LoadDigits(const int8_t* digits) {
    int32_t four;
    std::memcpy(&four, digits, sizeof(four));
    return vreinterpretq_s8_s32(vdupq_n_s32(four));
  }
  static void Prefetch(const uint8_t* line) { __builtin_prefetch(line); }
  static Ints SetInts(int32_t value) {
    return Fill<Ints>([&](int) { return vdupq_n_s32(value); });
  }
  static Ints AddInts(const Ints& a, const Ints& b) {
    return Fill<Ints>([&](int i) { return vaddq_s32(a.part[i], b.part[i]); });
  }
  static Ints AddProducts(const Ints& sum, const Codes& codes, Digits digits) {
    return Fill<Ints>([&](int i) { return vdotq_s32(sum.part[i], codes.part[i], digits); });
  }
  static Floats ToFloats(const Ints& a) {
    return Fill<Floats>([&](int i) { return vcvtq_f32_s32(a.part[i]); });
  }
  static Floats SetFloats(float value) {
    return Fill<Floats>([&](int) { return vdupq_n_f32(value); });
  }
  static Floats LoadFloats(const float* from) {
    return Fill<Floats>([&](int i) { return vld1q_f32(from + 4 * i); });
  }
  static Floats LoadHalves(const uint16_t* from) {
    return Fill<Floats>(
        [&](int i) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(from + 4 * i), 16)); });
  }
  static Floats AddFloats(const Floats& a, const Floats& b) {
    return Fill<Floats>([&](int i) { return vaddq_f32(a.part[i], b.part[i]); });
  }
  static void StoreFloats(float* to, const Floats& a) {
    for (int i = 0; i < 4; ++i) vst1q_f32(to + 4 * i, a.part[i]);
  }
  static Floats Multiply(const Floats& a, const Floats& b) {
    return Fill<Floats>([&](int i) { return vmulq_f32(a.part[i], b.part[i]); });
  }
  static Floats MultiplyAdd(const Floats& a, const Floats& b, const Floats& c) {
    return Fill<Floats>([&](int i) { return vfmaq_f32(c.part[i], a.part[i], b.part[i]); });
  }
  static uint32_t NotNegative(const Floats& a) {
    constexpr uint32_t kBits[4] = {1, 2, 4, 8};
    const uint32x4_t bits = vld1q_u32(kBits);
    uint32_t result = 0;
    for (int i = 0; i < 4; ++i) {
      const uint32x4_t not_negative = vmvnq_u32(vcltzq_f32(a.part[i]));
      result |= vaddvq_u32(vandq_u32(not_negative, bits)) << (4 * i);
    }
    return result;
  }
};

SlabProducts NeonSlabProducts(const uint8_t* codes, const int8_t* high, const int8_t* low,
                              size_t slabs) {
  const auto plane = [&](const int8_t* digits) {
    int32x4_t sum = vdupq_n_s32(0);
    int32x4_t digit_sum = vdupq_n_s32(0);
    for (size_t j = 0; j < slabs * kSlabWidth; j += 16) {
      const int8x16_t d = vld1q_s8(digits + j);
      sum = vdotq_s32(sum, ToSigned(vld1q_u8(codes + j)), d);
      digit_sum = vdotq_s32(digit_sum, d, vdupq_n_s8(1));
    }
    return vaddvq_s32(sum) + 128 * vaddvq_s32(digit_sum);  // of u, not c
  };
  return {.high = plane(high), .low = plane(low)};
}

}  // namespace

const Kernel kNeonKernel = {.isa = "neon",
                            .max_digit = 127,
                            .dot = Dot,
                            .squared_l2 = SquaredL2,
                            .bound = Bound<Neon>,
                            .select = Select<Neon>,
                            .filter_tile = FilterTile<Neon>,
                            .tile_queries = Neon::kTileQueries,
                            .project = Project<Neon>,
                            .largest_magnitude = LargestMagnitude<Neon>,
                            .quantise = Quantise<Neon>,
                            .slab_products = NeonSlabProducts};

}  // namespace vexact

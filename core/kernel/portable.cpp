// The definition of the reference order of summation, for any CPU; every other table must agree
// with it bit for bit.
#include <bit>
#include <cstring>

#include "core/kernel/filter.h"
#include "core/kernel/project.h"
#include "core/kernel/quantise.h"
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

struct Portable {
  static constexpr bool kSigned = false;
  static constexpr size_t kTileQueries = 4;
  static constexpr size_t kTileGroups = 1;
  struct Codes {
    uint8_t byte[64];
  };
  using Digits = const int8_t*;
  struct Ints {
    int32_t lane[kGroupRows];
  };
  struct Floats {
    float lane[kGroupRows];
  };

  template <typename Result, typename Value>
  static Result Fill(Value value) {
    Result result;
    for (size_t i = 0; i < kGroupRows; ++i) result.lane[i] = value(i);
    return result;
  }

  static Codes LoadCodes(const uint8_t* line) {
    Codes codes;
    std::memcpy(codes.byte, line, sizeof(codes.byte));
    return codes;
  }
  static Codes LoadSketch(const uint8_t* line) { return LoadCodes(line); }
  static Codes LowHalves(Codes codes) {
    for (uint8_t& byte : codes.byte) byte &= 15;
    return codes;
  }
  static Codes HighHalves(Codes codes) {
    for (uint8_t& byte : codes.byte) byte >>= 4;
    return codes;
  }
  static Digits LoadDigits(const int8_t* digits) { return digits; }
  static void Prefetch(const uint8_t* line) { __builtin_prefetch(line); }
  static Ints SetInts(int32_t value) {
    return Fill<Ints>([&](size_t) { return value; });
  }
  static Ints AddInts(const Ints& a, const Ints& b) {
    return Fill<Ints>([&](size_t i) { return a.lane[i] + b.lane[i]; });
  }
  static Ints AddProducts(const Ints& sum, const Codes& codes, Digits digits) {
    return Fill<Ints>([&](size_t i) {
      const uint8_t* c = codes.byte + 4 * i;
      return sum.lane[i] + c[0] * digits[0] + c[1] * digits[1] + c[2] * digits[2] +
             c[3] * digits[3];
    });
  }
  static Floats ToFloats(const Ints& a) {
    return Fill<Floats>([&](size_t i) { return static_cast<float>(a.lane[i]); });
  }
  static Floats SetFloats(float value) {
    return Fill<Floats>([&](size_t) { return value; });
  }
  static Floats LoadFloats(const float* from) {
    return Fill<Floats>([&](size_t i) { return from[i]; });
  }
  static Floats LoadHalves(const uint16_t* from) {
    return Fill<Floats>([&](size_t i) { return std::bit_cast<float>(uint32_t{from[i]} << 16); });
  }
  static Floats AddFloats(const Floats& a, const Floats& b) {
    return Fill<Floats>([&](size_t i) { return a.lane[i] + b.lane[i]; });
  }
  static void StoreFloats(float* to, const Floats& a) {
    for (size_t i = 0; i < kGroupRows; ++i) to[i] = a.lane[i];
  }
  static Floats Multiply(const Floats& a, const Floats& b) {
    return Fill<Floats>([&](size_t i) { return a.lane[i] * b.lane[i]; });
  }
  static Floats MultiplyAdd(const Floats& a, const Floats& b, const Floats& c) {
    return Fill<Floats>([&](size_t i) { return a.lane[i] * b.lane[i] + c.lane[i]; });
  }
  static uint32_t NotNegative(const Floats& a) {
    uint32_t bits = 0;
    for (size_t i = 0; i < kGroupRows; ++i) bits |= uint32_t{!(a.lane[i] < 0)} << i;
    return bits;
  }
};

SlabProducts PortableSlabProducts(const uint8_t* codes, const int8_t* high, const int8_t* low,
                                  size_t slabs) {
  SlabProducts products;
  for (size_t j = 0; j < slabs * kSlabWidth; ++j) {
    products.high += codes[j] * high[j];
    products.low += codes[j] * low[j];
  }
  return products;
}

}  // namespace

const Kernel kPortableKernel = {.isa = "portable",
                                .max_digit = 127,
                                .dot = Dot,
                                .squared_l2 = SquaredL2,
                                .bound = Bound<Portable>,
                                .select = Select<Portable>,
                                .filter_tile = FilterTile<Portable>,
                                .tile_queries = Portable::kTileQueries,
                                .project = Project<Portable>,
                                .largest_magnitude = LargestMagnitude<Portable>,
                                .quantise = Quantise<Portable>,
                                .slab_products = PortableSlabProducts};

}  // namespace vexact

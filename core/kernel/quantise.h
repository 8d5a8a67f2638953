// Bytes for the components of a row. Plain loops, in the order that the results are defined by:
// each instruction set's file makes its own vectors of them. Every function is a template over that
// file's type V, so that no two files share one.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "core/kernel/kernel.h"

namespace vexact {

// Magnitudes order as their bits do, and an integer maximum becomes a vector loop.
template <typename V>
float LargestMagnitude(const float* x, size_t n) {
  uint32_t largest = 0;
  for (size_t j = 0; j < n; ++j) {
    largest = std::max(largest, std::bit_cast<uint32_t>(x[j]) & 0x7FFF'FFFFu);
  }
  return std::bit_cast<float>(largest);
}

// As FirstCode::kByte has it.
template <typename V>
uint8_t ByteOf(int32_t code) {
  return static_cast<uint8_t>(code + 128);
}

// x / scale rounded to the nearest integer, by adding and removing 1.5 * 2^23, which leaves no
// fraction.
template <typename V>
int32_t NearestCode(float x, float inverse) {
  constexpr float kShift = 0x1.8p23f;
  const float shifted = x * inverse + kShift;
  const auto code =
      static_cast<int32_t>(std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(kShift));
  return std::clamp(code, -kMaxCode, kMaxCode);
}

// What a code leaves of x, squared. scale * code is exact in float64 (8 + 7 bits for the scales
// that rows have).
template <typename V>
double SquaredRest(float x, double scale, int32_t code) {
  const double rest = x - scale * code;
  return rest * rest;
}

template <typename V>
double Quantise(const float* x, size_t n, float scale, uint8_t* codes) {
  constexpr size_t kParts = 8;  // as SumOver's
  constexpr size_t kRun = 64;
  const float inverse = 1 / scale;
  double part[kParts] = {};
  size_t j = 0;
  for (; j + kRun <= n; j += kRun) {
    int32_t code[kRun];
    for (size_t i = 0; i < kRun; ++i) code[i] = NearestCode<V>(x[j + i], inverse);
    for (size_t i = 0; i < kRun; ++i) codes[j + i] = ByteOf<V>(code[i]);
    for (size_t i = 0; i < kRun; i += kParts) {
      for (size_t p = 0; p < kParts; ++p) {
        part[p] += SquaredRest<V>(x[j + i + p], scale, code[i + p]);
      }
    }
  }
  for (; j + kParts <= n; j += kParts) {
    for (size_t p = 0; p < kParts; ++p) {
      const int32_t code = NearestCode<V>(x[j + p], inverse);
      codes[j + p] = ByteOf<V>(code);
      part[p] += SquaredRest<V>(x[j + p], scale, code);
    }
  }
  for (; j < n; ++j) {
    const int32_t code = NearestCode<V>(x[j], inverse);
    codes[j] = ByteOf<V>(code);
    part[0] += SquaredRest<V>(x[j], scale, code);
  }
  double sum = 0;
  for (const double p : part) sum += p;
  return sum;
}

}  // namespace vexact

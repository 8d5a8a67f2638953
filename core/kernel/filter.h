// The filter, written once over a small vocabulary of vectors that each instruction set supplies.
//
// A vocabulary V has: Codes (one 64-byte line of a group), Ints (16 x int32), Floats (16 x
// float32), and
//   Codes LoadCodes(const uint8_t*)            void Prefetch(const uint8_t*)
//   Ints SetInts(int32_t)                      Ints AddInts(Ints, Ints)
//   Ints AddProducts(Ints sum, Codes, const int8_t* digits)   sum[i] += u_i0 d_0 + u_i1 d_1 + u_i2
//   d_2 + u_i3 d_3 Floats ToFloats(Ints)                      Floats SetFloats(float)       Floats
//   LoadFloats(const float*) Floats Multiply(Floats, Floats)            Floats MultiplyAdd(Floats
//   a, Floats b, Floats c)   a * b + c, fused or not uint32_t NotLess(Floats a, Floats b)       bit
//   i: !(a_i < b_i)          void StoreFloats(float*, Floats)
#pragma once

#include <bit>

#include "core/kernel/kernel.h"

namespace vexact {

// How far ahead of its use a line is asked for: long enough for memory to answer, short enough to
// stay in the first-level cache.
inline constexpr size_t kPrefetchBytes = 4096;

// sum_j c_j v_j of 16 rows, as float32: 128 * high + low, each an exact integer before its
// conversion. Two accumulators a plane hide the latency of the products.
template <typename V>
typename V::Floats GroupProducts(const FilterInput& in, const uint8_t* codes) {
  typename V::Ints high_even = V::SetInts(V::kSigned ? 0 : -in.high_offset);
  typename V::Ints low_even = V::SetInts(V::kSigned ? 0 : -in.low_offset);
  typename V::Ints high_odd = V::SetInts(0);
  typename V::Ints low_odd = V::SetInts(0);
  for (size_t j = 0; j < in.width; j += kFirstSlabStep) {
    const uint8_t* line = codes + j * kGroupRows;
    V::Prefetch(line + kPrefetchBytes);
    V::Prefetch(line + kPrefetchBytes + 64);
    const auto even = V::LoadCodes(line);
    const auto odd = V::LoadCodes(line + 64);
    high_even = V::AddProducts(high_even, even, in.high + j);
    low_even = V::AddProducts(low_even, even, in.low + j);
    high_odd = V::AddProducts(high_odd, odd, in.high + j + 4);
    low_odd = V::AddProducts(low_odd, odd, in.low + j + 4);
  }
  const auto high = V::ToFloats(V::AddInts(high_even, high_odd));
  const auto low = V::ToFloats(V::AddInts(low_even, low_odd));
  return V::MultiplyAdd(high, V::SetFloats(128), low);
}

template <typename V, bool kHasTail>
size_t FilterGroups(const FilterInput& in, size_t groups, Survivor* out) {
  Survivor* const first = out;
  for (size_t group = 0; group < groups; ++group) {
    const size_t row = group * kGroupRows;
    const auto products = GroupProducts<V>(in, in.codes + row * in.width);
    const auto scale = V::Multiply(V::LoadFloats(in.scale + row), V::SetFloats(in.query_scale));
    const auto estimate = V::Multiply(products, scale);
    const auto norm = V::LoadFloats(in.norm + row);
    auto bound = V::MultiplyAdd(norm, V::SetFloats(in.norm_factor), estimate);
    if constexpr (kHasTail) {
      bound = V::MultiplyAdd(V::LoadFloats(in.tail + row), V::SetFloats(in.tail_factor), bound);
    }
    bound =
        V::MultiplyAdd(V::LoadFloats(in.row_error + row), V::SetFloats(in.row_error_factor), bound);
    const auto slope =
        V::MultiplyAdd(norm, V::SetFloats(in.square_threshold), V::SetFloats(in.norm_threshold));
    const auto needed = V::MultiplyAdd(slope, norm, V::SetFloats(in.threshold));
    uint32_t survive = V::NotLess(bound, needed);
    if (survive == 0) [[likely]]
      continue;
    alignas(64) float estimates[kGroupRows];
    V::StoreFloats(estimates, estimate);
    for (; survive != 0; survive &= survive - 1) {
      const auto i = static_cast<uint32_t>(std::countr_zero(survive));
      *out++ = {static_cast<uint32_t>(row) + i, estimates[i]};
    }
  }
  return static_cast<size_t>(out - first);
}

template <typename V>
size_t Filter(const FilterInput& in, size_t groups, Survivor* out) {
  return in.tail == nullptr ? FilterGroups<V, false>(in, groups, out)
                            : FilterGroups<V, true>(in, groups, out);
}

}  // namespace vexact

// The filters, written once over a small vocabulary of vectors that each instruction set supplies.
//
// A vocabulary V has: Codes (one 64-byte line of a group), Digits (four digits, repeated), Ints (16
// x int32), Floats (16 x float32), and
//   Codes LoadCodes(const uint8_t*)              of byte codes: u_i0..u_i3, or c where kSigned
//   Codes LoadSketch(const uint8_t*)             a line as it is
//   Codes LowHalves(Codes), HighHalves(Codes)    of a sketch's bytes
//   Digits LoadDigits(const int8_t*)             void Prefetch(const uint8_t*)
//   Ints SetInts(int32_t)                        Ints AddInts(Ints, Ints)
//   Ints AddProducts(Ints sum, Codes c, Digits d)   sum[i] += c_i0 d_0 + .. + c_i3 d_3
//   Floats ToFloats(Ints)                        Floats SetFloats(float)
//   Floats LoadFloats(const float*)              Floats LoadHalves(const uint16_t*)
//   Floats AddFloats(Floats, Floats)             Floats Multiply(Floats, Floats)
//   Floats MultiplyAdd(Floats a, Floats b, Floats c)   a * b + c, fused or not
//   void StoreFloats(float*, Floats)
//   uint32_t NotNegative(Floats a)               bit i: !(a_i < 0)
//   kSigned; kTileQueries and kTileGroups, the tile that fits its registers.
#pragma once

#include <bit>
#include <utility>

#include "core/kernel/kernel.h"

namespace vexact {

// How far ahead of its use a line is asked for: long enough for memory to answer, short enough to
// stay in the first-level cache.
inline constexpr size_t kPrefetchBytes = 4096;

// The numbers beside the codes of one group.
template <typename V>
struct GroupNumbers {
  GroupNumbers(const FirstSlab& slab, size_t row)
      : scale(V::LoadHalves(slab.scale + row)),
        error(V::LoadHalves(slab.error + row)),
        tail(slab.tail == nullptr ? V::SetFloats(0) : V::LoadHalves(slab.tail + row)),
        bend(slab.bend == nullptr ? V::SetFloats(0) : V::LoadFloats(slab.bend + row)),
        norm(slab.norm == nullptr ? V::SetFloats(0) : V::LoadFloats(slab.norm + row)) {}

  typename V::Floats scale, error, tail, bend, norm;
};

// The bound of kernel.h for 16 rows, less the threshold.
template <typename V>
[[gnu::always_inline]] inline typename V::Floats Margin(const FirstSlab& slab,
                                                        const GroupNumbers<V>& rows,
                                                        const QueryTerms& query,
                                                        typename V::Floats products) {
  auto margin =
      V::MultiplyAdd(rows.error, V::SetFloats(query.error), V::SetFloats(-query.threshold));
  if (slab.tail != nullptr) margin = V::MultiplyAdd(rows.tail, V::SetFloats(query.tail), margin);
  if (slab.bend != nullptr) margin = V::MultiplyAdd(rows.bend, V::SetFloats(query.bend), margin);
  if (slab.norm != nullptr) {
    auto slope = V::SetFloats(query.norm);
    if (query.square != 0) slope = V::MultiplyAdd(rows.norm, V::SetFloats(query.square), slope);
    margin = V::MultiplyAdd(slope, rows.norm, margin);
  }
  const auto scaled =
      V::MultiplyAdd(products, V::SetFloats(query.scale), V::SetFloats(query.constant));
  return V::MultiplyAdd(scaled, rows.scale, margin);
}

template <typename V>
Survivor* WriteSurvivors(uint32_t survive, size_t row, size_t query, float query_scale,
                         const GroupNumbers<V>& rows, typename V::Floats products, Survivor* out) {
  alignas(64) float estimates[kGroupRows];
  V::StoreFloats(estimates,
                 V::Multiply(V::Multiply(products, V::SetFloats(query_scale)), rows.scale));
  for (; survive != 0; survive &= survive - 1) {
    const auto i = static_cast<uint32_t>(std::countr_zero(survive));
    *out++ = {static_cast<uint32_t>(row) + i, static_cast<uint32_t>(query), estimates[i]};
  }
  return out;
}

// sum_j c_j v_j of 16 rows of byte codes, as float32: 128 * high + low, each an exact integer
// before its conversion. Two accumulators a plane hide the latency of the products.
template <typename V>
typename V::Floats GroupProducts(const FirstSlab& slab, const uint8_t* codes,
                                 const QueryDigits& query) {
  typename V::Ints high_even = V::SetInts(V::kSigned ? 0 : -128 * query.high_sum);
  typename V::Ints low_even = V::SetInts(V::kSigned ? 0 : -128 * query.low_sum);
  typename V::Ints high_odd = V::SetInts(0);
  typename V::Ints low_odd = V::SetInts(0);
  for (size_t j = 0; j < slab.width; j += kFirstSlabStep) {
    const uint8_t* line = codes + j * kGroupRows;
    V::Prefetch(line + kPrefetchBytes);
    V::Prefetch(line + kPrefetchBytes + 64);
    const auto even = V::LoadCodes(line);
    const auto odd = V::LoadCodes(line + 64);
    high_even = V::AddProducts(high_even, even, V::LoadDigits(query.high + j));
    low_even = V::AddProducts(low_even, even, V::LoadDigits(query.low + j));
    high_odd = V::AddProducts(high_odd, odd, V::LoadDigits(query.high + j + 4));
    low_odd = V::AddProducts(low_odd, odd, V::LoadDigits(query.low + j + 4));
  }
  const auto high = V::ToFloats(V::AddInts(high_even, high_odd));
  const auto low = V::ToFloats(V::AddInts(low_even, low_odd));
  return V::MultiplyAdd(high, V::SetFloats(128), low);
}

// The sums of products of kGroups groups with kQueries queries.
template <typename V, size_t kQueries, size_t kGroups>
struct TileSums {
  typename V::Ints sum[kQueries][kGroups];
};

// The sums stay in registers: they are named in one loop whose every index is known after
// unrolling, and written out once at its end.
template <typename V, FirstCode kCode, size_t kQueries, size_t kGroups>
[[gnu::noinline]] void SumTile(const FirstSlab& slab, const uint8_t* codes, const int8_t* digits,
                               [[maybe_unused]] const int32_t* digit_sums,
                               TileSums<V, kQueries, kGroups>& sums) {
  constexpr size_t kDigitStep = 4 * V::kTileQueries;
  constexpr size_t kHalves = kCode == FirstCode::kSketch ? 2 : 1;
  const size_t group_bytes = kGroupRows * FirstSlabBytes(kCode, slab.width);
  const size_t lines = FirstSlabBytes(kCode, slab.width) / 4;
  typename V::Ints sum[kQueries][kGroups];
#pragma GCC unroll 12
  for (size_t q = 0; q < kQueries; ++q) {
#pragma GCC unroll 4
    for (size_t g = 0; g < kGroups; ++g) {
      // Bytes stand for c = u - 128.
      sum[q][g] = V::SetInts(kCode == FirstCode::kByte && !V::kSigned ? -128 * digit_sums[q] : 0);
    }
  }
  const auto add = [&](size_t line, size_t half, const int8_t* d) {
    typename V::Codes part[kGroups];
#pragma GCC unroll 4
    for (size_t g = 0; g < kGroups; ++g) {
      const uint8_t* at = codes + g * group_bytes + line * 64;
      if (half == 0) V::Prefetch(at + kPrefetchBytes);
      part[g] = kCode == FirstCode::kByte ? V::LoadCodes(at)
                : half == 0               ? V::LowHalves(V::LoadSketch(at))
                                          : V::HighHalves(V::LoadSketch(at));
    }
#pragma GCC unroll 12
    for (size_t q = 0; q < kQueries; ++q) {
      const auto four = V::LoadDigits(d + 4 * q);
#pragma GCC unroll 4
      for (size_t g = 0; g < kGroups; ++g) sum[q][g] = V::AddProducts(sum[q][g], part[g], four);
    }
  };
  static_assert(kHalves == 1 || kQueries == 1, "both halves of a line fit the registers of one");
#pragma GCC unroll 1
  for (size_t line = 0; line < lines; ++line) {
    add(line, 0, digits + kHalves * line * kDigitStep);
    if constexpr (kHalves == 2) add(line, 1, digits + (2 * line + 1) * kDigitStep);
  }
#pragma GCC unroll 12
  for (size_t q = 0; q < kQueries; ++q) {
#pragma GCC unroll 4
    for (size_t g = 0; g < kGroups; ++g) sums.sum[q][g] = sum[q][g];
  }
}

// sum_j c_j v_j of a sketch: below 2^24 and exact in float32.
template <typename V>
typename V::Floats SketchProducts(typename V::Ints sum, int32_t digit_sum) {
  return V::AddFloats(V::ToFloats(sum), V::SetFloats(-7.5f * static_cast<float>(digit_sum)));
}

// What norm and bend add to a bound, for all queries of a tile: where norm and square are the same
// multiples of bend, a row's numbers are put together once, and each query's bound takes a step
// less.
struct OwnTerms {
  float norm_share = 0, square_share = 0;
  float factors[kMaxTileQueries] = {};

  OwnTerms(const FirstSlab& slab, const Tile& tile) {
    const bool has_bend = slab.bend != nullptr;
    if (!has_bend) square_share = 1;
    for (size_t q = 0; q < tile.queries; ++q) {
      const QueryTerms& terms = tile.terms[q];
      factors[q] = has_bend ? terms.bend : terms.square;
      if (!has_bend || terms.bend == 0) continue;
      if (!tile.norm_apart) norm_share = terms.norm / terms.bend;
      square_share = terms.square / terms.bend;
    }
  }
};

// The bounds of one group's rows for every query of a tile. Not inlined: the queries' terms would
// be spread over registers that there are not, instead of being read where they are needed.
template <typename V, bool kTail, bool kOwn, bool kNorm, size_t kQueries, size_t kGroups>
[[gnu::noinline]] Survivor* BoundTile(const FirstSlab& slab, size_t row, size_t queries,
                                      const QueryTerms* terms, const OwnTerms& own_terms,
                                      const TileSums<V, kQueries, kGroups>& sums, size_t group,
                                      Survivor* out) {
  const GroupNumbers<V> rows(slab, row);
  const auto slope = V::MultiplyAdd(rows.norm, V::SetFloats(own_terms.square_share),
                                    V::SetFloats(own_terms.norm_share));
  const auto own = V::MultiplyAdd(slope, rows.norm, rows.bend);
  for (size_t q = 0; q < queries; ++q) {
    const QueryTerms& query = terms[q];
    auto margin =
        V::MultiplyAdd(rows.error, V::SetFloats(query.error), V::SetFloats(-query.threshold));
    if constexpr (kTail) margin = V::MultiplyAdd(rows.tail, V::SetFloats(query.tail), margin);
    if constexpr (kOwn) margin = V::MultiplyAdd(own, V::SetFloats(own_terms.factors[q]), margin);
    if constexpr (kNorm) margin = V::MultiplyAdd(rows.norm, V::SetFloats(query.norm), margin);
    const auto products = V::ToFloats(sums.sum[q][group]);
    const auto scaled =
        V::MultiplyAdd(products, V::SetFloats(query.scale), V::SetFloats(query.constant));
    margin = V::MultiplyAdd(scaled, rows.scale, margin);
    const uint32_t survive = V::NotNegative(margin);
    if (survive != 0) [[unlikely]] {
      out = WriteSurvivors<V>(survive, row, q, query.scale, rows, products, out);
    }
  }
  return out;
}

template <typename V, bool kTail, bool kOwn, bool kNorm, size_t kQueries, size_t kGroups>
Survivor* FilterTileGroups(const FirstSlab& slab, size_t first_group, size_t groups,
                           const Tile& tile, const OwnTerms& own, Survivor* out) {
  for (size_t group = first_group; group + kGroups <= groups; group += kGroups) {
    TileSums<V, kQueries, kGroups> sums;
    SumTile<V, FirstCode::kByte>(slab, slab.codes + group * kGroupRows * slab.width, tile.digits,
                                 tile.digit_sums, sums);
    for (size_t g = 0; g < kGroups; ++g) {
      out = BoundTile<V, kTail, kOwn, kNorm>(slab, (group + g) * kGroupRows, tile.queries,
                                             tile.terms, own, sums, g, out);
    }
  }
  return out;
}

template <typename V, bool kTail, bool kOwn, bool kNorm, size_t kQueries>
size_t FilterTileOf(const FirstSlab& slab, size_t groups, const Tile& tile, Survivor* out) {
  constexpr size_t kGroups = V::kTileGroups;
  const OwnTerms own(slab, tile);
  Survivor* const first = out;
  out = FilterTileGroups<V, kTail, kOwn, kNorm, kQueries, kGroups>(slab, 0, groups, tile, own, out);
  if constexpr (kGroups > 1) {
    const size_t whole = groups / kGroups * kGroups;
    out = FilterTileGroups<V, kTail, kOwn, kNorm, kQueries, 1>(slab, whole, groups, tile, own, out);
  }
  return static_cast<size_t>(out - first);
}

// Few queries get a narrow tile: what it does not multiply it need not wait for.
template <typename V, bool kTail, bool kOwn, bool kNorm>
size_t FilterTileBy(const FirstSlab& slab, size_t groups, const Tile& tile, Survivor* out) {
  constexpr size_t kMost = V::kTileQueries;
  if (tile.queries == 1) return FilterTileOf<V, kTail, kOwn, kNorm, 1>(slab, groups, tile, out);
  if (tile.queries <= kMost / 3) {
    return FilterTileOf<V, kTail, kOwn, kNorm, kMost / 3>(slab, groups, tile, out);
  }
  return FilterTileOf<V, kTail, kOwn, kNorm, kMost>(slab, groups, tile, out);
}

// What one query makes of 16 rows: their bounds stored, the best of them written.
template <typename V>
Survivor* BoundGroup(const FirstSlab& slab, size_t row, const QueryTerms& bound,
                     const QueryTerms& best, typename V::Floats products, float* bounds,
                     Survivor* out) {
  const GroupNumbers<V> rows(slab, row);
  V::StoreFloats(bounds + row, Margin<V>(slab, rows, bound, products));
  const uint32_t survive = V::NotNegative(Margin<V>(slab, rows, best, products));
  if (survive == 0) [[likely]]
    return out;
  return WriteSurvivors<V>(survive, row, 0, best.scale, rows, products, out);
}

template <typename V, size_t kGroups>
Survivor* BoundSketch(const FirstSlab& slab, size_t first_group, size_t groups,
                      const QueryDigits& digits, const QueryTerms& bound, const QueryTerms& best,
                      float* bounds, Survivor* out) {
  const size_t group_bytes = kGroupRows * FirstSlabBytes(FirstCode::kSketch, slab.width);
  for (size_t group = first_group; group + kGroups <= groups; group += kGroups) {
    TileSums<V, 1, kGroups> sums;
    SumTile<V, FirstCode::kSketch>(slab, slab.codes + group * group_bytes, digits.high, nullptr,
                                   sums);
    for (size_t g = 0; g < kGroups; ++g) {
      const auto products = SketchProducts<V>(sums.sum[0][g], digits.high_sum);
      out = BoundGroup<V>(slab, (group + g) * kGroupRows, bound, best, products, bounds, out);
    }
  }
  return out;
}

template <typename V>
size_t Bound(const FirstSlab& slab, size_t groups, const QueryDigits& digits,
             const QueryTerms& bound, const QueryTerms& best, float* bounds, Survivor* out) {
  Survivor* const first = out;
  if (slab.code == FirstCode::kByte) {
    for (size_t row = 0; row < groups * kGroupRows; row += kGroupRows) {
      const auto products = GroupProducts<V>(slab, slab.codes + row * slab.width, digits);
      out = BoundGroup<V>(slab, row, bound, best, products, bounds, out);
    }
  } else {
    // More groups than a tile has: one query leaves registers for them.
    constexpr size_t kGroups = 2 * V::kTileGroups;
    out = BoundSketch<V, kGroups>(slab, 0, groups, digits, bound, best, bounds, out);
    if constexpr (kGroups > 1) {
      const size_t whole = groups / kGroups * kGroups;
      out = BoundSketch<V, 1>(slab, whole, groups, digits, bound, best, bounds, out);
    }
  }
  return static_cast<size_t>(out - first);
}

template <typename V>
size_t Select(const float* bounds, const float* norms, float norm, float threshold, size_t groups,
              Survivor* out) {
  Survivor* const first = out;
  for (size_t row = 0; row < groups * kGroupRows; row += kGroupRows) {
    auto margin = V::AddFloats(V::LoadFloats(bounds + row), V::SetFloats(-threshold));
    if (norms != nullptr) {
      margin = V::MultiplyAdd(V::LoadFloats(norms + row), V::SetFloats(norm), margin);
    }
    for (uint32_t survive = V::NotNegative(margin); survive != 0; survive &= survive - 1) {
      *out++ = {static_cast<uint32_t>(row) + static_cast<uint32_t>(std::countr_zero(survive)), 0,
                0};
    }
  }
  return static_cast<size_t>(out - first);
}

template <typename V, bool kTail>
size_t FilterTileWith(const FirstSlab& slab, size_t groups, const Tile& tile, Survivor* out) {
  const bool own = slab.bend != nullptr || (slab.norm != nullptr && !tile.norm_apart);
  if (tile.norm_apart) {
    return own ? FilterTileBy<V, kTail, true, true>(slab, groups, tile, out)
               : FilterTileBy<V, kTail, false, true>(slab, groups, tile, out);
  }
  return own ? FilterTileBy<V, kTail, true, false>(slab, groups, tile, out)
             : FilterTileBy<V, kTail, false, false>(slab, groups, tile, out);
}

template <typename V>
size_t FilterTile(const FirstSlab& slab, size_t groups, const Tile& tile, Survivor* out) {
  return slab.tail != nullptr ? FilterTileWith<V, true>(slab, groups, tile, out)
                              : FilterTileWith<V, false>(slab, groups, tile, out);
}

}  // namespace vexact

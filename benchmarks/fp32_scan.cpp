#include "benchmarks/fp32_scan.h"

#include <algorithm>
#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace vexact::bench {
namespace {

constexpr size_t kBlockBytes = size_t{512} << 10;
// Far enough ahead for memory to answer; measured best on 128 to 768 dimensions.
constexpr size_t kPrefetchFloats = 1024;

using DotFunction = float (*)(const float* query, const float* row, size_t d);

float PlainDot(const float* query, const float* row, size_t d) {
  float lane[16] = {};
  size_t j = 0;
  for (; j + 16 <= d; j += 16) {
    for (size_t l = 0; l < 16; ++l) lane[l] += query[j + l] * row[j + l];
  }
  float sum = 0;
  for (; j < d; ++j) sum += query[j] * row[j];
  for (const float l : lane) sum += l;
  return sum;
}

#if defined(__x86_64__)
// Four accumulators hide the latency of the fused multiply-adds; rows are read one after another,
// as the processor's own prefetcher likes it best.
__attribute__((target("avx512f"))) float Avx512Dot(const float* query, const float* row, size_t d) {
  __m512 sum[4];
  for (__m512& s : sum) s = _mm512_setzero_ps();
  size_t j = 0;
  for (; j + 64 <= d; j += 64) {
    for (size_t i = 0; i < 4; ++i) {
      const float* x = row + j + 16 * i;
      _mm_prefetch(x + kPrefetchFloats, _MM_HINT_T0);
      sum[i] = _mm512_fmadd_ps(_mm512_loadu_ps(query + j + 16 * i), _mm512_loadu_ps(x), sum[i]);
    }
  }
  for (; j < d; j += 16) {
    const auto mask = static_cast<__mmask16>(d - j >= 16 ? 0xFFFF : (1u << (d - j)) - 1);
    sum[0] = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(mask, query + j),
                             _mm512_maskz_loadu_ps(mask, row + j), sum[0]);
  }
  return _mm512_reduce_add_ps(
      _mm512_add_ps(_mm512_add_ps(sum[0], sum[1]), _mm512_add_ps(sum[2], sum[3])));
}

__attribute__((target("avx2,fma"))) float Avx2Dot(const float* query, const float* row, size_t d) {
  __m256 sum[4];
  for (__m256& s : sum) s = _mm256_setzero_ps();
  size_t j = 0;
  for (; j + 32 <= d; j += 32) {
    for (size_t i = 0; i < 4; ++i) {
      const float* x = row + j + 8 * i;
      if (i % 2 == 0) _mm_prefetch(x + kPrefetchFloats, _MM_HINT_T0);
      sum[i] = _mm256_fmadd_ps(_mm256_loadu_ps(query + j + 8 * i), _mm256_loadu_ps(x), sum[i]);
    }
  }
  alignas(32) float lane[8];
  _mm256_store_ps(lane,
                  _mm256_add_ps(_mm256_add_ps(sum[0], sum[1]), _mm256_add_ps(sum[2], sum[3])));
  float total = 0;
  for (; j < d; ++j) total += query[j] * row[j];
  for (const float l : lane) total += l;
  return total;
}
#endif

DotFunction BestDot() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return Avx512Dot;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Avx2Dot;
#endif
  return PlainDot;
}

bool Better(const Neighbour& a, const Neighbour& b) { return a.score > b.score; }

class Heap {
 public:
  explicit Heap(size_t k) : k_(k) {}
  void Offer(const Neighbour& neighbour) {
    if (rows_.size() < k_) {
      rows_.push_back(neighbour);
      std::push_heap(rows_.begin(), rows_.end(), Better);
    } else if (neighbour.score > rows_.front().score) {
      std::pop_heap(rows_.begin(), rows_.end(), Better);
      rows_.back() = neighbour;
      std::push_heap(rows_.begin(), rows_.end(), Better);
    }
  }
  const std::vector<Neighbour>& rows() const { return rows_; }

 private:
  size_t k_;
  std::vector<Neighbour> rows_;  // the worst in front
};

}  // namespace

std::vector<Neighbour> Fp32Scan(const CollectionState& state, std::span<const float> query,
                                size_t k, Workers& workers) {
  static const DotFunction dot = BestDot();
  const size_t d = query.size();
  const auto step = static_cast<uint32_t>(std::max<size_t>(kBlockBytes / (d * sizeof(float)), 1));
  struct Block {
    const float* rows;
    uint32_t count;
  };
  std::vector<Block> blocks;
  for (const CollectionState::Part& part : state.parts) {
    for (uint32_t first = 0; first < part.rows; first += step) {
      blocks.push_back({part.segment->vector(first).data(), std::min(step, part.rows - first)});
    }
  }
  std::vector<Heap> heaps(static_cast<size_t>(workers.threads()), Heap(k));
  workers.ForEach(blocks.size(), [&](int slot, size_t index) {
    Heap& heap = heaps[static_cast<size_t>(slot)];
    const Block& block = blocks[index];
    for (uint32_t row = 0; row < block.count; ++row) {
      const float* x = block.rows + row * d;
      heap.Offer({dot(query.data(), x, d), x});
    }
  });
  Heap merged(k);
  for (const Heap& heap : heaps) {
    for (const Neighbour& neighbour : heap.rows()) merged.Offer(neighbour);
  }
  std::vector<Neighbour> best = merged.rows();
  std::sort(best.begin(), best.end(), Better);
  return best;
}

}  // namespace vexact::bench

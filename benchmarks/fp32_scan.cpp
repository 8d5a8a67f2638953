#include "benchmarks/fp32_scan.h"

#include <algorithm>
#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace vexact::bench {
namespace {

constexpr size_t kRowsPerStep = 4;
constexpr size_t kBlockBytes = size_t{512} << 10;

// Inner products of `query` with four consecutive rows.
using DotFour = void (*)(const float* query, const float* rows, size_t d, float* scores);

void PlainDotFour(const float* query, const float* rows, size_t d, float* scores) {
  for (size_t r = 0; r < kRowsPerStep; ++r) {
    float lane[16] = {};
    size_t j = 0;
    for (; j + 16 <= d; j += 16) {
      for (size_t l = 0; l < 16; ++l) lane[l] += query[j + l] * rows[r * d + j + l];
    }
    float sum = 0;
    for (; j < d; ++j) sum += query[j] * rows[r * d + j];
    for (const float l : lane) sum += l;
    scores[r] = sum;
  }
}

#if defined(__x86_64__)
__attribute__((target("avx512f"))) void Avx512DotFour(const float* query, const float* rows,
                                                      size_t d, float* scores) {
  __m512 sum[kRowsPerStep];
  for (__m512& s : sum) s = _mm512_setzero_ps();
  const auto step = [&](size_t j, __mmask16 mask)
      __attribute__((target("avx512f"), always_inline)) {
    const __m512 q = _mm512_maskz_loadu_ps(mask, query + j);
    for (size_t r = 0; r < kRowsPerStep; ++r) {
      const float* x = rows + r * d + j;
      _mm_prefetch(x + kRowsPerStep * d, _MM_HINT_T0);
      sum[r] = _mm512_fmadd_ps(q, _mm512_maskz_loadu_ps(mask, x), sum[r]);
    }
  };
  size_t j = 0;
  for (; j + 16 <= d; j += 16) step(j, 0xFFFF);
  if (j < d) step(j, static_cast<__mmask16>((1u << (d - j)) - 1));
  for (size_t r = 0; r < kRowsPerStep; ++r) scores[r] = _mm512_reduce_add_ps(sum[r]);
}

__attribute__((target("avx2,fma"))) void Avx2DotFour(const float* query, const float* rows,
                                                     size_t d, float* scores) {
  for (size_t r = 0; r < kRowsPerStep; ++r) {
    const float* x = rows + r * d;
    __m256 even = _mm256_setzero_ps();
    __m256 odd = _mm256_setzero_ps();
    size_t j = 0;
    for (; j + 16 <= d; j += 16) {
      _mm_prefetch(x + j + kRowsPerStep * d, _MM_HINT_T0);
      even = _mm256_fmadd_ps(_mm256_loadu_ps(query + j), _mm256_loadu_ps(x + j), even);
      odd = _mm256_fmadd_ps(_mm256_loadu_ps(query + j + 8), _mm256_loadu_ps(x + j + 8), odd);
    }
    alignas(32) float lane[8];
    _mm256_store_ps(lane, _mm256_add_ps(even, odd));
    float total = 0;
    for (; j < d; ++j) total += query[j] * x[j];
    for (const float l : lane) total += l;
    scores[r] = total;
  }
}
#endif

DotFour BestDotFour() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return Avx512DotFour;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Avx2DotFour;
#endif
  return PlainDotFour;
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
  static const DotFour dot_four = BestDotFour();
  const size_t d = query.size();
  const auto step = static_cast<uint32_t>(
      std::max<size_t>(kBlockBytes / (d * sizeof(float)) / kRowsPerStep, 1) * kRowsPerStep);
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
    float scores[kRowsPerStep];
    uint32_t row = 0;
    for (; row + kRowsPerStep <= block.count; row += kRowsPerStep) {
      const float* rows = block.rows + row * d;
      dot_four(query.data(), rows, d, scores);
      for (size_t r = 0; r < kRowsPerStep; ++r) heap.Offer({scores[r], rows + r * d});
    }
    for (; row < block.count; ++row) {
      float score = 0;
      for (size_t j = 0; j < d; ++j) score += query[j] * block.rows[row * d + j];
      heap.Offer({score, block.rows + row * d});
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

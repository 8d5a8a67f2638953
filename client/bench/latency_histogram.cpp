#include "client/bench/latency_histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace vexact::client {

// Times below 2^7 have a bucket each. Above, a time is shifted until 8 bits are left; the first of
// them is always set, the other 7 and the shift are the bucket.
size_t LatencyHistogram::BucketOf(uint64_t time) {
  const int shift = std::max(static_cast<int>(std::bit_width(time)) - (kStepBits + 1), 0);
  const uint64_t step = time >> shift;
  return std::min((static_cast<size_t>(shift) << kStepBits) + step, kBuckets - 1);
}

int64_t LatencyHistogram::EndOf(size_t bucket) {
  if (bucket < size_t{2} << kStepBits) return static_cast<int64_t>(bucket);
  const size_t shift = (bucket >> kStepBits) - 1;
  const uint64_t step = bucket - (shift << kStepBits);
  return static_cast<int64_t>(((step + 1) << shift) - 1);
}

void LatencyHistogram::Record(int64_t time) {
  time = std::max<int64_t>(time, 0);
  buckets_[BucketOf(static_cast<uint64_t>(time))].fetch_add(1, std::memory_order_relaxed);
  count_.fetch_add(1, std::memory_order_relaxed);
  sum_.fetch_add(static_cast<uint64_t>(time), std::memory_order_relaxed);
  int64_t longest = max();
  while (time > longest && !max_.compare_exchange_weak(longest, time, std::memory_order_relaxed)) {
  }
}

double LatencyHistogram::mean() const {
  const uint64_t count = this->count();
  if (count == 0) return 0;
  return static_cast<double>(sum_.load(std::memory_order_relaxed)) / static_cast<double>(count);
}

int64_t LatencyHistogram::Quantile(double share) const {
  const auto wanted = static_cast<uint64_t>(std::ceil(share * static_cast<double>(count())));
  if (wanted == 0) return 0;
  uint64_t seen = 0;
  for (size_t bucket = 0; bucket < kBuckets - 1; ++bucket) {
    seen += buckets_[bucket].load(std::memory_order_relaxed);
    if (seen >= wanted) return std::min(EndOf(bucket), max());
  }
  return max();
}

}  // namespace vexact::client

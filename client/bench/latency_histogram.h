// How long many requests took, in constant memory.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace vexact::client {

// Counts times in buckets whose width grows with the time: 128 between one power of two and the
// next, so that a quantile is told with at most 1/128 (0.8 %) too much, and never too little. Times
// from 2^42 ns (73 minutes) on share the last bucket; the longest is kept exactly.
//
// Thread safety: every member may be called from any thread. What is recorded meanwhile may be
// missing from an answer.
class LatencyHistogram {
 public:
  // In nanoseconds; a negative time counts as 0.
  void Record(int64_t time);

  uint64_t count() const { return count_.load(std::memory_order_relaxed); }
  int64_t max() const { return max_.load(std::memory_order_relaxed); }
  // 0 when nothing was recorded, as below.
  double mean() const;
  // The time that a `share` of what was recorded did not exceed, with the error told above.
  // REQUIRES: 0 < share <= 1.
  int64_t Quantile(double share) const;

 private:
  static constexpr int kStepBits = 7;
  static constexpr int kLargestBits = 42;
  static constexpr size_t kBuckets = static_cast<size_t>(kLargestBits - kStepBits + 1) << kStepBits;

  static size_t BucketOf(uint64_t time);
  // The longest time in a bucket.
  static int64_t EndOf(size_t bucket);

  // Relaxed throughout: the counts say nothing about other memory.
  std::array<std::atomic<uint64_t>, kBuckets> buckets_{};
  std::atomic<uint64_t> count_ = 0;
  std::atomic<uint64_t> sum_ = 0;
  std::atomic<int64_t> max_ = 0;
};

}  // namespace vexact::client

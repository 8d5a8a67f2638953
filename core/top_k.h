// The k best rows seen so far.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "core/metric.h"
#include "core/segment.h"

namespace vexact {

struct ScoredRow {
  double score = 0;
  RowRef row;
};

// The order of answers: nearer first, equal scores by ascending id.
class AnswerOrder {
 public:
  explicit AnswerOrder(Metric metric) : metric_(metric) {}
  bool operator()(const ScoredRow& a, const ScoredRow& b) const {
    if (a.score != b.score) return Nearer(metric_, a.score, b.score);
    return a.row.id() < b.row.id();
  }

 private:
  Metric metric_;
};

// Keeps the k first rows in AnswerOrder of all that are offered, in O(log k) each, and in O(1) for
// a row that is not among them. Not thread-safe.
class TopK {
 public:
  TopK(Metric metric, size_t k) : before_(metric), k_(k) {}

  void Offer(const ScoredRow& candidate) {
    if (heap_.size() < k_) {
      heap_.push_back(candidate);
      std::push_heap(heap_.begin(), heap_.end(), before_);
    } else if (k_ > 0 && before_(candidate, heap_.front())) {
      std::pop_heap(heap_.begin(), heap_.end(), before_);
      heap_.back() = candidate;
      std::push_heap(heap_.begin(), heap_.end(), before_);
    }
  }

  bool full() const { return heap_.size() == k_; }
  // REQUIRES: full() and k > 0.
  const ScoredRow& worst() const { return heap_.front(); }

  void Merge(const TopK& other) {
    for (const ScoredRow& row : other.heap_) Offer(row);
  }

  // The rows in order; leaves nothing behind.
  std::vector<ScoredRow> TakeSorted() {
    std::sort_heap(heap_.begin(), heap_.end(), before_);
    return std::move(heap_);
  }

 private:
  AnswerOrder before_;
  size_t k_;
  std::vector<ScoredRow> heap_;  // the worst in front
};

}  // namespace vexact

// One query of a search: its codes for every layout, what they say of rows, and the best rows so
// far.
#pragma once

#include <algorithm>
#include <atomic>
#include <limits>
#include <memory>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

#include "core/code.h"
#include "core/engine.h"
#include "core/ranking.h"
#include "core/top_k.h"

namespace vexact {

// The digits of up to Kernel::tile_queries queries for one layout, as Tile wants them.
struct PackedTile {
  std::vector<int8_t> digits;
  std::vector<int32_t> sums;
};

// Of their high digits. REQUIRES: at most kernel.tile_queries members, of one layout.
PackedTile PackTile(std::span<const EncodedQuery* const> members, const Kernel& kernel);

// Searches for more neighbours than this read the first slab's bytes instead of the sketch: their
// tau is so low that the sketch rules out too little.
inline constexpr size_t kMostBySketch = 64;

// A query as one layout codes it, for k neighbours. Thread safety: const.
class CodedQuery {
 public:
  // REQUIRES: `layout` and `kernel` outlive it.
  CodedQuery(std::span<const float> query, double dot, Metric metric, const Layout& layout,
             const Kernel& kernel, Term left_out = Term::kNone, size_t k = 1);
  CodedQuery(const CodedQuery&) = delete;  // the ranking refers to encoded_

  const EncodedQuery& encoded() const { return encoded_; }
  const Ranking& ranking() const { return ranking_; }

  // The first pass of a query that is alone, over its sketch or its bytes: the bounds of `groups`
  // groups, for Select, and the rows that would reach `about` if their estimates were right. `out`
  // has room for all rows. Returns how many it wrote.
  size_t Bound(const CodeColumns& columns, size_t group, size_t groups, double about, float* bounds,
               Survivor* out) const;

  // What a first pass reads of a row: Bound, or a batch's.
  size_t alone_row_bytes() const {
    return (by_sketch_ ? layout_.alone_row_bytes() : layout_.first_row_bytes()) + own_bytes();
  }
  size_t batch_row_bytes() const { return layout_.first_row_bytes() + own_bytes(); }

  // Of rows with these bounds, those that are not ruled out for `tau`.
  size_t Select(const CodeColumns& columns, size_t group, size_t groups, double tau,
                const float* bounds, Survivor* out) const;

  // The rank that a row has if `estimate` is right.
  double RankAbout(const CodeColumns& columns, size_t row, float estimate) const;

  struct Refined {
    size_t slabs = 0;  // later slabs that were read
    bool survived = false;
    double upper = 0;  // bound on the row's rank, when it survived

    // Counts the row at each level that let it through: at level 0 it was a survivor.
    template <typename Count>
    void AddTo(std::vector<Count>& passed) const {
      const size_t levels = survived ? slabs + 1 : std::max<size_t>(slabs, 1);
      for (size_t level = 0; level < levels; ++level) ++passed[level];
    }
  };
  // Reads a survivor's later slabs while its upper bound reaches `tau`; what the first slab said of
  // it is a bound of Bound's, or an estimate on the high digits.
  Refined RefineBound(const CodeColumns& columns, size_t row, float bound, double tau) const;
  Refined RefineEstimate(const CodeColumns& columns, size_t row, float estimate, double tau) const;

 private:
  using Numbers = CodeColumns::RowNumbers;
  Numbers NumbersOf(const CodeColumns& columns, size_t row) const;
  // `first` is a bound on <p, z_P>, what the first slab contributes.
  Refined Refine(const CodeColumns& columns, size_t row, const Numbers& row_numbers, double first,
                 double tau) const;
  // Of norm and bend, where the metric asks for them.
  size_t own_bytes() const {
    return sizeof(float) * (size_t{ranking_.needs_norm()} + size_t{ranking_.needs_bend()});
  }
  Reading AloneReading() const { return by_sketch_ ? Reading::kSketch : Reading::kAllDigits; }

  const Layout& layout_;
  const Kernel& kernel_;
  const bool by_sketch_;
  const EncodedQuery encoded_;
  const Ranking ranking_;
  std::vector<int8_t> sketch_;  // its digits, lying as far apart as those of a whole tile
};

// Thread safety: Encode and RememberSeeds come before anything else; then Offer and tau may be
// called from any thread.
class ScanQuery {
 public:
  ScanQuery(Metric metric, size_t k, const EngineQuery& query)
      : metric_(metric), k_(k), query_(query), top_(metric, k) {}

  // For each layout, in the scan's order.
  void Encode(std::span<const std::shared_ptr<const Layout>> layouts, const Kernel& kernel,
              Term left_out);

  const EngineQuery& query() const { return query_; }
  const CodedQuery& coded(size_t layout) const { return *coded_[layout]; }

  // No answer has a rank below it. Only ever raised; relaxed, because an old value merely lets more
  // rows survive.
  double tau() const { return tau_.load(std::memory_order_relaxed); }

  // About so high are the ranks of the best rows seen so far, going by their estimates: rows below
  // it are not worth scoring before others.
  double about() const { return about_.load(std::memory_order_relaxed); }
  void RaiseAbout(double rank) { Raise(about_, rank); }

  // A row with its reference score.
  void Offer(const ScoredRow& row);

  // Rows, as pairs of part and row, that were offered before the scan and must not be again.
  template <typename Seed>
  void RememberSeeds(size_t n, Seed seed) {
    seeds_.reserve(n);
    for (size_t i = 0; i < n; ++i) seeds_.push_back(seed(i));
    std::sort(seeds_.begin(), seeds_.end());
  }
  bool IsSeed(uint32_t part, uint32_t row) const {
    return std::binary_search(seeds_.begin(), seeds_.end(), std::pair(part, row));
  }

  // REQUIRES: no thread offers any more.
  std::vector<ScoredRow> TakeAnswer() { return top_.TakeSorted(); }

 private:
  double Rank(double score) const {
    return Ranking::FromScore(metric_, coded_.front()->encoded(), score);
  }

  static void Raise(std::atomic<double>& number, double value) {
    double now = number.load(std::memory_order_relaxed);
    while (value > now && !number.compare_exchange_weak(now, value, std::memory_order_relaxed)) {
    }
  }

  const Metric metric_;
  const size_t k_;
  const EngineQuery& query_;
  std::vector<std::unique_ptr<CodedQuery>> coded_;  // by layout
  std::vector<std::pair<uint32_t, uint32_t>> seeds_;
  std::atomic<double> tau_ = -std::numeric_limits<double>::infinity();
  std::atomic<double> about_ = -std::numeric_limits<double>::infinity();
  std::mutex mutex_;
  TopK top_;  // guarded by mutex_
};

}  // namespace vexact

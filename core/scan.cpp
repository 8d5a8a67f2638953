#include "core/scan.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <mutex>

#include "core/code.h"
#include "core/reference_score.h"
#include "core/scan_query.h"

namespace vexact {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// A block is what one task filters between two looks at tau: large enough that starting it costs
// nothing, small enough to stay in a core's second-level cache while many queries pass over it.
constexpr size_t kBlockBytes = size_t{256} << 10;
constexpr size_t kMaxBlockGroups = 64;
// At least so many blocks per thread, so that all are busy to the end.
constexpr size_t kBlocksPerThread = 8;
// Queries that pass over the rows together.
constexpr size_t kMaxGroupQueries = 1'024;
// From so many queries on they pass over the rows together, in tiles (docs/performance.md).
constexpr size_t kLeastBatch = 4;
// A batch looks for its first tau in one block of so many.
constexpr size_t kSampleStride = 10;
// Rows whose bounds are kept at a time, when a query is alone: 16 MiB.
constexpr size_t kMaxBoundGroups = (size_t{4} << 20) / kGroupRows;
// The best rows by estimate are cut to those that are kept when they are so many times as many.
constexpr size_t kBestRoom = 3;
// All threads' best rows by estimate, of all queries that pass over the rows together.
constexpr size_t kBestBytes = size_t{64} << 20;
// Survivors that are judged together: many, so that tau has risen meanwhile and the reads of their
// later slabs overlap; in a batch few, while the block is still in cache.
constexpr size_t kPendingAlone = 512;
constexpr size_t kPendingInBatch = 8;
constexpr size_t kRescoreAhead = 2;
// Scores between two looks at the clock.
constexpr size_t kInterruptEvery = 256;

// A row that the first slab does not rule out.
struct Pending {
  uint32_t part, row;
  float first;  // what the first slab said of it: its bound, or in a batch its estimate
};

// A row that no slab rules out; its rank is at most `upper`.
struct Candidate {
  double upper;
  uint32_t part, row;
};

bool BetterBound(const Candidate& a, const Candidate& b) { return a.upper > b.upper; }

// Rows of one part, in whole groups; or `tail_rows` that have no codes yet.
struct Block {
  uint32_t part;
  uint32_t first_group;
  uint32_t groups;
  uint32_t tail_rows;

  uint32_t first_row() const { return first_group * uint32_t{kGroupRows}; }
};

std::vector<Block> Blocks(const CollectionState& state, size_t threads) {
  size_t all_groups = 0;
  for (const CollectionState::Part& part : state.parts) all_groups += part.rows / kGroupRows;
  const size_t share = all_groups / (threads * kBlocksPerThread) & ~size_t{1};
  std::vector<Block> blocks;
  for (uint32_t p = 0; p < state.parts.size(); ++p) {
    const CollectionState::Part& part = state.parts[p];
    const size_t group_bytes = kGroupRows * part.codes->layout()->first_bytes();
    const size_t most = std::clamp<size_t>(kBlockBytes / group_bytes, 2, kMaxBlockGroups);
    const auto step = static_cast<uint32_t>(std::clamp<size_t>(share, 2, most));
    const auto groups = static_cast<uint32_t>(part.rows / kGroupRows);
    for (uint32_t first = 0; first < groups; first += step) {
      blocks.push_back({p, first, std::min(step, groups - first), 0});
    }
    const uint32_t tail = part.rows % kGroupRows;
    if (tail > 0) blocks.push_back({p, groups, 0, tail});
  }
  return blocks;
}

// What one thread needs.
struct Slot {
  std::vector<std::vector<Pending>> pending;  // by query
  std::vector<std::vector<Candidate>> best;   // by query; `upper` is the rank by estimate
  std::vector<Survivor> survivors;
  std::vector<Candidate> candidates;
  std::vector<QueryTerms> terms;
  SearchStatistics statistics;

  // A batch's lists can be large; the next search is likely to be alone.
  void ForgetQueries() {
    pending = {};
    best = {};
  }

  Survivor* Room(size_t n) {
    if (survivors.size() < n) survivors.resize(n);
    return survivors.data();
  }
};

// Memory that one search after another uses: fresh pages would cost a small search more than its
// arithmetic.
struct Scratch {
  struct alignas(64) Group {
    float bounds[kGroupRows];
  };
  std::vector<Group> bounds;
  std::vector<Slot> slots;
};

// One call of Search.
class Scan {
 public:
  Scan(Workers& workers, const ScanTuning& tuning, const CollectionState& state, Metric metric,
       size_t k, const Interrupt& interrupt, Scratch& scratch)
      : workers_(workers),
        kernel_(tuning.kernel != nullptr ? *tuning.kernel : ActiveKernel()),
        tuning_(tuning),
        state_(state),
        metric_(metric),
        k_(std::min<size_t>(k, state.live_rows)),
        interrupt_(interrupt),
        blocks_(Blocks(state, static_cast<size_t>(workers.threads()))),
        scratch_(scratch),
        slots_(scratch.slots) {
    slots_.resize(static_cast<size_t>(workers.threads()));
    for (const CollectionState::Part& part : state.parts) {
      const auto known = std::find(layouts_.begin(), layouts_.end(), part.codes->layout());
      layout_of_part_.push_back(static_cast<size_t>(known - layouts_.begin()));
      if (known == layouts_.end()) layouts_.push_back(part.codes->layout());
    }
    for (Slot& slot : slots_) {
      slot.statistics = {};
      for (const auto& layout : layouts_) {
        slot.statistics.layouts.push_back(
            {layout.get(), 0, std::vector<uint64_t>(layout->levels())});
      }
    }
  }

  absl::StatusOr<EngineAnswer> Run(std::span<const EngineQuery> queries) {
    EngineAnswer answer;
    answer.hits.resize(queries.size());
    if (k_ == 0) return answer;
    const size_t best_bytes = kBestRoom * Kept() * sizeof(Candidate) * slots_.size();
    const size_t group = std::clamp<size_t>(kBestBytes / best_bytes, 1, kMaxGroupQueries);
    for (size_t first = 0; first < queries.size(); first += group) {
      const size_t count = std::min(group, queries.size() - first);
      if (absl::Status status =
              RunGroup(queries.subspan(first, count), {answer.hits.data() + first, count});
          !status.ok()) {
        return status;
      }
    }
    for (Slot& slot : slots_) {
      answer.statistics += slot.statistics;
      if (queries.size() >= kLeastBatch) slot.ForgetQueries();
    }
    for (const auto& layout : layouts_) {
      answer.statistics.bytes_read += queries.size() * layout->basis_bytes();
    }
    return answer;
  }

 private:
  absl::Status RunGroup(std::span<const EngineQuery> queries,
                        std::span<std::vector<ScoredRow>> answers) {
    queries_.clear();
    for (const EngineQuery& query : queries) {
      queries_.push_back(std::make_unique<ScanQuery>(metric_, k_, query));
    }
    for (Slot& slot : slots_) {
      slot.pending.resize(std::max(slot.pending.size(), queries.size()));
      slot.best.resize(std::max(slot.best.size(), queries.size()));
      for (auto& pending : slot.pending) pending.clear();
      for (auto& best : slot.best) best.clear();
    }
    ForEach(queries.size(),
            [&](Slot&, size_t q) { queries_[q]->Encode(layouts_, kernel_, tuning_.left_out); });
    if (Interrupted()) return reason_;
    if (!Batched()) {
      for (size_t q = 0; q < queries.size(); ++q) ScanAlone(q);
    } else {
      ScanBatch();
    }
    if (Interrupted()) return reason_;
    for (size_t q = 0; q < queries.size(); ++q) answers[q] = queries_[q]->TakeAnswer();
    return absl::OkStatus();
  }

  template <typename Body>
  void ForEach(size_t n, Body body) {
    workers_.ForEach(n, [&](int slot, size_t index) {
      if (!Interrupted()) body(slots_[static_cast<size_t>(slot)], index);
    });
  }

  // relaxed: a late sight of the flag only costs a block.
  bool Interrupted() {
    if (interrupted_.load(std::memory_order_relaxed)) return true;
    const absl::Status status = interrupt_.Check();
    if (status.ok()) return false;
    // Kept: asked again later, a clock that was set back would let half an answer pass for a whole
    // one.
    std::lock_guard lock(reason_mutex_);
    reason_ = status;
    interrupted_.store(true, std::memory_order_relaxed);
    return true;
  }

  bool Batched() const { return queries_.size() >= kLeastBatch; }

  // Rows that are scored for the first tau: by their estimates the best, and some more, because
  // estimates err.
  size_t Kept() const { return k_ + k_ / 4 + 6; }

  const CodeColumns& Columns(uint32_t part) const { return state_.parts[part].codes->columns(); }

  const CodedQuery& Coded(const ScanQuery& query, uint32_t part) const {
    return query.coded(layout_of_part_[part]);
  }

  RowRef Ref(uint32_t part, uint32_t row) const { return {state_.parts[part].segment.get(), row}; }

  // --- Steps 1 and 2, one query -----------------------------------------------------------------

  // Every row's bound is kept until the best rows by estimate, of all of them, have given tau.
  void ScanAlone(size_t q) {
    for (size_t first = 0; first < blocks_.size();) {
      size_t groups = 0;
      size_t end = first;
      offsets_.clear();
      for (; end < blocks_.size() && groups + blocks_[end].groups <= kMaxBoundGroups; ++end) {
        offsets_.push_back(groups);
        groups += blocks_[end].groups;
      }
      if (scratch_.bounds.size() < groups) scratch_.bounds.resize(groups);
      workers_.ForEach(end - first, [&](int slot, size_t i) {
        if (!Interrupted()) BoundBlock(blocks_[first + i], offsets_[i], q, slots_[slot]);
      });
      ScoreBest(q, slots_[0]);
      workers_.ForEach(end - first, [&](int slot, size_t i) {
        if (!Interrupted()) SelectBlock(blocks_[first + i], offsets_[i], q, slots_[slot]);
      });
      first = end;
    }
    JudgeRest(q, q + 1);
  }

  void BoundBlock(const Block& block, size_t offset, size_t q, Slot& slot) {
    if (block.groups == 0) return;
    ScanQuery& query = *queries_[q];
    const CodedQuery& coded = Coded(query, block.part);
    CountFiltered(block, 1, coded.alone_row_bytes(), slot);
    Survivor* const out = slot.Room(block.groups * kGroupRows);
    const size_t best = coded.Bound(Columns(block.part), block.first_group, block.groups,
                                    query.about(), scratch_.bounds[offset].bounds, out);
    for (size_t i = 0; i < best; ++i) AddBest(block, out[i], q, slot);
  }

  void SelectBlock(const Block& block, size_t offset, size_t q, Slot& slot) {
    if (block.tail_rows > 0) return ScoreTail(block, q, slot);
    const ScanQuery& query = *queries_[q];
    Survivor* const out = slot.Room(block.groups * kGroupRows);
    const size_t survivors = Coded(query, block.part)
                                 .Select(Columns(block.part), block.first_group, block.groups,
                                         query.tau(), scratch_.bounds[offset].bounds, out);
    const float* const bounds = scratch_.bounds[offset].bounds;
    for (size_t i = 0; i < survivors; ++i) {
      const uint32_t row = block.first_row() + out[i].row;
      AddPending({block.part, row, bounds[out[i].row]}, q, slot);
    }
    JudgeIfMany(q, slot, std::max(kPendingAlone, 2 * k_));
  }

  // --- Steps 1 and 2, a batch -------------------------------------------------------------------

  // Tau comes from the best rows of a sample of the blocks, and rises on the way through all.
  void ScanBatch() {
    PackTiles();
    const size_t samples = (blocks_.size() + kSampleStride - 1) / kSampleStride;
    ForEach(samples, [&](Slot& slot, size_t i) {
      ForTiles(blocks_[i * kSampleStride],
               [&](const Block& block, size_t t) { SampleBlock(block, t, slot); });
    });
    ForEach(queries_.size(), [&](Slot& slot, size_t q) { ScoreBest(q, slot); });
    ForEach(blocks_.size(), [&](Slot& slot, size_t i) {
      if (blocks_[i].tail_rows > 0) {
        for (size_t q = 0; q < queries_.size(); ++q) ScoreTail(blocks_[i], q, slot);
      }
      ForTiles(blocks_[i], [&](const Block& block, size_t t) { ScanTile(block, t, slot); });
    });
    JudgeRest(0, queries_.size());
  }

  template <typename Body>
  void ForTiles(const Block& block, Body body) const {
    if (block.groups == 0) return;
    for (size_t t = 0; t * kernel_.tile_queries < queries_.size(); ++t) body(block, t);
  }

  // The digits of kernel_.tile_queries queries each, by layout.
  void PackTiles() {
    tiles_.assign(layouts_.size(), {});
    for (size_t l = 0; l < layouts_.size(); ++l) {
      for (size_t first = 0; first < queries_.size(); first += kernel_.tile_queries) {
        std::vector<const EncodedQuery*> members;
        for (size_t q = first; q < std::min(queries_.size(), first + kernel_.tile_queries); ++q) {
          members.push_back(&queries_[q]->coded(l).encoded());
        }
        tiles_[l].push_back(PackTile(members, kernel_));
      }
    }
  }

  // Runs one tile over one block; `terms(query, ranking)` says what is asked. The survivors stay in
  // the slot.
  template <typename Terms>
  std::span<const Survivor> RunTile(const Block& block, size_t t, Slot& slot, Terms terms) {
    const size_t l = layout_of_part_[block.part];
    const size_t first = t * kernel_.tile_queries;
    const size_t count = std::min(kernel_.tile_queries, queries_.size() - first);
    slot.terms.resize(kernel_.tile_queries);
    bool needs_norm = false;
    bool needs_bend = false;
    bool norm_apart = false;
    for (size_t i = 0; i < count; ++i) {
      const ScanQuery& query = *queries_[first + i];
      const Ranking& ranking = query.coded(l).ranking();
      slot.terms[i] = terms(query, ranking);
      needs_norm = needs_norm || ranking.needs_norm();
      needs_bend = needs_bend || ranking.needs_bend();
      norm_apart = norm_apart || ranking.norm_apart();
    }
    const PackedTile& packed = tiles_[l][t];
    const Tile tile{packed.digits.data(), packed.sums.data(), slot.terms.data(), count, norm_apart};
    Survivor* const out = slot.Room(block.groups * kGroupRows * count);
    const FirstSlab slab =
        Columns(block.part).first(FirstCode::kByte, block.first_group, needs_norm, needs_bend);
    return {out, kernel_.filter_tile(slab, block.groups, tile, out)};
  }

  // While nothing is known of a query every row is among its best: then a few rows first, and more
  // from step to step.
  void SampleBlock(const Block& block, size_t t, Slot& slot) {
    uint32_t groups = queries_[t * kernel_.tile_queries]->about() == -kInfinity ? 4 : block.groups;
    for (uint32_t done = 0; done < block.groups; done += groups, groups = 4 * done) {
      groups = std::min(groups, block.groups - done);
      SampleTile({block.part, block.first_group + done, groups, 0}, t, slot);
    }
  }

  void SampleTile(const Block& block, size_t t, Slot& slot) {
    const auto survivors =
        RunTile(block, t, slot, [](const ScanQuery& query, const Ranking& ranking) {
          return ranking.EstimateTerms(query.about(), Reading::kHighDigits);
        });
    for (const Survivor& survivor : survivors) {
      AddBest(block, survivor, t * kernel_.tile_queries + survivor.query, slot);
    }
  }

  void ScanTile(const Block& block, size_t t, Slot& slot) {
    const size_t first = t * kernel_.tile_queries;
    if (t == 0)
      CountFiltered(block, queries_.size(), Coded(*queries_[0], block.part).batch_row_bytes(),
                    slot);
    const auto survivors =
        RunTile(block, t, slot, [](const ScanQuery& query, const Ranking& ranking) {
          return ranking.Terms(query.tau(), Reading::kHighDigits);
        });
    for (const Survivor& survivor : survivors) {
      const size_t q = first + survivor.query;
      const uint32_t row = block.first_row() + survivor.row;
      AddPending({block.part, row, survivor.estimate}, q, slot);
    }
    // The tile before: what was asked for when its rows were added has come by now.
    const size_t tiles = tiles_[0].size();
    const size_t before = (t + tiles - 1) % tiles * kernel_.tile_queries;
    for (size_t i = 0; i < kernel_.tile_queries && before + i < queries_.size(); ++i) {
      JudgeIfMany(before + i, slot, kPendingInBatch);
    }
  }

  // --- The first tau ----------------------------------------------------------------------------

  void AddBest(const Block& block, const Survivor& survivor, size_t q, Slot& slot) {
    ScanQuery& query = *queries_[q];
    std::vector<Candidate>& best = slot.best[q];
    const uint32_t row = block.first_row() + survivor.row;
    best.push_back({Coded(query, block.part).RankAbout(Columns(block.part), row, survivor.estimate),
                    block.part, row});
    if (best.size() < kBestRoom * Kept()) return;
    KeepBest(best);
    query.RaiseAbout(best.back().upper);
  }

  // The Kept() best, the least of them last.
  void KeepBest(std::vector<Candidate>& best) const {
    if (best.size() <= Kept()) return;
    const auto last = best.begin() + static_cast<ptrdiff_t>(Kept() - 1);
    std::nth_element(best.begin(), last, best.end(), BetterBound);
    best.resize(Kept());
  }

  // Scores the best rows by estimate of all threads.
  void ScoreBest(size_t q, Slot& scorer) {
    ScanQuery& query = *queries_[q];
    std::vector<Candidate> best;
    for (Slot& slot : slots_) {
      best.insert(best.end(), slot.best[q].begin(), slot.best[q].end());
      slot.best[q].clear();
    }
    KeepBest(best);
    for (const Candidate& candidate : best) Prefetch(Ref(candidate.part, candidate.row));
    for (const auto& [rank, part, row] : best) Rescore(part, row, query, scorer.statistics);
    query.RememberSeeds(best.size(),
                        [&](size_t i) { return std::pair(best[i].part, best[i].row); });
  }

  // --- Steps 3 and 4 ----------------------------------------------------------------------------

  void AddPending(const Pending& pending, size_t q, Slot& slot) const {
    slot.pending[q].push_back(pending);
    const CodeColumns& columns = Columns(pending.part);
    if (columns.later == nullptr) return;
    // The numbers and the slab behind them: three lines at most, in one place.
    const uint8_t* const slab = columns.later_slab(pending.row, 1);
    __builtin_prefetch(columns.numbers(pending.row));
    __builtin_prefetch(slab);
    __builtin_prefetch(slab + kSlabWidth - 1);
  }

  void JudgeIfMany(size_t q, Slot& slot, size_t limit) {
    if (tuning_.pending_limit != 0) limit = tuning_.pending_limit;
    if (slot.pending[q].size() >= limit) Judge(*queries_[q], slot.pending[q], slot);
  }

  // What no thread had enough of to judge on its own.
  void JudgeRest(size_t begin, size_t end) {
    ForEach((end - begin) * slots_.size(), [&](Slot& slot, size_t i) {
      const size_t q = begin + i / slots_.size();
      Judge(*queries_[q], slots_[i % slots_.size()].pending[q], slot);
    });
  }

  void ScoreTail(const Block& block, size_t q, Slot& slot) {
    for (uint32_t i = 0; i < block.tail_rows; ++i) {
      Rescore(block.part, block.first_row() + i, *queries_[q], slot.statistics);
    }
  }

  // `row_bytes` is what the pass reads of a row.
  void CountFiltered(const Block& block, size_t queries, size_t row_bytes, Slot& slot) const {
    const size_t rows = block.groups * kGroupRows;
    slot.statistics.layouts[layout_of_part_[block.part]].rows += rows * queries;
    slot.statistics.bytes_read += rows * row_bytes;
  }

  // Refines the pending rows and scores those that may be answers, best bound first; leaves none.
  void Judge(ScanQuery& query, std::vector<Pending>& pending, Slot& slot) {
    slot.candidates.clear();
    const double tau = query.tau();
    for (size_t i = 0; i < pending.size(); ++i) {
      Refine(pending[i], tau, query, slot);
    }
    pending.clear();
    std::vector<Candidate>& candidates = slot.candidates;
    std::sort(candidates.begin(), candidates.end(), BetterBound);
    for (size_t i = 0; i < candidates.size(); ++i) {
      if (candidates[i].upper < query.tau()) break;
      if (i + kRescoreAhead < candidates.size()) {
        Prefetch(Ref(candidates[i + kRescoreAhead].part, candidates[i + kRescoreAhead].row));
      }
      const auto [upper, part, row] = candidates[i];
      if (!query.IsSeed(part, row)) Rescore(part, row, query, slot.statistics);
      if (i % kInterruptEvery == kInterruptEvery - 1 && Interrupted()) return;
    }
  }

  static void Prefetch(const RowRef& row) {
    const auto* bytes = reinterpret_cast<const char*>(row.vector().data());
    const size_t size = std::min<size_t>(row.vector().size_bytes(), 2'048);
    for (size_t at = 0; at < size; at += 64) __builtin_prefetch(bytes + at);
  }

  void Refine(const Pending& pending, double tau, const ScanQuery& query, Slot& slot) const {
    const CodedQuery& coded = Coded(query, pending.part);
    const CodeColumns& columns = Columns(pending.part);
    const CodedQuery::Refined refined =
        Batched() ? coded.RefineEstimate(columns, pending.row, pending.first, tau)
                  : coded.RefineBound(columns, pending.row, pending.first, tau);
    refined.AddTo(slot.statistics.layouts[layout_of_part_[pending.part]].passed);
    slot.statistics.rows_refined += refined.slabs > 0 ? 1 : 0;
    slot.statistics.bytes_read += refined.slabs * kSlabWidth;
    if (refined.survived) {
      slot.candidates.push_back({refined.upper, pending.part, pending.row});
    }
  }

  void Rescore(uint32_t part, uint32_t row, ScanQuery& query, SearchStatistics& statistics) const {
    const RowRef ref = Ref(part, row);
    if (!state_.IsLive(ref) || ref == query.query().excluded) return;
    ++statistics.rows_rescored;
    statistics.bytes_read += ref.vector().size_bytes();
    query.Offer(
        {ReferenceScore(metric_, query.query().vector, query.query().dot, ref.vector(), ref.dot()),
         ref});
  }

  Workers& workers_;
  const Kernel& kernel_;
  const ScanTuning tuning_;
  const CollectionState& state_;
  const Metric metric_;
  const size_t k_;
  const Interrupt& interrupt_;
  std::atomic<bool> interrupted_ = false;
  std::mutex reason_mutex_;
  absl::Status reason_;  // why interrupted_; guarded by reason_mutex_ while tasks run
  const std::vector<Block> blocks_;
  std::vector<std::shared_ptr<const Layout>> layouts_;  // each that occurs among the parts, once
  std::vector<size_t> layout_of_part_;
  Scratch& scratch_;
  std::vector<Slot>& slots_;  // of scratch_
  std::vector<std::unique_ptr<ScanQuery>> queries_;
  std::vector<size_t> offsets_;                 // ScanAlone's, of its blocks in scratch_.bounds
  std::vector<std::vector<PackedTile>> tiles_;  // by layout
};

class ScanEngine : public Engine {
 public:
  ScanEngine(Workers& workers, const ScanTuning& tuning) : workers_(workers), tuning_(tuning) {}

  absl::StatusOr<EngineAnswer> Search(const CollectionState& state, Metric metric,
                                      std::span<const EngineQuery> queries, size_t k,
                                      const Interrupt& interrupt) override {
    std::unique_ptr<Scratch> scratch = TakeScratch();
    auto answer = Scan(workers_, tuning_, state, metric, k, interrupt, *scratch).Run(queries);
    std::lock_guard lock(mutex_);
    idle_.push_back(std::move(scratch));
    return answer;
  }

 private:
  std::unique_ptr<Scratch> TakeScratch() {
    std::lock_guard lock(mutex_);
    if (idle_.empty()) return std::make_unique<Scratch>();
    std::unique_ptr<Scratch> scratch = std::move(idle_.back());
    idle_.pop_back();
    return scratch;
  }

  Workers& workers_;
  const ScanTuning tuning_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Scratch>> idle_;  // guarded by mutex_
};

}  // namespace

std::unique_ptr<Engine> MakeScanEngine(Workers& workers, const ScanTuning& tuning) {
  return std::make_unique<ScanEngine>(workers, tuning);
}

}  // namespace vexact

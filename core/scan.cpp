#include "core/scan.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <mutex>

#include "core/code.h"
#include "core/ranking.h"
#include "core/reference_score.h"

namespace vexact {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// A block is what one task filters between two looks at tau: large enough that starting it costs
// nothing, small enough to stay in a core's second-level cache while several queries pass over it.
constexpr size_t kBlockBytes = size_t{256} << 10;
constexpr size_t kMaxBlockGroups = 64;
// Queries that pass over a block together, and the candidates that they and all threads may hold at
// most.
constexpr size_t kMaxGroupQueries = 64;
constexpr size_t kCandidateBytes = size_t{64} << 20;
// Rows that make it worth waking other threads for their scores.
constexpr size_t kParallelRescore = 256;

// A row that may be among the answers; its rank is in [lower, upper].
struct Candidate {
  float lower, upper;
  uint32_t part, row;
};

// Rows of one part, in whole groups; `tail_rows` more follow that have no codes yet.
struct Block {
  uint32_t part;
  uint32_t first_row;
  uint32_t groups;
  uint32_t tail_rows;
};

std::vector<Block> Blocks(const CollectionState& state) {
  std::vector<Block> blocks;
  for (uint32_t p = 0; p < state.parts.size(); ++p) {
    const CollectionState::Part& part = state.parts[p];
    const size_t group_bytes = kGroupRows * part.segment->codes().layout.first_bytes();
    const auto step =
        static_cast<uint32_t>(std::clamp<size_t>(kBlockBytes / group_bytes, 1, kMaxBlockGroups));
    const auto groups = static_cast<uint32_t>(part.rows / kGroupRows);
    for (uint32_t first = 0; first < groups; first += step) {
      blocks.push_back({p, first * uint32_t{kGroupRows}, std::min(step, groups - first), 0});
    }
    const uint32_t tail = part.rows % kGroupRows;
    if (tail > 0) blocks.push_back({p, part.rows - tail, 0, tail});
  }
  return blocks;
}

// What all threads share about one query.
struct SharedQuery {
  SharedQuery(Metric metric, const EngineQuery& engine_query, std::vector<EncodedQuery> codes,
              Term left_out)
      : query(engine_query),
        encoded(std::move(codes)),
        ranking(metric, encoded.front(), left_out) {}

  // No answer has a rank below it. Only ever raised; relaxed, because an old value merely lets more
  // rows survive.
  std::atomic<float> tau = -kInfinity;

  void RaiseTau(float rank) {
    float now = tau.load(std::memory_order_relaxed);
    while (rank > now && !tau.compare_exchange_weak(now, rank, std::memory_order_relaxed)) {
    }
  }

  const EngineQuery& query;
  const std::vector<EncodedQuery> encoded;  // by layout
  const Ranking ranking;
};

// What one thread has found for one query.
struct Found {
  explicit Found(const TopK& none) : exact(none) {}
  std::vector<Candidate> candidates;
  size_t prune_at = 0;
  TopK exact;  // candidates that were scored to make room
};

// One call of Search.
class Scan {
 public:
  Scan(Workers& workers, const ScanTuning& tuning, const CollectionState& state, Metric metric,
       size_t k, const Interrupt& interrupt)
      : workers_(workers),
        kernel_(tuning.kernel != nullptr ? *tuning.kernel : ActiveKernel()),
        left_out_(tuning.left_out),
        state_(state),
        metric_(metric),
        k_(std::min<size_t>(k, state.live_rows)),
        candidate_limit_(tuning.candidate_limit != 0 ? tuning.candidate_limit
                                                     : std::max<size_t>(4096, 4 * k_)),
        interrupt_(interrupt),
        blocks_(Blocks(state)) {
    for (const CollectionState::Part& part : state.parts) {
      const Layout& layout = part.segment->codes().layout;
      const auto known = std::find(layouts_.begin(), layouts_.end(), layout);
      layout_of_part_.push_back(static_cast<size_t>(known - layouts_.begin()));
      if (known == layouts_.end()) layouts_.push_back(layout);
    }
  }

  absl::StatusOr<std::vector<std::vector<ScoredRow>>> Run(std::span<const EngineQuery> queries) {
    std::vector<std::vector<ScoredRow>> answers(queries.size());
    if (k_ == 0) return answers;
    const size_t limit_bytes =
        candidate_limit_ * sizeof(Candidate) * static_cast<size_t>(workers_.threads());
    const size_t group = std::clamp<size_t>(kCandidateBytes / limit_bytes, 1, kMaxGroupQueries);
    for (size_t first = 0; first < queries.size(); first += group) {
      const size_t count = std::min(group, queries.size() - first);
      if (absl::Status status =
              RunGroup(queries.subspan(first, count), {answers.data() + first, count});
          !status.ok()) {
        return status;
      }
    }
    return answers;
  }

 private:
  absl::Status RunGroup(std::span<const EngineQuery> queries,
                        std::span<std::vector<ScoredRow>> answers) {
    std::vector<std::unique_ptr<SharedQuery>> shared;
    for (const EngineQuery& query : queries) {
      std::vector<EncodedQuery> encoded;
      for (const Layout& layout : layouts_) {
        encoded.push_back(EncodeQuery(query.vector, query.dot, layout, kernel_, left_out_));
      }
      shared.push_back(
          std::make_unique<SharedQuery>(metric_, query, std::move(encoded), left_out_));
    }
    std::vector<std::vector<Found>> found(
        static_cast<size_t>(workers_.threads()));  // by slot, then query
    workers_.ForEach(blocks_.size(), [&](int slot, size_t index) {
      if (Interrupted()) return;
      std::vector<Found>& own = found[static_cast<size_t>(slot)];
      if (own.empty()) own.assign(queries.size(), Found(TopK(metric_, k_)));
      for (size_t q = 0; q < queries.size(); ++q) ScanBlock(blocks_[index], *shared[q], own[q]);
    });
    if (queries.size() == 1) {
      answers[0] = Finish(*shared[0], found, 0, true);
    } else {
      workers_.ForEach(queries.size(),
                       [&](int, size_t q) { answers[q] = Finish(*shared[q], found, q, false); });
    }
    return reason_;  // no task runs any more
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

  void ScanBlock(const Block& block, SharedQuery& shared, Found& found) {
    if (block.tail_rows > 0) {
      for (uint32_t i = 0; i < block.tail_rows; ++i) {
        AddCandidate({-kInfinity, kInfinity, block.part, block.first_row + i}, shared, found);
      }
    } else {
      FilterBlock(block, shared, found);
    }
    if (found.candidates.size() >= std::max(found.prune_at, k_ + 1)) Prune(shared, found);
  }

  void FilterBlock(const Block& block, SharedQuery& shared, Found& found) {
    const CodeColumns& codes = state_.parts[block.part].segment->codes();
    const EncodedQuery& query = shared.encoded[layout_of_part_[block.part]];
    const float tau = shared.tau.load(std::memory_order_relaxed);
    FilterInput input = MakeFilterInput(codes, block.first_row, query);
    shared.ranking.SetThreshold(tau, input);
    Survivor survivors[kMaxBlockGroups * kGroupRows];
    const size_t count = kernel_.filter(input, block.groups, survivors);
    for (size_t i = 0; i < count; ++i) {
      Refine(block.part, block.first_row + survivors[i].row, survivors[i].estimate, tau, shared,
             found);
    }
  }

  // Reads a survivor's later slabs while its upper bound reaches tau.
  void Refine(uint32_t part, uint32_t row, double estimate, double tau, SharedQuery& shared,
              Found& found) {
    const CodeColumns& codes = state_.parts[part].segment->codes();
    const EncodedQuery& query = shared.encoded[layout_of_part_[part]];
    const Ranking& ranking = shared.ranking;
    const double norm = codes.norm[row];
    const auto radius = [&](size_t level, double error, double tail) {
      const EncodedQuery::Factors& factors = query.factors[level];
      return factors.error * error + factors.norm * norm + factors.tail * tail;
    };
    double width = radius(0, codes.error[row], codes.tail == nullptr ? 0 : codes.tail[row]);
    const size_t later = codes.layout.later_slabs();
    for (size_t slab = 0; slab < later; ++slab) {
      const size_t digits = codes.layout.first_bytes() + slab * kSlabWidth;
      const SlabProducts products = kernel_.slab_products(
          codes.later_slab(slab, row), query.high.data() + digits, query.low.data() + digits);
      const int64_t high = int64_t{products.high} - query.high_offsets[slab + 1];
      const int64_t low = int64_t{products.low} - query.low_offsets[slab + 1];
      estimate += double{query.scale} * codes.scale[row] * static_cast<double>(128 * high + low);
      const LevelBounds& bounds = codes.later[row * later + slab];
      width = radius(slab + 1, bounds.error, bounds.tail);
      if (ranking.Upper(estimate, width, norm) < tau) return;
    }
    AddCandidate({RoundDown(ranking.Lower(estimate, width, norm)),
                  RoundUp(ranking.Upper(estimate, width, norm)), part, row},
                 shared, found);
  }

  RowRef Ref(const Candidate& candidate) const {
    return {state_.parts[candidate.part].segment.get(), candidate.row};
  }

  void AddCandidate(const Candidate& candidate, const SharedQuery& shared, Found& found) {
    const RowRef ref = Ref(candidate);
    if (state_.IsLive(ref) && ref != shared.query.excluded) found.candidates.push_back(candidate);
  }

  // Raises tau to the k-th largest lower bound among the candidates and drops those that cannot
  // reach it.
  void DropBelowTau(SharedQuery& shared, std::vector<Candidate>& candidates) const {
    if (candidates.size() >= k_) {
      const auto kth = candidates.begin() + static_cast<ptrdiff_t>(k_ - 1);
      std::nth_element(candidates.begin(), kth, candidates.end(),
                       [](const Candidate& a, const Candidate& b) { return a.lower > b.lower; });
      shared.RaiseTau(kth->lower);
    }
    const float tau = shared.tau.load(std::memory_order_relaxed);
    std::erase_if(candidates, [&](const Candidate& candidate) { return candidate.upper < tau; });
  }

  void Prune(SharedQuery& shared, Found& found) {
    DropBelowTau(shared, found.candidates);
    // Bounds that do not part the rows (ties, infinite errors) must not fill the memory: score
    // them, keep the k best.
    if (found.candidates.size() > candidate_limit_ / 2) {
      for (const Candidate& candidate : found.candidates) Offer(candidate, shared, found.exact);
      found.candidates.clear();
      RaiseTauToWorst(shared, found.exact);
    }
    found.prune_at = std::max(2 * k_ + 64, 2 * found.candidates.size());
  }

  void RaiseTauToWorst(SharedQuery& shared, const TopK& exact) const {
    if (exact.full()) shared.RaiseTau(RoundDown(shared.ranking.FromScore(exact.worst().score)));
  }

  ScoredRow Score(const Candidate& candidate, const SharedQuery& shared) const {
    const RowRef ref = Ref(candidate);
    return {ReferenceScore(metric_, shared.query.vector, shared.query.dot, ref.vector(), ref.dot()),
            ref};
  }

  void Offer(const Candidate& candidate, const SharedQuery& shared, TopK& top) const {
    top.Offer(Score(candidate, shared));
  }

  // All threads' candidates of one query, best upper bound first, scored until none that is left
  // can enter the answer.
  std::vector<ScoredRow> Finish(SharedQuery& shared, std::span<std::vector<Found>> found, size_t q,
                                bool parallel) {
    TopK top(metric_, k_);
    std::vector<Candidate> candidates;
    for (std::vector<Found>& own : found) {
      if (own.empty()) continue;
      top.Merge(own[q].exact);
      candidates.insert(candidates.end(), own[q].candidates.begin(), own[q].candidates.end());
      own[q].candidates = {};
    }
    RaiseTauToWorst(shared, top);
    DropBelowTau(shared, candidates);
    std::sort(candidates.begin(), candidates.end(),
              [](const Candidate& a, const Candidate& b) { return a.upper > b.upper; });
    // The first k must be scored in any case; then a little at a time, because each score may end
    // it.
    size_t step = k_ + 16;
    for (size_t first = 0; first < candidates.size() && !Interrupted(); first += step, step = 64) {
      if (candidates[first].upper < shared.tau.load(std::memory_order_relaxed)) break;
      const size_t count = std::min(step, candidates.size() - first);
      Rescore({candidates.data() + first, count}, shared, top,
              parallel && count >= kParallelRescore);
      RaiseTauToWorst(shared, top);
    }
    return top.TakeSorted();
  }

  void Rescore(std::span<const Candidate> candidates, const SharedQuery& shared, TopK& top,
               bool parallel) {
    if (!parallel) {
      for (size_t i = 0; i < candidates.size(); ++i) {
        if (i + 2 < candidates.size()) __builtin_prefetch(Ref(candidates[i + 2]).vector().data());
        Offer(candidates[i], shared, top);
      }
      return;
    }
    std::vector<ScoredRow> scored(candidates.size());
    constexpr size_t kStep = 64;
    workers_.ForEach((candidates.size() + kStep - 1) / kStep, [&](int, size_t index) {
      const size_t end = std::min(candidates.size(), (index + 1) * kStep);
      for (size_t i = index * kStep; i < end; ++i) scored[i] = Score(candidates[i], shared);
    });
    for (const ScoredRow& row : scored) top.Offer(row);
  }

  Workers& workers_;
  const Kernel& kernel_;
  const Term left_out_;
  const CollectionState& state_;
  const Metric metric_;
  const size_t k_;
  const size_t candidate_limit_;
  const Interrupt& interrupt_;
  std::atomic<bool> interrupted_ = false;
  std::mutex reason_mutex_;
  absl::Status reason_;  // why interrupted_; guarded by reason_mutex_ while tasks run
  const std::vector<Block> blocks_;
  std::vector<Layout> layouts_;  // each that occurs among the parts, once
  std::vector<size_t> layout_of_part_;
};

class ScanEngine : public Engine {
 public:
  ScanEngine(Workers& workers, const ScanTuning& tuning) : workers_(workers), tuning_(tuning) {}

  absl::StatusOr<std::vector<std::vector<ScoredRow>>> Search(const CollectionState& state,
                                                             Metric metric,
                                                             std::span<const EngineQuery> queries,
                                                             size_t k,
                                                             const Interrupt& interrupt) override {
    return Scan(workers_, tuning_, state, metric, k, interrupt).Run(queries);
  }

 private:
  Workers& workers_;
  const ScanTuning tuning_;
};

}  // namespace

std::unique_ptr<Engine> MakeScanEngine(Workers& workers, const ScanTuning& tuning) {
  return std::make_unique<ScanEngine>(workers, tuning);
}

}  // namespace vexact

// The reference score of every live row for every query, on all threads.
#include <algorithm>
#include <atomic>

#include "core/engine.h"
#include "core/reference_score.h"

namespace vexact {
namespace {

// Rows are scored in blocks that stay in a core's second-level cache while several queries pass
// over them.
constexpr size_t kBlockBytes = size_t{256} << 10;
// All threads' heaps together: bounds memory when k and the batch are both large.
constexpr size_t kHeapBytes = size_t{64} << 20;

struct Block {
  const Segment* segment;
  uint32_t begin, end;
};

std::vector<Block> Blocks(const CollectionState& state) {
  std::vector<Block> blocks;
  for (const CollectionState::Part& part : state.parts) {
    const size_t row_bytes = sizeof(float) * part.segment->dimension();
    const auto step = static_cast<uint32_t>(std::clamp<size_t>(kBlockBytes / row_bytes, 1, 4096));
    for (uint32_t begin = 0; begin < part.rows; begin += step) {
      blocks.push_back({part.segment.get(), begin, std::min(begin + step, part.rows)});
    }
  }
  return blocks;
}

void ScoreBlock(const Block& block, uint64_t sequence, Metric metric, const EngineQuery& query,
                TopK& top) {
  for (uint32_t row = block.begin; row < block.end; ++row) {
    const RowRef ref{block.segment, row};
    if (!block.segment->IsLive(row, sequence) || ref == query.excluded) continue;
    top.Offer({ReferenceScore(metric, query.vector, query.dot, ref.vector(), ref.dot()), ref});
  }
}

class ReferenceEngine : public Engine {
 public:
  explicit ReferenceEngine(Workers& workers) : workers_(workers) {}

  absl::StatusOr<EngineAnswer> Search(const CollectionState& state, Metric metric,
                                      std::span<const EngineQuery> queries, size_t k,
                                      const Interrupt& interrupt) override {
    const std::vector<Block> blocks = Blocks(state);
    const size_t kept = std::min<size_t>(k, state.live_rows);
    const size_t heap_bytes = std::max<size_t>(1, kept) * sizeof(ScoredRow);
    const size_t group = std::clamp<size_t>(
        kHeapBytes / (heap_bytes * static_cast<size_t>(workers_.threads())), 1, 256);
    EngineAnswer answer;
    std::vector<std::vector<ScoredRow>>& answers = answer.hits;
    answers.reserve(queries.size());
    answer.statistics.rows_rescored = state.live_rows * queries.size();
    while (answers.size() < queries.size()) {
      const auto some =
          queries.subspan(answers.size(), std::min(group, queries.size() - answers.size()));
      if (absl::Status status =
              SearchGroup(blocks, state.sequence, metric, some, kept, interrupt, answers);
          !status.ok()) {
        return status;
      }
      for (const Block& block : blocks) {
        answer.statistics.bytes_read +=
            (block.end - block.begin) * sizeof(float) * block.segment->dimension();
      }
    }
    return answer;
  }

 private:
  absl::Status SearchGroup(std::span<const Block> blocks, uint64_t sequence, Metric metric,
                           std::span<const EngineQuery> queries, size_t k,
                           const Interrupt& interrupt,
                           std::vector<std::vector<ScoredRow>>& answers) {
    std::vector<std::vector<TopK>> tops(workers_.threads());  // by slot, then query
    std::atomic<bool> interrupted = false;
    workers_.ForEach(blocks.size(), [&](int slot, size_t index) {
      // relaxed: a late sight of it only costs a block.
      if (interrupted.load(std::memory_order_relaxed)) return;
      if (!interrupt.Check().ok()) {
        interrupted.store(true, std::memory_order_relaxed);
        return;
      }
      std::vector<TopK>& own = tops[slot];
      if (own.empty()) own.assign(queries.size(), TopK(metric, k));
      for (size_t q = 0; q < queries.size(); ++q) {
        ScoreBlock(blocks[index], sequence, metric, queries[q], own[q]);
      }
    });
    if (interrupted.load(std::memory_order_relaxed)) return interrupt.Check();
    for (size_t q = 0; q < queries.size(); ++q) {
      TopK merged(metric, k);
      for (const std::vector<TopK>& own : tops) {
        if (!own.empty()) merged.Merge(own[q]);
      }
      answers.push_back(merged.TakeSorted());
    }
    return absl::OkStatus();
  }

  Workers& workers_;
};

}  // namespace

std::unique_ptr<Engine> MakeReferenceEngine(Workers& workers) {
  return std::make_unique<ReferenceEngine>(workers);
}

}  // namespace vexact

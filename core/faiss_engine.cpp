// Candidates from FAISS's flat indexes in float32, rescored with the reference score.
#include <faiss/IndexFlat.h>
#include <faiss/impl/IDSelector.h>
#include <omp.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <shared_mutex>

#include "absl/strings/str_format.h"
#include "core/engine.h"
#include "core/reference_score.h"

namespace vexact {
namespace {

// Candidates per segment beyond k that are rescored, so that float32 rounding rarely decides who is
// among the k.
constexpr size_t kExtraCandidates = 32;
// Queries that one task hands to FAISS together.
constexpr size_t kQueriesPerTask = 64;

// The rows of one segment that belong to one snapshot.
class LiveRows : public faiss::IDSelector {
 public:
  LiveRows(const CollectionState::Part& part, uint64_t sequence)
      : part_(part), sequence_(sequence) {}
  bool is_member(idx_t id) const override {
    const auto row = static_cast<uint32_t>(id);
    return row < part_.rows && part_.segment->IsLive(row, sequence_);
  }

 private:
  const CollectionState::Part& part_;
  const uint64_t sequence_;
};

// FAISS's own copy of one segment's rows for one metric; L2-normalised for cosine. Searched under a
// shared lock and extended under an exclusive one, because adding may move the copy.
class SegmentIndex {
 public:
  SegmentIndex(const std::shared_ptr<const Segment>& segment, Metric metric)
      : segment_(segment), metric_(metric), index_(MakeIndex(segment->dimension(), metric)) {}

  bool Expired() const { return segment_.expired(); }

  void ExtendTo(const Segment& segment, uint32_t rows) {
    {
      std::shared_lock lock(mutex_);
      if (index_->ntotal >= rows) return;
    }
    std::unique_lock lock(mutex_);
    std::vector<float> normal(segment.dimension());
    for (auto row = static_cast<uint32_t>(index_->ntotal); row < rows; ++row) {
      const bool normalize = metric_ == Metric::kCosine && segment.dot(row) > 0;
      if (normalize) L2Normalize(segment.vector(row), segment.dot(row), normal);
      index_->add(1, normalize ? normal.data() : segment.vector(row).data());
    }
  }

  // The rows of the k best candidates for each of n queries, -1 where there is no further one.
  std::vector<faiss::Index::idx_t> Search(const CollectionState::Part& part, uint64_t sequence,
                                          bool may_have_dead, size_t n, const float* queries,
                                          size_t k) const {
    std::vector<faiss::Index::idx_t> labels(n * k, -1);
    std::vector<float> scores(n * k);
    LiveRows live(part, sequence);
    faiss::SearchParameters parameters;
    std::shared_lock lock(mutex_);
    // FAISS is several times faster without a selector.
    if (may_have_dead || index_->ntotal > part.rows) parameters.sel = &live;
    index_->search(static_cast<int64_t>(n), queries, static_cast<int64_t>(k), scores.data(),
                   labels.data(), parameters.sel != nullptr ? &parameters : nullptr);
    return labels;
  }

 private:
  static std::unique_ptr<faiss::IndexFlat> MakeIndex(uint32_t dimension, Metric metric) {
    if (metric == Metric::kL2) return std::make_unique<faiss::IndexFlatL2>(dimension);
    return std::make_unique<faiss::IndexFlatIP>(dimension);
  }

  const std::weak_ptr<const Segment> segment_;
  const Metric metric_;
  mutable std::shared_mutex mutex_;
  const std::unique_ptr<faiss::IndexFlat> index_;
};

// Query vectors one after another, as FAISS takes them.
std::vector<float> Pack(Metric metric, std::span<const EngineQuery> queries, size_t dimension) {
  std::vector<float> packed(queries.size() * dimension);
  for (size_t q = 0; q < queries.size(); ++q) {
    const std::span<float> out(packed.data() + q * dimension, dimension);
    if (metric == Metric::kCosine) {
      L2Normalize(queries[q].vector, queries[q].dot, out);
    } else {
      std::copy(queries[q].vector.begin(), queries[q].vector.end(), out.begin());
    }
  }
  return packed;
}

class FaissEngine : public Engine {
 public:
  explicit FaissEngine(Workers& workers)
      : workers_(workers), reference_(MakeReferenceEngine(workers)) {}

  absl::StatusOr<EngineAnswer> Search(const CollectionState& state, Metric metric,
                                      std::span<const EngineQuery> queries, size_t k,
                                      const Interrupt& interrupt) override {
    try {
      return SearchFlat(state, metric, queries, k, interrupt);
    } catch (const std::exception& error) {
      return absl::InternalError(absl::StrFormat("FAISS failed: %s", error.what()));
    }
  }

 private:
  absl::StatusOr<EngineAnswer> SearchFlat(const CollectionState& state, Metric metric,
                                          std::span<const EngineQuery> queries, size_t k,
                                          const Interrupt& interrupt) {
    EngineAnswer answer;
    std::vector<std::vector<ScoredRow>>& answers = answer.hits;
    answers.resize(queries.size());
    if (state.live_rows == 0) return answer;
    const auto candidates = FindCandidates(state, metric, queries, k, interrupt);
    if (!candidates.ok()) return candidates.status();
    const uint64_t row_bytes = sizeof(float) * queries.front().vector.size();
    answer.statistics.bytes_read = state.live_rows * row_bytes;  // its own copy, once
    for (size_t q = 0; q < queries.size(); ++q) {
      const size_t excluded = queries[q].excluded.segment != nullptr ? 1 : 0;
      const size_t expected = std::min<size_t>(k, state.live_rows - excluded);
      TopK top(metric, k);
      for (const RowRef& row : (*candidates)[q]) {
        if (row == queries[q].excluded) continue;
        ++answer.statistics.rows_rescored;
        answer.statistics.bytes_read += row_bytes;
        top.Offer(
            {ReferenceScore(metric, queries[q].vector, queries[q].dot, row.vector(), row.dot()),
             row});
      }
      answers[q] = top.TakeSorted();
      if (answers[q].size() == expected) continue;
      // Float32 scores that overflow to infinity or NaN make FAISS drop rows; a short answer would
      // be wrong.
      auto exact = reference_->Search(state, metric, queries.subspan(q, 1), k, interrupt);
      if (!exact.ok()) return exact.status();
      answers[q] = std::move(exact->hits.front());
      answer.statistics += exact->statistics;
    }
    return answer;
  }

  // For each query, the rows that are worth rescoring.
  absl::StatusOr<std::vector<std::vector<RowRef>>> FindCandidates(
      const CollectionState& state, Metric metric, std::span<const EngineQuery> queries, size_t k,
      const Interrupt& interrupt) {
    const size_t dimension = queries.front().vector.size();
    const std::vector<float> packed = Pack(metric, queries, dimension);
    const size_t chunks = (queries.size() + kQueriesPerTask - 1) / kQueriesPerTask;
    std::vector<std::vector<RowRef>> candidates(queries.size());
    std::mutex mutex;  // guards candidates and failure
    absl::Status failure;
    workers_.ForEach(state.parts.size() * chunks, [&](int, size_t task) {
      absl::Status status = interrupt.Check();
      if (status.ok()) {
        const CollectionState::Part& part = state.parts[task / chunks];
        const size_t first = task % chunks * kQueriesPerTask;
        const size_t count = std::min(kQueriesPerTask, queries.size() - first);
        const size_t wanted = std::min<size_t>(k + 1 + kExtraCandidates, part.rows);
        status = SearchPart(state, part, metric, count, packed.data() + first * dimension, wanted,
                            [&](size_t query, RowRef row) {
                              std::lock_guard lock(mutex);
                              candidates[first + query].push_back(row);
                            });
      }
      std::lock_guard lock(mutex);
      failure.Update(status);
    });
    if (!failure.ok()) return failure;
    return candidates;
  }

  template <typename Found>
  absl::Status SearchPart(const CollectionState& state, const CollectionState::Part& part,
                          Metric metric, size_t n, const float* queries, size_t k,
                          Found found) try {
    if (part.rows == 0) return absl::OkStatus();
    // The threads are ours to divide, not OpenMP's.
    omp_set_num_threads(1);
    const std::shared_ptr<SegmentIndex> index = IndexOf(part.segment, metric);
    index->ExtendTo(*part.segment, part.rows);
    const auto labels = index->Search(part, state.sequence, state.dead_rows > 0, n, queries, k);
    for (size_t i = 0; i < labels.size(); ++i) {
      if (labels[i] < 0) continue;
      const RowRef row{part.segment.get(), static_cast<uint32_t>(labels[i])};
      if (state.IsLive(row)) found(i / k, row);
    }
    return absl::OkStatus();
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrFormat("FAISS failed: %s", error.what()));
  }

  std::shared_ptr<SegmentIndex> IndexOf(const std::shared_ptr<Segment>& segment, Metric metric) {
    std::lock_guard lock(mutex_);
    std::erase_if(indexes_, [](const auto& entry) { return entry.second->Expired(); });
    std::shared_ptr<SegmentIndex>& index = indexes_[{segment.get(), metric}];
    if (index == nullptr) index = std::make_shared<SegmentIndex>(segment, metric);
    return index;
  }

  Workers& workers_;
  const std::unique_ptr<Engine> reference_;
  std::mutex mutex_;
  std::map<std::pair<const Segment*, Metric>, std::shared_ptr<SegmentIndex>> indexes_;
};

}  // namespace

std::unique_ptr<Engine> MakeFaissEngine(Workers& workers) {
  return std::make_unique<FaissEngine>(workers);
}

}  // namespace vexact

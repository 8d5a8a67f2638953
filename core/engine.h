// What finds the top k of a query: engines behind one interface.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "core/interrupt.h"
#include "core/metric.h"
#include "core/snapshot.h"
#include "core/top_k.h"
#include "core/workers.h"

namespace vexact {

enum class EngineKind {
  kScan,       // certified bounds from 8-bit codes, then the reference score: the same bits, faster
  kReference,  // scores every row with the reference score: exact by definition
  kFaiss,  // FAISS IndexFlat selects candidates in float32; they are rescored with the reference
           // score
};

inline constexpr EngineKind kEngineKinds[] = {EngineKind::kScan, EngineKind::kReference,
                                              EngineKind::kFaiss};

// "scan", "reference", "faiss".
std::string_view Name(EngineKind kind);
std::optional<EngineKind> ParseEngineKind(std::string_view name);

// A query that has passed the collection's door.
struct EngineQuery {
  std::span<const float> vector;  // the collection's dimension
  double dot = 0;                 // Dot(vector, vector)
  RowRef excluded;                // a row that is not to be found; none when its segment is null
};

// What a search read, over all of its queries.
struct SearchStatistics {
  // What one layout's slabs let through.
  struct LayoutUse {
    const Layout* layout = nullptr;  // kept by the state that was searched
    uint64_t rows = 0;               // coded rows, counted once for each query
    std::vector<uint64_t> passed;    // by level: those that its slab did not rule out
  };

  uint64_t rows_refined = 0;   // rows whose later slabs were read
  uint64_t rows_rescored = 0;  // rows that were scored with the reference score
  // Codes, rows and the layouts' bases; codes that queries share are counted once.
  uint64_t bytes_read = 0;
  std::vector<LayoutUse> layouts;

  SearchStatistics& operator+=(const SearchStatistics& other);

  // What falls to `queries` of the `total` that were searched together, evenly.
  SearchStatistics Share(uint64_t queries, uint64_t total) const;
};

struct EngineAnswer {
  std::vector<std::vector<ScoredRow>> hits;
  SearchStatistics statistics;
};

// One engine of one collection.
//
// Thread safety: Search may be called from any number of threads at once.
class Engine {
 public:
  virtual ~Engine() = default;

  // The first k live rows of `state` in AnswerOrder for each query, or all of them when there are
  // fewer: one vector per query, in the order of the queries. REQUIRES: under kCosine neither a
  // query nor a live row is zero.
  virtual absl::StatusOr<EngineAnswer> Search(const CollectionState& state, Metric metric,
                                              std::span<const EngineQuery> queries, size_t k,
                                              const Interrupt& interrupt) = 0;
};

// `workers` must outlive the engine.
std::unique_ptr<Engine> MakeReferenceEngine(Workers& workers);
std::unique_ptr<Engine> MakeFaissEngine(Workers& workers);

}  // namespace vexact

// The rows of one collection in memory, and who may touch them when.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "core/collection_config.h"
#include "core/id_index.h"
#include "core/scan.h"
#include "core/snapshot.h"
#include "core/workers.h"

namespace vexact {

// For tests: sizes and engine settings that are otherwise chosen by the collection.
struct CollectionTuning {
  std::shared_ptr<const Layout> layout = nullptr;  // of the first rows; the identity
  uint32_t segment_rows = 0;                       // rows of every segment; by size
  uint32_t training_rows = 0;  // rows at which a layout is trained; by dimension
  ScanTuning scan = {};
};

// What writers (write_group.h), the care for layouts (layout_care.h), compaction (compaction.h) and
// readers (collection.h) of one collection share.
struct RowTable {
  // `workers` must outlive it; `name` is used in messages.
  RowTable(std::string name_given, const CollectionConfig& config_given, Workers& workers_given,
           const CollectionTuning& tuning_given);

  uint32_t FullSegmentRows() const;
  // How large a segment is to be made behind `rows` rows.
  uint32_t NextSegmentRows(uint64_t rows) const;
  // An empty segment. RESOURCE_EXHAUSTED.
  absl::StatusOr<CollectionState::Part> NewPart(std::shared_ptr<const Layout> layout, uint32_t rows,
                                                HugePages huge = HugePages::kAtOnce) const;
  const Kernel& kernel() const;

  struct RowRange {
    const CollectionState::Part* part;
    uint32_t begin, end;
  };
  // Fills in rows, of which `first` others are in the ranges before them.
  using FillRows = std::function<void(const RowRange& rows, size_t first)>;
  // Codes the groups that these rows make whole, on all workers; every row is filled in by `fill`
  // first, if there is one. While they do, the calling thread calls `meanwhile`, if there is one,
  // and then helps. REQUIRES: nobody else codes or reads them; nothing that is given throws.
  void Code(std::span<const RowRange> ranges, const FillRows& fill = nullptr,
            const std::function<void()>& meanwhile = nullptr) const;

  // For the background: lets searches go first, for a little while.
  void GiveWay() const;

  const std::string name;
  const CollectionConfig config;  // as created; the metric of now is in the state
  const CollectionTuning tuning;
  Workers& workers;

  // Held by whoever makes the next state, from taking the last one to publishing its own.
  std::mutex write_mutex;
  Published<CollectionState> state;

  // Id to live row. Guarded by index_mutex, which a writer that holds write_mutex holds exclusively
  // as well, only while it changes the index and publishes the state, so that a reader holding it
  // shared sees the two agree. A writer reads it under write_mutex alone. Searches by vector never
  // take it.
  mutable std::shared_mutex index_mutex;
  IdIndex index;

  // The number of the next row that is added; guarded by write_mutex. It only grows.
  uint64_t next_row = 0;
};

// Rows that the background works on between two looks at whether a search waits.
inline constexpr uint32_t kBackgroundRows = 16 * kGroupRows;

}  // namespace vexact

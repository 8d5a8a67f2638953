// The layout of a collection's new rows: when it is trained, what searches see of it, and the
// coding anew of rows under it.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <stop_token>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/engine.h"
#include "core/row_table.h"
#include "core/trainer.h"

namespace vexact {

// The layout of new rows, and what it does. Shares by level are of the coded rows that a query
// meets, those that level's slab does not rule out.
struct LayoutInfo {
  TrainedLayout trained;
  uint64_t rows = 0;        // in whole groups of codes
  uint64_t coded_rows = 0;  // of these, coded under this layout; the others still wait for it
  // Since the layout came into use, of the scan engine.
  uint64_t searches = 0;  // queries
  std::vector<double> observed_passed;
  double observed_bytes = 0;  // per query
};

// What is known of the layout of new rows and lasts beyond the process.
struct LayoutRecord {
  TrainedLayout trained;
  uint64_t weighed_rows = 0;  // at the last training, whether it changed the layout or not
  uint64_t generation = 0;    // grows with every change of any of this
};

// Thread safety: every method may be called from any thread, save that Train and Recode run one at
// a time, and while nobody else takes parts away from the table's state.
class LayoutCare {
 public:
  // `table` and `scan`, the engine whose searches are observed, must outlive it.
  LayoutCare(RowTable& table, Engine& scan);

  std::shared_ptr<const Layout> current() const;
  LayoutInfo info() const;
  LayoutRecord record() const;

  // Goes on from there, `sequence` being the collection's. REQUIRES: the layout is of the table's
  // dimension.
  void Restore(LayoutRecord record, uint64_t sequence);

  // Trains a layout on the rows of now and makes it that of new rows, if it promises at least a
  // tenth less than the one in use. Returns whether it did. FAILED_PRECONDITION below one group of
  // rows; CANCELLED by `stop`.
  absl::StatusOr<bool> Train(const std::stop_token& stop);

  // Makes `layout` that of new rows, as it is.
  void Set(TrainedLayout layout);

  // Codes all rows under the layout of new rows, segment by segment. CANCELLED by `stop`: what is
  // done is kept. RESOURCE_EXHAUSTED.
  absl::Status Recode(const std::stop_token& stop);

  // Whether `state` has enough rows for a first training or grew fourfold since the last, or
  // something was written and many more rows than before pass the first slab.
  bool IsTrainingDue(const CollectionState& state) const;

  // Takes note of what a search read. Returns whether the data seems to have drifted away from the
  // layout.
  bool Observe(const SearchStatistics& statistics, size_t queries, uint32_t k);

 private:
  absl::StatusOr<TrainingSample> Sample(const CollectionState& state,
                                        const std::stop_token& stop) const;
  uint64_t TrainingRows() const;
  bool HasDrifted() const;
  // Codes the rows of one part that is coded under another layout than `layout`; false when there
  // is none.
  absl::StatusOr<bool> RecodeOne(const std::shared_ptr<const Layout>& layout,
                                 const std::stop_token& stop);
  // Puts `codes`, which know the first `coded` rows, in the place of those of `segment`.
  void Publish(const Segment* segment, std::shared_ptr<SegmentCodes> codes, uint32_t coded);

  RowTable& table_;
  Engine& scan_;
  // Guards what follows; taken last of all mutexes.
  mutable std::mutex mutex_;
  LayoutRecord record_;
  struct Observed {
    uint64_t searches = 0, rows = 0, bytes = 0;
    std::vector<uint64_t> passed;
    // The share of rows that passed the first slab, of searches for up to kDriftK neighbours: first
    // and of late, kDriftSearches of each.
    uint64_t window_searches = 0, window_rows = 0, window_passed = 0;
    double first_share = -1;
    double late_share = -1;
  };
  Observed observed_;
  uint64_t sequence_ = 0;  // when the layout came into use
};

}  // namespace vexact

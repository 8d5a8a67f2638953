// Rows that come into a collection as another one held them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "core/layout_care.h"
#include "core/row_table.h"
#include "core/store.h"
#include "core/write_group.h"

namespace vexact {

// Unlike an upsert it changes no bit, normalises nothing, shows nothing before it is finished, and
// gives the collection the sequence number that it is told.
//
// Errors: DATA_LOSS when the rows are not such as a collection of this configuration can hold;
// RESOURCE_EXHAUSTED, UNAVAILABLE. After one the collection is to be dropped.
class RestoredRows {
 public:
  // REQUIRES: the collection is empty, and nobody else knows of it before Finish has returned. All
  // three must outlive this.
  RestoredRows(RowTable& table, const LayoutCare& care, const StoredIn& stored);

  // REQUIRES: vectors of the collection's dimension.
  absl::Status Add(std::span<const PointView> rows);

  // All rows are there from here on, in memory and on the disk.
  absl::Status Finish(uint64_t sequence);

 private:
  absl::Status Append(const PointView& row);
  absl::Status Commit();
  void Code();
  absl::Status Publish(uint64_t sequence);

  RowTable& table_;
  const LayoutCare& care_;
  const StoredIn stored_;
  CollectionState state_;
  std::vector<RowLocation> rows_;
  StoreBatch batch_;        // of the rows from committed_ on
  uint64_t committed_ = 0;  // rows in the store
};

}  // namespace vexact

// One consistent state of a collection, as a reader sees it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "core/id.h"
#include "core/metric.h"
#include "core/published.h"
#include "core/segment.h"
#include "core/segment_codes.h"

namespace vexact {

// What one write publishes. Rows at or beyond a segment's count, and tombstones with a later
// sequence number, belong to later states and are not part of this one.
struct CollectionState {
  struct Part {
    std::shared_ptr<Segment> segment;
    std::shared_ptr<SegmentCodes> codes;  // of the whole groups among `rows`
    uint32_t rows = 0;
  };
  std::vector<Part> parts = {};
  uint64_t sequence = 0;
  uint64_t live_rows = 0;
  uint64_t dead_rows = 0;
  Metric metric = Metric::kCosine;
  // The least id among live rows whose every component is zero.
  std::optional<Id> first_zero_row = std::nullopt;

  // Whether the part gets no more rows: only the last one grows.
  bool IsFull(size_t part) const {
    return part + 1 < parts.size() || parts[part].rows == parts[part].segment->capacity();
  }
  bool IsLive(const RowRef& ref) const { return ref.segment->IsLive(ref.row, sequence); }
};

// Keeps its state's segments alive; cheap to copy.
using Snapshot = Published<CollectionState>::Ref;

}  // namespace vexact

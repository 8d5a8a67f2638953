// The codes of one segment's rows under one layout.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "core/code.h"
#include "core/segment.h"

namespace vexact {

// Derived data: a segment may be coded anew under another layout while searches read what they
// have. Codes exist for whole groups of kGroupRows rows; the rows behind the last whole group have
// none yet.
//
// Thread safety: one writer at a time encodes. Readers may read a group once they have learned of
// it through something that the writer published after encoding it (collection.h).
class SegmentCodes {
 public:
  // REQUIRES: capacity is the segment's. RESOURCE_EXHAUSTED when memory cannot be reserved.
  static absl::StatusOr<std::unique_ptr<SegmentCodes>> Create(std::shared_ptr<const Layout> layout,
                                                              uint32_t capacity,
                                                              HugePages huge = HugePages::kAtOnce);
  SegmentCodes(const SegmentCodes&) = delete;
  SegmentCodes& operator=(const SegmentCodes&) = delete;

  const std::shared_ptr<const Layout>& layout() const { return layout_; }
  const CodeColumns& columns() const { return columns_; }

  // Writer: codes the groups that `end` rows make whole and `begin` rows did not. REQUIRES: the
  // segment has `end` rows.
  void Encode(const Segment& segment, const Kernel& kernel, uint32_t begin, uint32_t end);

  // For a full segment's, in the background: as Pages'.
  void UseHugePages();

  // The codes of the first `rows` rows, as they are in memory: column by column, in an order of
  // their own. REQUIRES: rows is a number of whole groups.
  std::vector<std::span<std::byte>> Columns(uint32_t rows) const;

  // Bytes touched by the codes of the first `rows` rows.
  uint64_t bytes(uint32_t rows) const { return uint64_t{rows} * layout_->code_bytes(); }

 private:
  explicit SegmentCodes(std::shared_ptr<const Layout> layout) : layout_(std::move(layout)) {}

  const std::shared_ptr<const Layout> layout_;
  CodeColumns columns_;  // views of pages_
  std::vector<Pages> pages_;
};

}  // namespace vexact

#include "core/segment_codes.h"

namespace vexact {

absl::StatusOr<std::unique_ptr<SegmentCodes>> SegmentCodes::Create(
    std::shared_ptr<const Layout> layout, uint32_t capacity) {
  std::unique_ptr<SegmentCodes> codes(new SegmentCodes(std::move(layout)));
  CodeColumns& columns = codes->columns_;
  columns.layout = codes->layout_.get();
  columns.capacity = capacity;
  absl::Status status;
  const auto reserve = [&]<typename T>(T*& column, size_t numbers, size_t more = 0) {
    if (!status.ok() || numbers == 0) return;
    auto pages = Pages::Map(sizeof(T) * numbers * capacity + more);
    if (!pages.ok()) {
      status = pages.status();
      return;
    }
    column = pages->as<T>();
    codes->pages_.push_back(*std::move(pages));
  };
  const size_t later = columns.layout->later_slabs();
  reserve(columns.first_slab, columns.layout->first_bytes());
  if (columns.layout->has_sketch()) {
    reserve(columns.sketch, columns.layout->sketch_bytes());
    reserve(columns.sketch_scale, 1);
    reserve(columns.sketch_error, 1);
  }
  reserve(columns.scale, 1);
  reserve(columns.error, 1);
  reserve(columns.tail, later > 0 ? 1 : 0);
  reserve(columns.norm, 1);
  reserve(columns.bend, columns.layout->center.empty() ? 0 : 1);
  // A slab's read may go on behind the last row.
  reserve(columns.later, columns.layout->later_bytes(), later > 0 ? kSlabWidth : 0);
  if (!status.ok()) return status;
  return codes;
}

void SegmentCodes::Encode(const Segment& segment, const Kernel& kernel, uint32_t begin,
                          uint32_t end) {
  constexpr uint32_t kGroup = kGroupRows;
  for (uint32_t row = begin / kGroup * kGroup; row + kGroup <= end; row += kGroup) {
    EncodeGroup(columns_, kernel, row, segment.vector(row).data(), &segment.dot(row));
  }
}

}  // namespace vexact

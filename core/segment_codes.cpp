#include "core/segment_codes.h"

namespace vexact {

absl::StatusOr<std::unique_ptr<SegmentCodes>> SegmentCodes::Create(
    std::shared_ptr<const Layout> layout, uint32_t capacity, HugePages huge) {
  std::unique_ptr<SegmentCodes> codes(new SegmentCodes(std::move(layout)));
  CodeColumns& columns = codes->columns_;
  columns.layout = codes->layout_.get();
  columns.capacity = capacity;
  absl::Status status;
  const auto reserve_all = [&]<typename T>(T*& column, size_t numbers) {
    if (!status.ok() || numbers == 0) return;
    auto pages = Pages::Map(sizeof(T) * numbers, huge);
    if (!pages.ok()) {
      status = pages.status();
      return;
    }
    column = pages->as<T>();
    codes->pages_.push_back(*std::move(pages));
  };
  const auto reserve = [&](auto*& column, size_t numbers) {
    reserve_all(column, numbers * capacity);
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
  reserve_all(columns.later, columns.layout->later_at(capacity));
  if (!status.ok()) return status;
  return codes;
}

std::vector<std::span<std::byte>> SegmentCodes::Columns(uint32_t rows) const {
  std::vector<std::span<std::byte>> columns;
  const auto add = [&]<typename T>(T* column, size_t numbers) {
    if (column != nullptr) columns.push_back(std::as_writable_bytes(std::span(column, numbers)));
  };
  add(columns_.first_slab, layout_->first_bytes() * rows);
  add(columns_.sketch, layout_->sketch_bytes() * rows);
  add(columns_.sketch_scale, rows);
  add(columns_.sketch_error, rows);
  add(columns_.scale, rows);
  add(columns_.error, rows);
  add(columns_.tail, rows);
  add(columns_.norm, rows);
  add(columns_.bend, rows);
  add(columns_.later, layout_->later_at(rows));
  return columns;
}

void SegmentCodes::UseHugePages() {
  for (Pages& pages : pages_) pages.UseHugePages();
}

void SegmentCodes::Encode(const Segment& segment, const Kernel& kernel, uint32_t begin,
                          uint32_t end) {
  constexpr uint32_t kGroup = kGroupRows;
  for (uint32_t row = begin / kGroup * kGroup; row + kGroup <= end; row += kGroup) {
    EncodeGroup(columns_, kernel, row, segment.vector(row).data(), &segment.dot(row));
  }
}

}  // namespace vexact

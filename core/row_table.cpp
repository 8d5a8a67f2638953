#include "core/row_table.h"

#include <algorithm>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace vexact {
namespace {

// Bytes of raw rows in a full-sized segment: large enough that a scan of many segments is a scan of
// memory, small enough that rewriting one is short.
constexpr size_t kSegmentBytes = size_t{64} << 20;
constexpr uint32_t kMinSegmentRows = 32;
constexpr uint32_t kMaxSegmentRows = 65'536;
// A collection's first segment; each further one is as large as all before it, up to the full size.
constexpr uint32_t kFirstSegmentRows = 1'024;

// Rows that one thread codes at a time: some tenths of a millisecond, many times what it takes to
// get a second thread to help.
constexpr uint32_t kCodeRows = 4 * kGroupRows;

// How long one is waited for: the background gets a third of a thread while searches follow one
// another.
constexpr absl::Duration kGiveWayFor = absl::Milliseconds(2);
constexpr absl::Duration kGiveWayStep = absl::Microseconds(100);

}  // namespace

RowTable::RowTable(std::string name_given, const CollectionConfig& config_given,
                   Workers& workers_given, const CollectionTuning& tuning_given)
    : name(std::move(name_given)),
      config(config_given),
      tuning(tuning_given),
      workers(workers_given),
      state(CollectionState{.metric = config.metric}) {}

uint32_t RowTable::FullSegmentRows() const {
  if (tuning.segment_rows != 0) return tuning.segment_rows;
  return static_cast<uint32_t>(std::clamp<size_t>(
      kSegmentBytes / (sizeof(float) * config.dimension), kMinSegmentRows, kMaxSegmentRows));
}

uint32_t RowTable::NextSegmentRows(uint64_t rows) const {
  const uint64_t wanted = std::max<uint64_t>(rows, kFirstSegmentRows);
  return static_cast<uint32_t>(std::min<uint64_t>(FullSegmentRows(), wanted));
}

absl::StatusOr<CollectionState::Part> RowTable::NewPart(std::shared_ptr<const Layout> layout,
                                                        uint32_t rows, HugePages huge) const {
  auto segment = Segment::Create(config.dimension, rows, huge);
  if (!segment.ok()) return segment.status();
  auto codes = SegmentCodes::Create(std::move(layout), (*segment)->capacity(), huge);
  if (!codes.ok()) return codes.status();
  return CollectionState::Part{*std::move(segment), *std::move(codes), 0};
}

const Kernel& RowTable::kernel() const {
  return tuning.scan.kernel != nullptr ? *tuning.scan.kernel : ActiveKernel();
}

// The pieces begin with groups, and each group's codes have their own bytes.
void RowTable::Code(std::span<const RowRange> ranges, const FillRows& fill,
                    const std::function<void()>& meanwhile) const {
  struct Piece {
    RowRange rows;
    size_t first;
  };
  std::vector<Piece> pieces;
  size_t rows = 0;
  for (const auto& [part, begin, end] : ranges) {
    constexpr auto kGroup = static_cast<uint32_t>(kGroupRows);
    for (uint32_t at = begin; at < end;) {
      const uint32_t next = std::min(end, at / kGroup * kGroup + kCodeRows);
      pieces.push_back({{part, at, next}, rows});
      rows += next - at;
      at = next;
    }
  }
  bool called = meanwhile == nullptr;
  const auto call = [&] {
    if (!std::exchange(called, true)) meanwhile();
  };
  const auto code = [&](const Piece& piece) {
    const auto& [part, begin, end] = piece.rows;
    if (fill != nullptr) fill(piece.rows, piece.first);
    part->codes->Encode(*part->segment, kernel(), begin, end);
  };
  if (pieces.size() > 1) {
    const auto self = std::this_thread::get_id();
    workers.ForEach(pieces.size(), [&](int, size_t i) {
      if (std::this_thread::get_id() == self) call();
      code(pieces[i]);
    });
  }
  // The workers may have left nothing for this thread.
  call();
  if (pieces.size() == 1) code(pieces.front());
}

void RowTable::GiveWay() const {
  const absl::Time end = absl::Now() + kGiveWayFor;
  while (workers.active() > 0 && absl::Now() < end) absl::SleepFor(kGiveWayStep);
}

}  // namespace vexact

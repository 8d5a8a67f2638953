#include "core/snapshot_source.h"

#include <variant>

#include "absl/time/clock.h"
#include "core/metric.h"

namespace vexact {
namespace {

// The format's numbers begin with 1, in the order of the enumerations.
template <typename Enum>
constexpr uint32_t Coded(Enum value) {
  return static_cast<uint32_t>(value) + 1;
}
static_assert(Coded(Metric::kInnerProduct) == 1 && Coded(Metric::kL2) == 3);
static_assert(Coded(Normalization::kNone) == 1 && Coded(Normalization::kRequireUnit) == 3);

constexpr size_t kPieceBytes = size_t{512} << 10;

}  // namespace

SnapshotSource::SnapshotSource(const Collection& collection)
    : state_(collection.state()),
      header_{.collection = collection.name(),
              .dimension = collection.dimension(),
              .metric = Coded(state_->metric),
              .normalization = Coded(collection.normalization()),
              .sequence = state_->sequence,
              .rows = state_->live_rows,
              .created_us = absl::ToUnixMicros(absl::Now())},
      encoder_(header_) {}

bool SnapshotSource::Advance() {
  for (; part_ < state_->parts.size(); ++part_, row_ = 0) {
    const CollectionState::Part& part = state_->parts[part_];
    while (row_ < part.rows && !part.segment->IsLive(row_, state_->sequence)) ++row_;
    if (row_ < part.rows) return true;
  }
  return false;
}

bool SnapshotSource::Next(std::string& out) {
  if (finished_) return false;
  const size_t begin = out.size();
  if (!begun_) encoder_.Begin(out);
  begun_ = true;
  while (out.size() - begin < kPieceBytes) {
    if (!Advance()) {
      footer_ = encoder_.Finish(out);
      finished_ = true;
      break;
    }
    const Segment& segment = *state_->parts[part_].segment;
    encoder_.Add({segment.id(row_), segment.vector(row_)}, out);
    ++row_;
  }
  return true;
}

}  // namespace vexact

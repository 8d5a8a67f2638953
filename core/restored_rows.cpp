#include "core/restored_rows.h"

#include <cmath>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_format.h"
#include "core/reference_score.h"
#include "core/validate.h"

namespace vexact {
namespace {

// What goes to the store at a time: much more than a sync costs.
constexpr uint64_t kCommitBytes = uint64_t{8} << 20;

absl::Status Refused(uint64_t row, std::string_view what) {
  return absl::DataLossError(absl::StrFormat("row %d: %s", row, what));
}

}  // namespace

RestoredRows::RestoredRows(RowTable& table, const LayoutCare& care, const StoredIn& stored)
    : table_(table), care_(care), stored_(stored), state_{.metric = table.config.metric} {}

absl::Status RestoredRows::Add(std::span<const PointView> rows) {
  for (const PointView& row : rows) {
    if (absl::Status status = Append(row); !status.ok()) return status;
    if (batch_.bytes() < kCommitBytes) continue;
    if (absl::Status status = Commit(); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status RestoredRows::Append(const PointView& row) {
  const uint64_t number = rows_.size();
  if (absl::Status status = ValidateId(row.id); !status.ok()) {
    return Refused(number, std::string(status.message()));
  }
  // Finite where all components are: their squares cannot overflow float64.
  const double dot = Dot(row.vector, row.vector);
  if (!std::isfinite(dot)) {
    const absl::Status status = ValidateFinite(absl::StrFormat("row %d", number), row.vector);
    return absl::DataLossError(status.message());
  }
  if (table_.config.normalization != Normalization::kNone &&
      std::abs(std::sqrt(dot) - 1) > kUnitTolerance) {
    return Refused(number, absl::StrFormat("its norm is %.6g in a collection of norms of 1 within "
                                           "%g",
                                           std::sqrt(dot), kUnitTolerance));
  }
  if (dot == 0 && table_.config.metric == Metric::kCosine) {
    return Refused(number, "a zero vector, which has no direction under cosine");
  }
  if (state_.parts.empty() || state_.IsFull(state_.parts.size() - 1)) {
    auto part = table_.NewPart(care_.current(), table_.NextSegmentRows(number));
    if (!part.ok()) return part.status();
    state_.parts.push_back(*std::move(part));
  }
  CollectionState::Part& part = state_.parts.back();
  part.segment->Append(number, row.id, row.vector, dot);
  rows_.push_back({part.segment.get(), part.rows++});
  if (stored_.store != nullptr) batch_.PutRow(stored_.collection, number, row.id, row.vector);
  return absl::OkStatus();
}

// The rows of a collection that nobody has named are of no use alone: its state follows with the
// last of them.
absl::Status RestoredRows::Commit() {
  if (stored_.store == nullptr) return absl::OkStatus();
  const auto undo = [collection = stored_.collection, begin = committed_, end = rows_.size()] {
    StoreBatch batch;
    for (uint64_t number = begin; number < end; ++number) batch.DeleteRow(collection, number);
    return batch;
  };
  committed_ = rows_.size();
  return stored_.store->Commit(std::exchange(batch_, StoreBatch()), undo);
}

absl::Status RestoredRows::Finish(uint64_t sequence) {
  if (stored_.store != nullptr) {
    batch_.PutState(
        stored_.collection,
        {.metric = table_.config.metric, .sequence = sequence, .next_row = rows_.size()});
  }
  if (absl::Status status = Commit(); !status.ok()) return status;
  Code();
  return Publish(sequence);
}

void RestoredRows::Code() {
  std::vector<RowTable::RowRange> ranges;
  for (const CollectionState::Part& part : state_.parts) ranges.push_back({&part, 0, part.rows});
  table_.Code(ranges);
}

absl::Status RestoredRows::Publish(uint64_t sequence) {
  auto index = IdIndex::Build(rows_);
  if (const auto* twice = std::get_if<Id>(&index)) {
    return absl::DataLossError(absl::StrFormat("two rows have the id %s", Describe(View(*twice))));
  }
  std::lock_guard writing(table_.write_mutex);
  std::unique_lock indexing(table_.index_mutex);
  table_.index = std::get<IdIndex>(std::move(index));
  table_.next_row = rows_.size();
  state_.sequence = sequence;
  state_.live_rows = rows_.size();
  state_.first_zero_row = table_.index.first_zero_row();
  table_.state.Publish(std::move(state_));
  return absl::OkStatus();
}

}  // namespace vexact

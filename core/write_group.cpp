#include "core/write_group.h"

#include <algorithm>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <utility>

#include "absl/strings/str_format.h"
#include "core/reference_score.h"

namespace vexact {
absl::Status ZeroUnderCosine(std::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrFormat("%s is a zero vector, which has no direction under cosine", what));
}

absl::Status CheckCosineAllowed(const CollectionState& state, const std::string& collection) {
  if (!state.first_zero_row) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrFormat("collection \"%s\" stores a zero vector under id %s, which has no direction "
                      "under cosine; delete or replace it first",
                      collection, Describe(View(*state.first_zero_row))));
}

WriteGroup::WriteGroup(RowTable& table, const LayoutCare& care, const StoredIn& stored)
    : table_(table),
      care_(care),
      stored_(stored),
      before_(table.state.Take()),
      first_row_(table.next_row),
      state_(*before_) {
  if (state_.parts.empty()) return;
  const CollectionState::Part& last = state_.parts.back();
  if (last.segment->size() > last.rows) last.segment->Truncate(last.rows);
}

absl::Status WriteGroup::Add(Write& write) {
  if (write.after != nullptr && !write.after->status.ok()) {
    return absl::AbortedError("a write before this one failed");
  }
  CompleteOverlay();
  absl::Status status =
      std::visit([&](const auto& request) { return Apply(request, write); }, write.request);
  write.sequence = state_.sequence;
  return status;
}

absl::Status WriteGroup::Apply(const Write::Upsert& request, Write& write) {
  if (state_.metric == Metric::kCosine) {
    const auto zero = std::find(request.dots.begin(), request.dots.end(), 0);
    if (zero != request.dots.end()) {
      return ZeroUnderCosine(absl::StrFormat("row %d", zero - request.dots.begin()));
    }
  }
  const auto rows = Append(request);
  if (!rows.ok()) return rows.status();
  ++state_.sequence;
  changes_.reserve(changes_.size() + rows->size());
  given_.reserve(given_.size() + rows->size());
  for (size_t i = 0; i < rows->size(); ++i) {
    const RowLocation previous = Find(request.points[i].id);
    ++(previous.segment != nullptr ? write.replaced : write.added);
    changes_.push_back({request.points[i].id, (*rows)[i], previous, state_.sequence});
    given_.push_back({request.points[i].vector, request.dots[i]});
  }
  state_.live_rows += write.added;
  state_.dead_rows += write.replaced;
  return absl::OkStatus();
}

absl::StatusOr<std::vector<RowLocation>> WriteGroup::Append(const Write::Upsert& request) {
  const size_t parts = state_.parts.size();
  const uint32_t last_rows = parts == 0 ? 0 : state_.parts.back().rows;
  std::vector<RowLocation> rows;
  rows.reserve(request.points.size());
  for (const PointView& point : request.points) {
    if (state_.parts.empty() || state_.IsFull(state_.parts.size() - 1)) {
      auto part =
          table_.NewPart(care_.current(),
                         table_.NextSegmentRows(state_.live_rows + state_.dead_rows + rows.size()),
                         HugePages::kLater);
      if (!part.ok()) {
        // The state as it was; the numbers stay given out.
        state_.parts.resize(parts);
        if (parts > 0) {
          state_.parts.back().rows = last_rows;
          state_.parts.back().segment->Truncate(last_rows);
        }
        return part.status();
      }
      state_.parts.push_back(*std::move(part));
    }
    CollectionState::Part& part = state_.parts.back();
    part.segment->Append(table_.next_row++, point.id);
    rows.push_back({part.segment.get(), part.rows++});
  }
  return rows;
}

absl::Status WriteGroup::Apply(const Write::Delete& request, Write& write) {
  const uint64_t sequence = state_.sequence + 1;
  for (const IdView id : request.ids) {
    const RowLocation previous = Find(id);
    ++(previous.segment != nullptr ? write.deleted : write.missing);
    if (previous.segment != nullptr) changes_.push_back({id, {}, previous, sequence});
  }
  if (write.deleted > 0) state_.sequence = sequence;
  state_.live_rows -= write.deleted;
  state_.dead_rows += write.deleted;
  return absl::OkStatus();
}

absl::Status WriteGroup::Apply(const Write::SetMetric& request, Write&) {
  if (state_.metric == request.metric) return absl::OkStatus();
  if (request.metric == Metric::kCosine) {
    // The published state's, because the write is alone.
    if (absl::Status status = CheckCosineAllowed(state_, table_.name); !status.ok()) return status;
  }
  state_.metric = request.metric;
  ++state_.sequence;
  return absl::OkStatus();
}

RowLocation WriteGroup::Find(IdView id) const {
  if (!overlay_.empty()) {
    if (const auto found = overlay_.find(id); found != overlay_.end()) return found->second;
  }
  return table_.index.Find(id).value_or(RowLocation{});
}

// An id occurs once in a write, so that the changes of the last one need not be looked for: a write
// that is alone, be it large, has no overlay.
void WriteGroup::CompleteOverlay() {
  for (; overlaid_ < changes_.size(); ++overlaid_) {
    overlay_.insert_or_assign(changes_[overlaid_].id, changes_[overlaid_].row);
  }
}

StoredState WriteGroup::Stored(const CollectionState& state, uint64_t next_row) const {
  return {.metric = state.metric, .sequence = state.sequence, .next_row = next_row};
}

std::vector<NewRow> WriteGroup::AddedRows() const {
  std::vector<NewRow> rows;
  rows.reserve(given_.size());
  for (const Change& change : changes_) {
    const auto& [segment, row] = change.row;
    if (segment == nullptr) continue;
    const std::span<const float> vector =
        Normalizes() ? segment->vector(row) : given_[rows.size()].vector;
    rows.push_back({segment->number(row), change.id, vector});
  }
  return rows;
}

bool WriteGroup::Normalizes() const { return table_.config.normalization == Normalization::kL2; }

// Of different rows, on several threads at once.
void WriteGroup::Fill(const RowTable::RowRange& rows, size_t first) const {
  Segment& segment = *rows.part->segment;
  segment.ExpectVectors(rows.begin, rows.end);
  for (uint32_t row = rows.begin; row < rows.end; ++row, ++first) {
    const auto& [vector, dot] = given_[first];
    if (Normalizes()) {
      segment.SetNormalized(row, vector, dot);
    } else {
      segment.SetVector(row, vector, dot);
    }
  }
}

// A row that a later write of the group replaces or deletes is in AddedRows all the same.
void WriteGroup::PutRest(StoreBatch& batch) const {
  for (const Change& change : changes_) {
    const auto& [segment, row] = change.previous;
    if (segment != nullptr) batch.DeleteRow(stored_.collection, segment->number(row));
  }
  batch.PutState(stored_.collection, Stored(state_, table_.next_row));
}

// Owns what it needs, because it may be called long after the group has ended. The rows that were
// there before the group are kept by the state of before; they never change.
std::function<StoreBatch()> WriteGroup::MakeUndo() const {
  std::vector<RowRef> removed;
  for (const Change& change : changes_) {
    const auto& [segment, row] = change.previous;
    if (segment != nullptr && segment->number(row) < first_row_) removed.push_back({segment, row});
  }
  return [before = before_, collection = stored_.collection, removed = std::move(removed),
          state = Stored(*before_, table_.next_row), first_row = first_row_] {
    StoreBatch batch;
    for (uint64_t number = first_row; number < state.next_row; ++number) {
      batch.DeleteRow(collection, number);
    }
    for (const RowRef& row : removed) {
      batch.PutRow(collection, row.segment->number(row.row), row.id(), row.vector());
    }
    batch.PutState(collection, state);
    return batch;
  };
}

// The parts of before that have more rows now, and the new ones.
std::vector<RowTable::RowRange> WriteGroup::NewRows() const {
  std::vector<RowTable::RowRange> rows;
  const size_t parts_before = before_->parts.size();
  for (size_t p = parts_before == 0 ? 0 : parts_before - 1; p < state_.parts.size(); ++p) {
    const CollectionState::Part& part = state_.parts[p];
    rows.push_back({&part, p < parts_before ? before_->parts[p].rows : 0, part.rows});
  }
  return rows;
}

// The store mostly waits for the disk. It is given the vectors that were handed in, so that they
// are copied and coded meanwhile; those that are to be normalised, it is given when that is done.
absl::Status WriteGroup::Commit() {
  const bool meanwhile = stored_.store != nullptr && !Normalizes();
  const std::vector<RowTable::RowRange> new_rows = NewRows();
  // noexcept, as below: the workers look at what lies on this thread's stack.
  const auto fill = [this](const RowTable::RowRange& range, size_t first) noexcept {
    Fill(range, first);
  };
  if (!meanwhile) table_.Code(new_rows, fill);
  if (stored_.store == nullptr) return absl::OkStatus();
  Store& store = *stored_.store;
  const std::vector<NewRow> rows = AddedRows();
  const size_t vector_bytes = sizeof(float) * table_.config.dimension;
  const bool bulk = rows.size() * vector_bytes >= store.bulk_bytes();
  // Beside a vector: two keys, an id and what frames them.
  constexpr size_t kBesideVector = 64;
  StoreBatch batch(bulk ? 0 : rows.size() * (vector_bytes + kBesideVector));
  if (!bulk) {
    for (const auto& [row, id, vector] : rows) batch.PutRow(stored_.collection, row, id, vector);
  }
  PutRest(batch);
  const std::function<StoreBatch()> undo = MakeUndo();
  absl::Status status;
  const auto commit = [&]() noexcept {
    status = bulk ? store.CommitRows(stored_.collection, rows, std::move(batch), undo)
                  : store.Commit(std::move(batch), undo);
  };
  if (meanwhile) {
    table_.Code(new_rows, fill, commit);
  } else {
    commit();
  }
  return status;
}

void WriteGroup::Publish() noexcept {
  std::unique_lock indexing(table_.index_mutex);
  for (const Change& change : changes_) {
    const auto& [segment, row] = change.row;
    if (segment != nullptr) {
      table_.index.Set(change.id, change.row, segment->dot(row) == 0);
    } else {
      table_.index.Remove(change.id);
    }
    if (change.previous.segment != nullptr) {
      change.previous.segment->Bury(change.previous.row, change.sequence);
    }
  }
  state_.first_zero_row = table_.index.first_zero_row();
  table_.state.Publish(std::move(state_));
}

}  // namespace vexact

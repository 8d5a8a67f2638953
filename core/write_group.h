// Writes that become durable and visible together.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "core/id.h"
#include "core/layout_care.h"
#include "core/row_table.h"
#include "core/store.h"
#include "core/write_queue.h"

namespace vexact {

// A row as a caller hands it in; both views are only read during the call.
struct PointView {
  IdView id;
  std::span<const float> vector;
};

// A write that has passed the collection's door, and what came of it.
struct Write : QueuedWrite {
  struct Upsert {
    std::span<const PointView> points;
    std::span<const double> dots;  // of the vectors as they were handed in
  };
  struct Delete {
    std::span<const IdView> ids;
  };
  struct SetMetric {
    Metric metric;
  };
  using Request = std::variant<Upsert, Delete, SetMetric>;

  // A change of the metric goes alone: whether it is allowed depends on every zero row.
  Write(Request request_given, uint64_t bytes, const Write* after_given = nullptr)
      : QueuedWrite(bytes, std::holds_alternative<SetMetric>(request_given)),
        request(request_given),
        after(after_given) {}

  const Request request;
  // An earlier one, without whose success this one is not to be carried out: ABORTED then.
  const Write* const after;
  absl::Status status;
  uint64_t added = 0, replaced = 0, deleted = 0, missing = 0;
  uint64_t sequence = 0;  // the collection's when the write was done
};

// Where a collection's writes go.
struct StoredIn {
  Store* store = nullptr;  // null: into memory alone
  CollectionNumber collection = 0;
};

// One group of one collection, from the state of now to the next:
//
//   Add      applies one write after another to a state of its own. A write finds what those before
//            it did, as if each had been published: the rows behind the published ones, and for ids
//            an overlay over the index. A write that is refused leaves nothing of itself.
//   Commit   writes all of it to the store as one change, while other threads copy the new rows in
//            and code them.
//   Publish  changes the index, buries rows and publishes the state.
//
// Whoever reads goes by the published state and the index, so that nothing of a group is seen
// before Publish: new rows lie behind the published count, or in segments that only the group's own
// state knows, and rows are buried by Publish alone. A group that ends without Publish leaves
// nothing for the same reason; the rows it left behind the published ones are cut off by the next
// group. Row numbers that it gave out are not given out again, because what of it reached the disk
// may be unknown.
class WriteGroup {
 public:
  // REQUIRES: table.write_mutex is held until it ends.
  WriteGroup(RowTable& table, const LayoutCare& care, const StoredIn& stored);

  // Fills in the write's results. Refuses it, with a status that is the write's own:
  // INVALID_ARGUMENT or FAILED_PRECONDITION when it is against the metric of now,
  // RESOURCE_EXHAUSTED when there is no memory for its rows.
  absl::Status Add(Write& write);

  // Whether there is anything to commit.
  bool changed() const { return state_.sequence != before_->sequence; }

  absl::Status Commit();

  // noexcept: the index and the state must change together. Running out of memory half-way ends the
  // process rather than leave a collection that contradicts itself.
  void Publish() noexcept;

 private:
  // What a write does to one id.
  struct Change {
    IdView id;
    RowLocation row;       // that the id names from now on; none when it is deleted
    RowLocation previous;  // that it named before; none when it is new
    uint64_t sequence;
  };

  absl::Status Apply(const Write::Upsert& request, Write& write);
  absl::Status Apply(const Write::Delete& request, Write& write);
  absl::Status Apply(const Write::SetMetric& request, Write& write);

  // Places for the rows behind those there are; Fill brings their vectors.
  absl::StatusOr<std::vector<RowLocation>> Append(const Write::Upsert& request);
  // The live row of an id, as the writes so far left it; its segment is null when there is none.
  RowLocation Find(IdView id) const;
  // Lets Find see all changes so far.
  void CompleteOverlay();

  bool Normalizes() const;
  void Fill(const RowTable::RowRange& rows, size_t first) const;
  // The rows that changes put in, by number.
  std::vector<NewRow> AddedRows() const;
  // All other changes.
  void PutRest(StoreBatch& batch) const;
  std::function<StoreBatch()> MakeUndo() const;
  StoredState Stored(const CollectionState& state, uint64_t next_row) const;
  std::vector<RowTable::RowRange> NewRows() const;

  RowTable& table_;
  const LayoutCare& care_;
  const StoredIn stored_;
  const Snapshot before_;
  const uint64_t first_row_;  // the number of the group's first row
  CollectionState state_;
  std::vector<Change> changes_;
  // Of the rows that changes put in, one after another: vectors as they were handed in, and dots.
  struct Given {
    std::span<const float> vector;
    double dot;
  };
  std::vector<Given> given_;
  // The latest of the first overlaid_ changes, by id.
  absl::flat_hash_map<IdView, RowLocation> overlay_;
  size_t overlaid_ = 0;
};

// FAILED_PRECONDITION while zero rows are stored, naming the first.
absl::Status CheckCosineAllowed(const CollectionState& state, const std::string& collection);
absl::Status ZeroUnderCosine(std::string_view what);

}  // namespace vexact

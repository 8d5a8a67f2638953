#include "core/collection_loader.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <memory>
#include <mutex>
#include <utility>

#include "absl/strings/str_format.h"
#include "core/reference_score.h"
#include "core/store_database.h"

namespace vexact {
namespace {

// Rows that one thread reads at a time.
constexpr size_t kReadRows = 16'384;
// Rows between two looks at whether to stop.
constexpr size_t kRowsPerLook = 256;

constexpr uint64_t kAllRows = std::numeric_limits<uint64_t>::max();

// Codes come first, because they say which rows lie together; then the ids give every row its
// place: that of the codes, or behind all others in new segments. Then all is known that is needed
// to read the vectors in parallel, straight into their places.
class Loader {
 public:
  Loader(const Store& store, const StoredCollection& stored, CodesFolder& codes,
         const LoadOptions& options, RowTable& table, LayoutCare& care)
      : store_(store),
        stored_(stored),
        codes_(codes),
        options_(options),
        table_(table),
        care_(care) {}

  absl::StatusOr<Rebuilt> Run() {
    if (absl::Status status = TakeCodes(); !status.ok()) return status;
    if (absl::Status status = ReadIds(); !status.ok()) return status;
    if (absl::Status status = ReadRows(); !status.ok()) return status;
    CheckCodes();
    Code();
    if (absl::Status status = Publish(); !status.ok()) return status;
    return std::move(rebuilt_);
  }

 private:
  using Part = CollectionState::Part;

  // A row that is stored, and its place.
  struct Row {
    uint64_t number;
    uint32_t part, position;
  };

  absl::Status TakeCodes();
  absl::Status ReadIds();
  absl::Status AddBehind(uint64_t number, IdView id);
  absl::Status ReadRows();
  absl::Status ReadRange(size_t begin, size_t end);
  absl::Status Take(const Row& row, std::span<const float> vector);
  void CheckCodes();
  void Code();
  absl::Status Publish();

  bool HasFile(size_t part) const { return part < loaded_.files.size(); }
  absl::Status Contradiction(const std::string& what) const {
    return absl::DataLossError(absl::StrFormat("collection \"%s\": %s%s", table_.name, what,
                                               RepairHint(store_.directory())));
  }
  absl::Status Stopped() const { return absl::CancelledError("the server is stopping"); }

  const Store& store_;
  const StoredCollection& stored_;
  CodesFolder& codes_;
  const LoadOptions& options_;
  RowTable& table_;
  LayoutCare& care_;

  CodesFolder::Loaded loaded_;
  // Those of loaded_.files, in their order, and the new ones.
  std::vector<Part> parts_;
  // By part with a file: whether a row has other bits than the file says.
  std::vector<std::atomic<bool>> stale_;
  std::vector<Row> rows_;  // by number
  // The parts that are to be coded.
  std::vector<size_t> uncoded_;
  std::mutex progress_mutex_;
  uint64_t done_ = 0;  // guarded by progress_mutex_
  Rebuilt rebuilt_;
};

absl::Status Loader::TakeCodes() {
  auto loaded = codes_.Load(table_.workers);
  if (!loaded.ok()) return loaded.status();
  loaded_ = *std::move(loaded);
  rebuilt_.faults = std::move(loaded_.faults);
  if (loaded_.layout) care_.Restore(*loaded_.layout, stored_.state.sequence);
  stale_ = std::vector<std::atomic<bool>>(loaded_.files.size());
  for (const CodesFolder::Loaded::File& file : loaded_.files) {
    Part part;
    part.rows = static_cast<uint32_t>(file.stored.numbers.size());
    part.codes = file.stored.codes;
    if (part.rows > 0) {
      auto segment = Segment::Create(table_.config.dimension, part.rows);
      if (!segment.ok()) return segment.status();
      part.segment = *std::move(segment);
      part.segment->AppendPlaces(part.rows);
    }
    parts_.push_back(std::move(part));
  }
  return absl::OkStatus();
}

absl::Status Loader::ReadIds() {
  auto place = loaded_.places.begin();
  absl::Status status =
      store_.VisitIds(stored_.number, 0, kAllRows, [&](uint64_t number, IdView id) -> absl::Status {
        if (rows_.size() % kRowsPerLook == 0 && options_.stop.stop_requested()) return Stopped();
        if (number >= stored_.state.next_row) {
          return Contradiction(absl::StrFormat("there is a row %d, and its state knows of %d",
                                               number, stored_.state.next_row));
        }
        while (place != loaded_.places.end() && place->row < number) ++place;
        if (place == loaded_.places.end() || place->row != number) return AddBehind(number, id);
        parts_[place->file].segment->SetRow(place->position, number, id);
        rows_.push_back({number, place->file, place->position});
        return absl::OkStatus();
      });
  loaded_.places = {};
  return status;
}

absl::Status Loader::AddBehind(uint64_t number, IdView id) {
  if (parts_.size() == loaded_.files.size() ||
      parts_.back().rows == parts_.back().segment->capacity()) {
    auto part = table_.NewPart(care_.current(), table_.NextSegmentRows(rows_.size()));
    if (!part.ok()) return part.status();
    parts_.push_back(*std::move(part));
  }
  Part& part = parts_.back();
  part.segment->AppendPlaces(1);
  part.segment->SetRow(part.rows, number, id);
  rows_.push_back({number, static_cast<uint32_t>(parts_.size() - 1), part.rows++});
  return absl::OkStatus();
}

absl::Status Loader::ReadRows() {
  const size_t ranges = std::max<size_t>(1, (rows_.size() + kReadRows - 1) / kReadRows);
  std::vector<absl::Status> read(ranges);
  std::atomic<bool> failed = false;
  table_.workers.ForEach(ranges, [&](int, size_t i) {
    if (failed.load(std::memory_order_relaxed)) return;  // only spares work
    const size_t begin = i * kReadRows;
    const size_t end = std::min(rows_.size(), begin + kReadRows);
    read[i] = ReadRange(begin, end);
    if (!read[i].ok()) return failed.store(true, std::memory_order_relaxed);
    std::lock_guard lock(progress_mutex_);
    done_ += end - begin;
    if (options_.progress) options_.progress(done_, rows_.size());
  });
  const auto first = std::find_if(read.begin(), read.end(),
                                  [](const absl::Status& status) { return !status.ok(); });
  return first == read.end() ? absl::OkStatus() : *first;
}

// Reads all rows from that of rows_[begin] to before that of rows_[end]; they must be the same.
absl::Status Loader::ReadRange(size_t begin, size_t end) {
  const uint64_t first = begin == 0 ? 0 : rows_[begin].number;
  const uint64_t last = end == rows_.size() ? kAllRows : rows_[end].number;
  size_t next = begin;
  const auto no_vector = [&] {
    return Contradiction(absl::StrFormat("row %d has an id and no vector", rows_[next].number));
  };
  absl::Status status = store_.VisitRows(
      stored_.number, first, last,
      [&](uint64_t number, std::span<const float> vector) -> absl::Status {
        if (next % kRowsPerLook == 0 && options_.stop.stop_requested()) return Stopped();
        if (next < end && rows_[next].number < number) return no_vector();
        if (next == end || rows_[next].number > number) {
          return Contradiction(absl::StrFormat("row %d has a vector and no id", number));
        }
        return Take(rows_[next++], vector);
      });
  if (!status.ok()) return status;
  return next == end ? absl::OkStatus() : no_vector();
}

absl::Status Loader::Take(const Row& row, std::span<const float> vector) {
  const double dot = Dot(vector, vector);
  // Of finite float32 it cannot overflow.
  if (!std::isfinite(dot)) {
    return Contradiction(absl::StrFormat("row %d is not finite", row.number));
  }
  parts_[row.part].segment->SetVector(row.position, vector, dot);
  if (HasFile(row.part) && HashRow(vector) != loaded_.files[row.part].stored.hashes[row.position]) {
    // relaxed: read when the workers are done.
    stale_[row.part].store(true, std::memory_order_relaxed);
  }
  return absl::OkStatus();
}

// Tells the folder which of its files hold codes that are used.
void Loader::CheckCodes() {
  for (size_t i = 0; i < parts_.size(); ++i) {
    Part& part = parts_[i];
    if (!HasFile(i)) {
      uncoded_.push_back(i);
    } else if (part.segment == nullptr) {
      continue;
    } else if (part.segment->dead() == part.rows) {
      codes_.Discard(loaded_.files[i].number);
      part = {};
    } else if (stale_[i].load(std::memory_order_relaxed)) {
      rebuilt_.faults.push_back(
          absl::StrFormat("codes file %d of collection \"%s\" is of other rows",
                          loaded_.files[i].number, table_.name));
      codes_.Discard(loaded_.files[i].number);
      uncoded_.push_back(i);
    } else {
      codes_.Keep(loaded_.files[i].number, part.codes);
    }
  }
}

void Loader::Code() {
  std::vector<RowTable::RowRange> ranges;
  for (const size_t i : uncoded_) {
    rebuilt_.rows += parts_[i].rows;
    ranges.push_back({&parts_[i], 0, parts_[i].rows});
  }
  table_.Code(ranges);
}

absl::Status Loader::Publish() {
  std::vector<RowLocation> locations;
  locations.reserve(rows_.size());
  for (const Row& row : rows_) {
    locations.push_back({parts_[row.part].segment.get(), row.position});
  }
  auto index = IdIndex::Build(locations);
  if (const auto* twice = std::get_if<Id>(&index)) {
    return Contradiction(absl::StrFormat("two rows have the id %s", Describe(View(*twice))));
  }
  CollectionState state{.sequence = stored_.state.sequence,
                        .live_rows = rows_.size(),
                        .metric = stored_.state.metric};
  std::erase_if(parts_, [](const Part& part) { return part.segment == nullptr; });
  state.parts = std::move(parts_);
  for (const Part& part : state.parts) state.dead_rows += part.segment->dead();
  std::lock_guard writing(table_.write_mutex);
  std::unique_lock indexing(table_.index_mutex);
  table_.index = std::get<IdIndex>(std::move(index));
  table_.next_row = stored_.state.next_row;
  state.first_zero_row = table_.index.first_zero_row();
  table_.state.Publish(std::move(state));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Rebuilt> Load(const Store& store, const StoredCollection& stored, CodesFolder& codes,
                             const LoadOptions& options, RowTable& table, LayoutCare& care) {
  return Loader(store, stored, codes, options, table, care).Run();
}

}  // namespace vexact

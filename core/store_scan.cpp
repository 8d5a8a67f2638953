#include "core/store_scan.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/hash/hash.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/validate.h"

namespace vexact {
namespace {

constexpr uint64_t kLastRow = std::numeric_limits<uint64_t>::max();
constexpr uint64_t kLongestSearch = 1'000'000;  // rows, some seconds

absl::Status AsStatus(const rocksdb::Status& status) {
  if (status.ok()) return absl::OkStatus();
  if (status.IsNotFound()) return absl::NotFoundError("");
  return absl::DataLossError(status.ToString());
}

rocksdb::ReadOptions ScanOptions() {
  rocksdb::ReadOptions options;
  options.fill_cache = false;
  return options;
}

// Looks a row up in one family: at the reader's place, or in its gaps.
absl::Status LookUp(const RowReader& reader, uint64_t row, std::string& storage,
                    rocksdb::Slice& value) {
  if (reader.valid() && reader.row() == row) {
    value = reader.value();
    return absl::OkStatus();
  }
  if (!reader.InGap(row)) return absl::NotFoundError("");
  const rocksdb::Status status = reader.Get(row, storage);
  value = storage;
  return AsStatus(status);
}

struct Readers {
  RowReader ids, vectors;
};

absl::Status VisitRow(const Readers& readers, uint64_t row,
                      const std::function<absl::Status(const ScannedRow&)>& visit, bool& damaged) {
  std::string id, vector;
  ScannedRow scanned{.row = row};
  scanned.id_status = LookUp(readers.ids, row, id, scanned.id);
  scanned.vector_status = LookUp(readers.vectors, row, vector, scanned.vector);
  damaged = absl::IsDataLoss(scanned.id_status) && absl::IsDataLoss(scanned.vector_status);
  const bool absent = absl::IsNotFound(scanned.id_status) && !scanned.vector_status.ok();
  return damaged || absent ? absl::OkStatus() : visit(scanned);
}

}  // namespace

RowReader::RowReader(const Database& database, Family family, CollectionNumber collection)
    : database_(database),
      family_(family),
      collection_(collection),
      upper_key_(CollectionKey(collection + 1)),
      upper_(upper_key_) {
  rocksdb::ReadOptions options = ScanOptions();
  options.iterate_upper_bound = &upper_;
  iterator_.reset(database.db->NewIterator(options, database.handle(family)));
  iterator_->Seek(RowKey(collection, 0));
  Settle(0);
}

void RowReader::Next() {
  const uint64_t after = row_ + 1;
  iterator_->Next();
  Settle(after);
}

void RowReader::Settle(uint64_t begin) {
  std::string reason;
  // The damage is somewhere after `begin`: how far it reaches is found in steps that double.
  for (uint64_t step = 1;; step *= 2) {
    valid_ = iterator_->Valid();
    if (valid_) {
      const auto name = DecodeRowKey(iterator_->key());
      // A key of another form is no row's; it sorts among them all the same.
      if (!name) {
        iterator_->Next();
        step = 1;
        continue;
      }
      row_ = name->row;
    }
    if (valid_ || iterator_->status().ok()) break;
    if (reason.empty()) reason = iterator_->status().ToString();
    if (step > (kLastRow - begin) / 2) break;  // the next one may be out of range
    iterator_->Seek(RowKey(collection_, begin + step));
  }
  if (!reason.empty()) gaps_.push_back({begin, valid_ ? row_ : kLastRow, reason});
}

bool RowReader::InGap(uint64_t row) const {
  return std::any_of(gaps_.begin(), gaps_.end(),
                     [&](const Gap& gap) { return gap.begin <= row && row < gap.end; });
}

rocksdb::Status RowReader::Get(uint64_t row, std::string& value) const {
  return database_.db->Get(ScanOptions(), database_.handle(family_), RowKey(collection_, row),
                           &value);
}

absl::Status ScanRows(const Database& database, CollectionNumber collection, uint64_t next_row,
                      const std::function<absl::Status(const ScannedRow&)>& visit,
                      const std::function<void(const RowReader::Gap&)>& unreadable) {
  Readers readers{{database, Family::kIds, collection}, {database, Family::kRows, collection}};
  auto& [ids, vectors] = readers;
  const RowSpan cut_off = CutOffRows(database, collection).value_or(RowSpan());
  bool damaged = false;
  while (ids.valid() || vectors.valid()) {
    const uint64_t row =
        std::min(ids.valid() ? ids.row() : kLastRow, vectors.valid() ? vectors.row() : kLastRow);
    if (!cut_off.Has(row)) {
      absl::Status visited = VisitRow(readers, row, visit, damaged);
      if (!visited.ok()) return visited;
    }
    if (ids.valid() && ids.row() == row) ids.Next();
    if (vectors.valid() && vectors.row() == row) vectors.Next();
  }
  for (const RowReader::Gap& gap : ids.gaps()) {
    for (const RowReader::Gap& other : vectors.gaps()) {
      const uint64_t begin = std::max(gap.begin, other.begin);
      const uint64_t end = std::min({gap.end, other.end, next_row, begin + kLongestSearch});
      RowReader::Gap lost{begin, begin, gap.reason};
      for (uint64_t row = begin; row < end; ++row) {
        absl::Status visited = VisitRow(readers, row, visit, damaged);
        if (!visited.ok()) return visited;
        if (damaged && lost.begin == lost.end) lost.begin = row;
        if (damaged) lost.end = row + 1;
      }
      if (lost.begin < lost.end) unreadable(lost);
    }
  }
  return absl::OkStatus();
}

namespace {

// One more than any collection number in the keys of the families.
CollectionNumber AfterAllKeys(const Database& database) {
  CollectionNumber next = 1;
  for (const Family family : {Family::kCollections, Family::kIds, Family::kRows}) {
    const std::unique_ptr<rocksdb::Iterator> at(
        database.db->NewIterator(ScanOptions(), database.handle(family)));
    at->SeekToLast();
    if (!at->Valid() || at->key().size() < sizeof(CollectionNumber)) continue;
    const auto last = DecodeNumber({at->key().data(), sizeof(CollectionNumber)});
    next = std::max(next, *last + 1);
  }
  return next;
}

bool HasRows(const Database& database, CollectionNumber collection) {
  for (const Family family : {Family::kIds, Family::kRows}) {
    const RowReader reader(database, family, collection);
    if (reader.valid()) return true;
  }
  return false;
}

// Whether the number is that of a collection that is to be had; `found` then says what is known.
bool FindCollection(const Database& database, FoundCollection& found,
                    const std::function<void(std::string_view)>& report) {
  const auto get = [&](Family family, const std::string& key, std::string& value) {
    return AsStatus(database.db->Get(ScanOptions(), database.handle(family), key, &value));
  };
  std::string entry, state, mark;
  const absl::Status entry_status = get(Family::kCollections, CollectionKey(found.number), entry);
  const absl::Status state_status = get(Family::kCollections, StateKey(found.number), state);
  if (entry_status.ok()) found.entry = DecodeEntry(entry);
  if (state_status.ok()) found.state = DecodeState(state);
  if (found.entry && !found.entry->name) return false;
  if (absl::IsNotFound(entry_status) && absl::IsNotFound(state_status)) {
    if (get(Family::kDefault, DroppedKey(found.number), mark).ok()) return false;
    if (!HasRows(database, found.number)) return false;
  }
  const std::string name = DescribeCollection(found);
  if (!found.entry) {
    report(absl::StrCat(name, ": its name and configuration cannot be read: ",
                        entry_status.ok() ? "they are malformed" : entry_status.ToString()));
  }
  if (!found.state) {
    report(absl::StrCat(name, ": its metric and its counters cannot be read: ",
                        state_status.ok() ? "they are malformed" : state_status.ToString()));
  }
  return true;
}

}  // namespace

FoundCollections ScanCollections(const Database& database,
                                 const std::function<void(std::string_view)>& report) {
  FoundCollections result;
  std::string value;
  const rocksdb::Status read =
      database.db->Get(ScanOptions(), rocksdb::Slice(kNextCollectionKey), &value);
  const CollectionNumber next = read.ok() ? DecodeNumber(value).value_or(0) : 0;
  const CollectionNumber after_all = AfterAllKeys(database);
  if (next == 0) {
    report("the number of the next collection cannot be read");
  } else if (next < after_all) {
    report(absl::StrFormat("the number of the next collection is %d, but there is one of number %d",
                           next, after_all - 1));
  }
  result.next = std::max(next, after_all);
  for (CollectionNumber number = 1; number < result.next; ++number) {
    FoundCollection found{.number = number};
    if (FindCollection(database, found, report)) result.collections.push_back(std::move(found));
  }
  return result;
}

std::optional<RowProblem> CheckRow(const ScannedRow& row, const CollectionConfig& config) {
  if (absl::IsNotFound(row.id_status)) return RowProblem{"it has a vector but no id"};
  if (!row.id_status.ok()) {
    return RowProblem{absl::StrFormat("its id cannot be read: %s", row.id_status.message())};
  }
  if (!DecodeId(row.id)) return RowProblem{"its id is malformed"};
  if (absl::IsNotFound(row.vector_status)) return RowProblem{"it has no vector", true};
  if (!row.vector_status.ok()) {
    return RowProblem{absl::StrFormat("its vector cannot be read: %s", row.vector_status.message()),
                      true};
  }
  const size_t expected = size_t{config.dimension} * sizeof(float);
  if (row.vector.size() != expected) {
    return RowProblem{absl::StrFormat("its vector has %d bytes, not the %d of dimension %d",
                                      row.vector.size(), expected, config.dimension),
                      true};
  }
  std::vector<float> vector(config.dimension);
  std::memcpy(vector.data(), row.vector.data(), expected);
  const absl::Status finite = ValidateFinite("its vector", vector);
  if (!finite.ok()) return RowProblem{std::string(finite.message()), true};
  return std::nullopt;
}

std::string DescribeCollection(const FoundCollection& collection) {
  if (!collection.entry) return absl::StrFormat("collection number %d", collection.number);
  return absl::StrFormat("collection \"%s\"", *collection.entry->name);
}

std::string DescribeRow(const FoundCollection& collection, const ScannedRow& row) {
  const auto id = row.id_status.ok() ? DecodeId(row.id) : std::nullopt;
  return absl::StrCat(DescribeCollection(collection), ", row ", row.row,
                      id ? absl::StrCat(", id ", Describe(*id)) : "");
}

IdCheck::IdCheck(const Database& database, CollectionNumber collection)
    : database_(database), collection_(collection) {}

std::optional<uint64_t> IdCheck::Add(uint64_t row, IdView id) {
  const auto [place, added] = rows_.try_emplace(absl::HashOf(id), row);
  if (added) return std::nullopt;
  const uint64_t earlier = std::exchange(place->second, row);
  std::string value;
  const rocksdb::Status read = database_.db->Get(ScanOptions(), database_.handle(Family::kIds),
                                                 RowKey(collection_, earlier), &value);
  return read.ok() && value == Encode(id) ? std::optional(earlier) : std::nullopt;
}

}  // namespace vexact

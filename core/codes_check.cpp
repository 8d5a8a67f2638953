#include "core/codes_check.h"

#include <rocksdb/db.h>
#include <rocksdb/env.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <numeric>
#include <system_error>
#include <utility>

#include "absl/strings/str_format.h"
#include "core/codes_file.h"
#include "core/codes_folder.h"
#include "core/kernel/kernel.h"
#include "core/reference_score.h"
#include "core/store_database.h"
#include "core/store_directory.h"

namespace vexact {
namespace {

constexpr uint32_t kGroup = kGroupRows;
// Rows that one thread codes and compares at a time.
constexpr uint32_t kPieceRows = 16 * kGroup;
// Numbers of rows that lie farther apart are visited apart.
constexpr uint64_t kGap = 1'000;

// Of two columns of `bytes` bytes a row, which lie in steps of 4 bytes, group by group (code.h).
bool SameSteps(const uint8_t* a, const uint8_t* b, size_t bytes, uint32_t row) {
  const size_t group = row / kGroup * kGroup * bytes;
  for (size_t step = 0; step < bytes / 4; ++step) {
    const size_t at = group + (step * kGroup + row % kGroup) * 4;
    if (std::memcmp(a + at, b + at, 4) != 0) return false;
  }
  return true;
}

template <typename T>
bool SameNumber(const T* a, const T* b, uint32_t row) {
  return a == nullptr || std::memcmp(a + row, b + row, sizeof(T)) == 0;
}

// Both under the same layout.
bool SameCodes(const CodeColumns& a, const CodeColumns& b, uint32_t row) {
  const Layout& layout = *a.layout;
  return SameSteps(a.first_slab, b.first_slab, layout.first_bytes(), row) &&
         (!layout.has_sketch() || SameSteps(a.sketch, b.sketch, layout.sketch_bytes(), row)) &&
         SameNumber(a.sketch_scale, b.sketch_scale, row) &&
         SameNumber(a.sketch_error, b.sketch_error, row) && SameNumber(a.scale, b.scale, row) &&
         SameNumber(a.error, b.error, row) && SameNumber(a.tail, b.tail, row) &&
         SameNumber(a.norm, b.norm, row) && SameNumber(a.bend, b.bend, row) &&
         (layout.later_slabs() == 0 ||
          std::memcmp(a.later + layout.later_at(row), b.later + layout.later_at(row),
                      layout.later_bytes()) == 0);
}

class Checker {
 public:
  Checker(std::string folder, uint32_t dimension, const RowVisitor& rows, Workers& workers)
      : folder_(std::move(folder)), dimension_(dimension), rows_(rows), workers_(workers) {}

  absl::StatusOr<CodesCheck> Run();

 private:
  // The files with this ending, by the number in their names.
  absl::StatusOr<std::map<uint64_t, std::string>> FindFiles(std::string_view suffix, int base);
  absl::Status ReadLayouts();
  absl::Status CheckFile(const std::string& path);
  // The rows of a file that are there; live[i] says whether the i-th is.
  absl::StatusOr<std::unique_ptr<Segment>> ReadRows(const StoredCodes& stored,
                                                    std::vector<bool>& live);
  absl::Status CompareCodes(const std::string& path, const StoredCodes& stored,
                            const Segment& segment, const std::vector<bool>& live);
  void AddProblem(std::string file, std::string line) {
    check_.problems.push_back({std::move(file), std::move(line)});
  }

  const std::string folder_;
  const uint32_t dimension_;
  const RowVisitor& rows_;
  Workers& workers_;
  std::map<uint64_t, std::shared_ptr<const Layout>> layouts_;  // by hash
  CodesCheck check_;
};

absl::StatusOr<CodesCheck> Checker::Run() {
  if (absl::Status status = ReadLayouts(); !status.ok()) return status;
  const auto files = FindFiles(".codes", 10);
  if (!files.ok()) return files.status();
  for (const auto& [number, path] : *files) {
    ++check_.files;
    if (absl::Status status = CheckFile(path); !status.ok()) return status;
  }
  return std::move(check_);
}

absl::StatusOr<std::map<uint64_t, std::string>> Checker::FindFiles(std::string_view suffix,
                                                                   int base) {
  std::map<uint64_t, std::string> found;
  std::error_code error;
  for (std::filesystem::directory_iterator at(folder_, error), end; !error && at != end;
       at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (!name.ends_with(suffix)) continue;
    uint64_t number = 0;
    const char* const stem_end = name.data() + name.size() - suffix.size();
    const auto [parsed_end, failed] = std::from_chars(name.data(), stem_end, number, base);
    if (failed == std::errc() && parsed_end == stem_end) {
      found.emplace(number, at->path().string());
    }
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    return absl::UnavailableError(absl::StrFormat("cannot read %s: %s", folder_, error.message()));
  }
  return found;
}

absl::Status Checker::ReadLayouts() {
  const auto files = FindFiles(".layout", 16);
  if (!files.ok()) return files.status();
  for (const auto& [hash, path] : *files) {
    const auto record = ReadLayoutFile(path, dimension_);
    if (!record.ok()) {
      AddProblem(path, std::string(record.status().message()));
    } else if (HashLayout(*record->trained.layout) != hash) {
      AddProblem(path, path + " is damaged: it has another layout's name");
    } else {
      layouts_[hash] = record->trained.layout;
    }
  }
  return absl::OkStatus();
}

absl::Status Checker::CheckFile(const std::string& path) {
  auto stored = ReadCodesFile(path, dimension_, [this](uint64_t hash) {
    const auto found = layouts_.find(hash);
    return found == layouts_.end() ? nullptr : found->second;
  });
  if (absl::IsResourceExhausted(stored.status())) return stored.status();
  if (!stored.ok()) {
    AddProblem(path, std::string(stored.status().message()));
    return absl::OkStatus();
  }
  if (stored->numbers.empty()) return absl::OkStatus();
  std::vector<bool> live(stored->numbers.size());
  const auto segment = ReadRows(*stored, live);
  if (!segment.ok()) return segment.status();
  for (uint32_t row = 0; row < live.size(); ++row) {
    if (live[row] && HashRow((*segment)->vector(row)) != stored->hashes[row]) {
      AddProblem(path, absl::StrFormat("%s is of other rows: row %d has other bits", path,
                                       stored->numbers[row]));
      return absl::OkStatus();
    }
  }
  return CompareCodes(path, *stored, **segment, live);
}

absl::StatusOr<std::unique_ptr<Segment>> Checker::ReadRows(const StoredCodes& stored,
                                                           std::vector<bool>& live) {
  const auto count = static_cast<uint32_t>(stored.numbers.size());
  auto segment = Segment::Create(dimension_, count);
  if (!segment.ok()) return segment.status();
  (*segment)->AppendPlaces(count);
  std::vector<uint32_t> order(count);  // by number
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [&](uint32_t a, uint32_t b) { return stored.numbers[a] < stored.numbers[b]; });
  for (size_t begin = 0, end; begin < count; begin = end) {
    end = begin + 1;
    while (end < count && stored.numbers[order[end]] - stored.numbers[order[end - 1]] <= kGap) {
      ++end;
    }
    size_t next = begin;
    const auto take = [&](uint64_t number, std::span<const float> vector) -> absl::Status {
      while (next < end && stored.numbers[order[next]] < number) ++next;
      if (next == end || stored.numbers[order[next]] != number) return absl::OkStatus();
      (*segment)->SetVector(order[next], vector, Dot(vector, vector));
      live[order[next]] = true;
      return absl::OkStatus();
    };
    absl::Status status =
        rows_(stored.numbers[order[begin]], stored.numbers[order[end - 1]] + 1, take);
    if (!status.ok()) return status;
  }
  return segment;
}

absl::Status Checker::CompareCodes(const std::string& path, const StoredCodes& stored,
                                   const Segment& segment, const std::vector<bool>& live) {
  const auto coded = static_cast<uint32_t>(live.size()) / kGroup * kGroup;
  auto fresh = SegmentCodes::Create(stored.codes->layout(), segment.capacity());
  if (!fresh.ok()) return fresh.status();
  std::vector<char> differs(coded);
  workers_.ForEach((coded + kPieceRows - 1) / kPieceRows, [&](int, size_t piece) {
    const auto begin = static_cast<uint32_t>(piece) * kPieceRows;
    const uint32_t end = std::min(coded, begin + kPieceRows);
    (*fresh)->Encode(segment, ActiveKernel(), begin, end);
    for (uint32_t row = begin; row < end; ++row) {
      differs[row] = live[row] && !SameCodes((*fresh)->columns(), stored.codes->columns(), row);
    }
  });
  check_.rows += static_cast<uint64_t>(std::count(live.begin(), live.begin() + coded, true));
  const auto first = std::find(differs.begin(), differs.end(), true);
  if (first != differs.end()) {
    AddProblem(path, absl::StrFormat(
                         "%s has other codes than its rows: of %d of them, the first is row %d",
                         path, std::count(differs.begin(), differs.end(), true),
                         stored.numbers[static_cast<size_t>(first - differs.begin())]));
  }
  return absl::OkStatus();
}

struct NamedCollection {
  CollectionNumber number;
  std::string name;
  uint32_t dimension;
};

// Those that can be read; what is wrong with others is not the codes' affair.
absl::StatusOr<std::vector<NamedCollection>> ReadCollections(const Database& database,
                                                             const std::string& directory) {
  std::vector<NamedCollection> collections;
  const std::unique_ptr<rocksdb::Iterator> at(
      database.db->NewIterator({}, database.handle(Family::kCollections)));
  for (at->SeekToFirst(); at->Valid(); at->Next()) {
    const auto key = DecodeCollectionKey(at->key());
    if (!key || key->state) continue;
    auto entry = DecodeEntry(at->value());
    if (!entry || !entry->name) continue;
    collections.push_back({key->collection, *std::move(entry->name), entry->config.dimension});
  }
  if (!at->status().ok()) return ToStatus(at->status(), directory);
  return collections;
}

// Rows whose length is wrong are passed over: they are the store's problem, and have no codes.
RowVisitor VisitorOf(const Database& database, const std::string& directory,
                     const NamedCollection& collection) {
  return [&database, directory, collection](uint64_t begin, uint64_t end,
                                            const Store::VisitRow& visit) -> absl::Status {
    rocksdb::ReadOptions read;
    read.fill_cache = false;
    const std::string upper_key = RowKey(collection.number, end);
    const rocksdb::Slice upper = upper_key;
    read.iterate_upper_bound = &upper;
    const std::unique_ptr<rocksdb::Iterator> at(
        database.db->NewIterator(read, database.handle(Family::kRows)));
    std::vector<float> vector(collection.dimension);
    for (at->Seek(RowKey(collection.number, begin)); at->Valid(); at->Next()) {
      const auto row = DecodeRowKey(at->key());
      if (!row || at->value().size() != vector.size() * sizeof(float)) continue;
      std::memcpy(vector.data(), at->value().data(), at->value().size());
      if (absl::Status status = visit(row->row, vector); !status.ok()) return status;
    }
    return ToStatus(at->status(), directory);
  };
}

}  // namespace

absl::StatusOr<std::vector<CheckedCodes>> CheckAllCodes(
    const std::string& data_directory, Workers& workers,
    const std::function<void(std::string_view collection)>& progress) {
  const auto lock = DirectoryLock::Acquire(data_directory, DirectoryLock::kRefuse);
  if (!lock.ok()) return lock.status();
  // Nothing is written, so that the size of what would wait to be written does not matter.
  const auto database =
      OpenDatabase(data_directory, DatabaseOptions(rocksdb::Env::Default(), uint64_t{1} << 20),
                   DatabaseMode::kReadOnly);
  if (!database.ok()) return database.status();
  const auto collections = ReadCollections(*database, data_directory);
  if (!collections.ok()) return collections.status();
  std::vector<CheckedCodes> checked;
  for (const NamedCollection& collection : *collections) {
    if (progress) progress(collection.name);
    checked.push_back(
        {collection.name,
         CheckCodes(CodesPath(data_directory, collection.number), collection.dimension,
                    VisitorOf(*database, data_directory, collection), workers)});
    const absl::Status& status = checked.back().check.status();
    if (!status.ok() && !absl::IsDataLoss(status)) return status;
  }
  return checked;
}

absl::StatusOr<CodesCheck> CheckCodes(const std::string& folder, uint32_t dimension,
                                      const RowVisitor& rows, Workers& workers) {
  return Checker(folder, dimension, rows, workers).Run();
}

}  // namespace vexact

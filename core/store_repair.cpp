#include <fcntl.h>
#include <rocksdb/env.h>
#include <rocksdb/sst_file_writer.h>
#include <rocksdb/write_batch.h>
#include <stdio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>
#include <system_error>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/store_blobs.h"
#include "core/store_check.h"
#include "core/store_checker.h"
#include "core/store_directory.h"
#include "core/store_scan.h"

namespace vexact {
namespace {

namespace fs = std::filesystem;

constexpr size_t kBatchBytes = size_t{4} << 20;
// Where counters are lost, or may be behind what was given out: further on than any log reaches.
constexpr uint64_t kFarOn = uint64_t{1} << 32;
constexpr CollectionNumber kFarOnCollections = 1'000;

rocksdb::Env& EnvOf(const StoreCheckOptions& options) {
  return options.env != nullptr ? *options.env : *rocksdb::Env::Default();
}

// Opens what there is, whatever is missing.
rocksdb::Options LenientOptions(rocksdb::Env& env) {
  rocksdb::Options options = DatabaseOptions(&env, StoreTuning().memtable_bytes);
  options.paranoid_checks = false;
  options.track_and_verify_wals_in_manifest = false;
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kSkipAnyCorruptedRecords;
  options.skip_stats_update_on_db_open = true;
  return options;
}

// A folder beside the database, on the same disk, for what a repair makes. One that an earlier
// repair has left is removed first.
std::string WorkFolder(const std::string& directory) { return DatabasePath(directory) + ".repair"; }

std::vector<std::string> FilesOf(const std::string& database) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entry(database, error), end; !error && entry != end;
       entry.increment(error)) {
    names.push_back(entry->path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

// A copy of some of the database's files that costs no space.
absl::Status LinkFiles(const std::string& database, const std::string& copy,
                       const std::function<bool(const std::string&)>& wanted) {
  std::error_code error;
  fs::remove_all(copy, error);
  fs::create_directories(copy, error);
  for (const std::string& name : FilesOf(database)) {
    if (!error && wanted(name)) {
      fs::create_hard_link(fs::path(database) / name, fs::path(copy) / name, error);
    }
  }
  if (!error) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrFormat("cannot link the files of %s into %s: %s", database, copy, error.message()));
}

bool IsLog(const std::string& name) { return name.ends_with(".log"); }
bool IsTable(const std::string& name) { return name.ends_with(".sst"); }
bool IsManifest(const std::string& name) { return name.starts_with("MANIFEST-"); }

absl::StatusOr<Database> OpenLeniently(rocksdb::Env& env, const std::string& directory) {
  const rocksdb::Options options = LenientOptions(env);
  std::vector<rocksdb::ColumnFamilyDescriptor> families;
  for (const Family family : kFamilies) families.emplace_back(Name(family), options);
  Database database;
  rocksdb::DB* db = nullptr;
  const rocksdb::Status opened = rocksdb::DB::OpenForReadOnly(options, DatabasePath(directory),
                                                              families, &database.handles, &db);
  database.db.reset(db);
  if (!opened.ok()) return ToStatus(opened, directory);
  return database;
}

// With the newest list of files, whatever CURRENT names.
absl::StatusOr<Database> OpenWithoutCurrent(rocksdb::Env& env, const std::string& directory,
                                            const std::string& work) {
  const std::string copy = DatabasePath(work);
  absl::Status linked = LinkFiles(DatabasePath(directory), copy, [](const std::string& name) {
    return IsLog(name) || IsTable(name) || IsManifest(name) || name.ends_with(".blob");
  });
  if (!linked.ok()) return linked;
  std::string newest;
  for (const std::string& name : FilesOf(copy)) {
    if (IsManifest(name)) newest = name;
  }
  if (newest.empty()) return absl::DataLossError("there is no MANIFEST");
  const rocksdb::Status written =
      rocksdb::WriteStringToFile(&env, newest + "\n", copy + "/CURRENT", /*should_sync=*/false);
  if (!written.ok()) return ToStatus(written, directory);
  return OpenLeniently(env, work);
}

// With a list of files that RocksDB makes of the tables it finds. It does not know files of vectors
// (blobs), which are read without it; and of the log it takes the families of which there are
// tables: so there is one of each, with nothing but the deletion of a key that nobody has.
absl::StatusOr<Database> OpenWithoutManifest(rocksdb::Env& env, const std::string& directory,
                                             const std::string& work) {
  const std::string copy = DatabasePath(work);
  absl::Status linked = LinkFiles(DatabasePath(directory), copy, [](const std::string& name) {
    return IsLog(name) || IsTable(name);
  });
  if (!linked.ok()) return linked;
  uint64_t number = 0;
  for (const std::string& name : FilesOf(copy)) {
    uint64_t of_file;
    if (absl::SimpleAtoi(name.substr(0, name.find('.')), &of_file)) {
      number = std::max(number, of_file);
    }
  }
  const rocksdb::Options options = LenientOptions(env);
  std::vector<rocksdb::ColumnFamilyDescriptor> families;
  for (const Family family : kFamilies) {
    families.emplace_back(Name(family), options);
    rocksdb::SstFileWriter table(rocksdb::EnvOptions(), options, Handle(family));
    rocksdb::Status made = table.Open(absl::StrFormat("%s/%06d.sst", copy, ++number));
    if (made.ok()) made = table.Delete("");
    if (made.ok()) made = table.Finish();
    if (!made.ok()) return ToStatus(made, directory);
  }
  const rocksdb::Status repaired = rocksdb::RepairDB(copy, options, families, options);
  if (!repaired.ok()) return ToStatus(repaired, directory);
  return OpenLeniently(env, work);
}

struct Source {
  Database database;
  // Whether deletions, and counters, may be older than what was acknowledged last.
  bool stale = false;
};

absl::StatusOr<Source> OpenSource(const StoreCheckOptions& options, const std::string& work,
                                  const Report& report) {
  rocksdb::Env& env = EnvOf(options);
  Source source;
  {
    auto sound =
        OpenDatabase(options.directory, DatabaseOptions(&env, StoreTuning().memtable_bytes),
                     DatabaseMode::kReadOnly);
    if (sound.ok()) {
      source.database = *std::move(sound);
      return source;
    }
    if (!absl::IsDataLoss(sound.status())) return sound.status();
    report(std::string(sound.status().message()));
  }
  source.stale = true;
  auto opened = OpenLeniently(env, options.directory);
  if (!opened.ok()) opened = OpenWithoutCurrent(env, options.directory, work);
  if (!opened.ok()) opened = OpenWithoutManifest(env, options.directory, work);
  if (!opened.ok()) return opened.status();
  source.database = *std::move(opened);
  report(
      "the last writes may be lost, and rows that they deleted or replaced may be back as they "
      "were");
  return source;
}

// A row whose id is there and whose vector is not.
struct Orphan {
  const FoundCollection* collection;
  std::string id, description, reason;
  bool found = false;
};

class Repair {
 public:
  Repair(const StoreCheckOptions& options, const Source& source, Database& target,
         const Report& report)
      : options_(options), source_(source), target_(target), report_(report) {}

  absl::Status Run();
  uint64_t lost_rows() const { return lost_rows_; }

 private:
  absl::Status CopyCollection(FoundCollection& collection);
  absl::Status CopyRow(const FoundCollection& collection, IdCheck& ids, const ScannedRow& row);
  absl::Status PutRow(RowName name, rocksdb::Slice id, rocksdb::Slice vector);
  absl::Status RemoveRow(const FoundCollection& collection, uint64_t row, uint64_t instead);
  absl::Status FindVectors();
  absl::StatusOr<std::optional<uint32_t>> FindDimension(CollectionNumber collection) const;
  absl::Status Write(bool last);
  void Lose(std::string_view what, std::string_view why);

  const StoreCheckOptions& options_;
  const Source& source_;
  Database& target_;
  const Report& report_;
  rocksdb::WriteBatch batch_;
  std::map<std::pair<CollectionNumber, uint64_t>, Orphan> orphans_;
  uint64_t copied_rows_ = 0, lost_rows_ = 0;
};

absl::Status Repair::Run() {
  FoundCollections found = ScanCollections(source_.database, report_);
  for (FoundCollection& collection : found.collections) {
    if (absl::Status copied = CopyCollection(collection); !copied.ok()) return copied;
  }
  if (absl::Status status = FindVectors(); !status.ok()) return status;
  const CollectionNumber next = found.next + (source_.stale ? kFarOnCollections : 0);
  (void)batch_.Put(kNextCollectionKey, Encode(next));
  (void)batch_.Put(kSchemaKey, Encode(StoreSchema().version));
  if (absl::Status written = Write(/*last=*/true); !written.ok()) return written;
  return ToStatus(target_.db->Flush({}, target_.handles), options_.directory);
}

absl::Status Repair::CopyCollection(FoundCollection& collection) {
  if (!collection.entry) {
    const auto dimension = FindDimension(collection.number);
    if (!dimension.ok()) return dimension.status();
    if (!*dimension) {
      report_(absl::StrCat(DescribeCollection(collection), ": lost, as all of its vectors are"));
      return absl::OkStatus();
    }
    collection.entry = CollectionEntry{.name = absl::StrCat("recovered-", collection.number),
                                       .config = {.dimension = **dimension}};
    report_(absl::StrFormat(
        "collection number %d is kept as %s, with metric %s and without "
        "normalization",
        collection.number, DescribeCollection(collection), Name(collection.entry->config.metric)));
  }
  StoredState state = collection.state.value_or(
      StoredState{.metric = collection.entry->config.metric, .sequence = kFarOn});
  uint64_t after_rows = 0;
  IdCheck ids(source_.database, collection.number);
  const auto visit = [&](const ScannedRow& row) {
    after_rows = row.row + 1;
    if (options_.progress && ++copied_rows_ % (1 << 16) == 0) {
      options_.progress(*collection.entry->name, copied_rows_);
    }
    return CopyRow(collection, ids, row);
  };
  const auto unreadable = [&](const RowReader::Gap& gap) {
    report_(absl::StrFormat("%s, rows %d to %d: lost, as neither ids nor vectors can be read: %s",
                            DescribeCollection(collection), gap.begin, gap.end - 1, gap.reason));
  };
  const uint64_t below = collection.state ? state.next_row : kFarOn;
  absl::Status scanned = ScanRows(source_.database, collection.number, below, visit, unreadable);
  if (!scanned.ok()) return scanned;
  state.next_row = std::max(state.next_row, after_rows);
  if (source_.stale || !collection.state) state.next_row += kFarOn;
  (void)batch_.Put(Handle(Family::kCollections), CollectionKey(collection.number),
                   Encode(*collection.entry));
  (void)batch_.Put(Handle(Family::kCollections), StateKey(collection.number), Encode(state));
  return Write(/*last=*/false);
}

absl::Status Repair::CopyRow(const FoundCollection& collection, IdCheck& ids,
                             const ScannedRow& row) {
  const RowName name{collection.number, row.row};
  const auto problem = CheckRow(row, collection.entry->config);
  const auto id = row.id_status.ok() ? DecodeId(row.id) : std::nullopt;
  if (!id) {
    Lose(DescribeRow(collection, row), problem->text);
    return absl::OkStatus();
  }
  if (const auto earlier = ids.Add(row.row, *id)) {
    if (absl::Status removed = RemoveRow(collection, *earlier, row.row); !removed.ok()) {
      return removed;
    }
  }
  if (!problem) return PutRow(name, row.id, row.vector);
  orphans_[{name.collection, name.row}] = {&collection, row.id.ToString(),
                                           DescribeRow(collection, row), problem->text};
  return absl::OkStatus();
}

absl::Status Repair::PutRow(RowName name, rocksdb::Slice id, rocksdb::Slice vector) {
  const std::string key = RowKey(name.collection, name.row);
  (void)batch_.Put(Handle(Family::kIds), key, id);
  (void)batch_.Put(Handle(Family::kRows), key, vector);
  return Write(/*last=*/false);
}

// Of two rows with one id, the later one was there last.
absl::Status Repair::RemoveRow(const FoundCollection& collection, uint64_t row, uint64_t instead) {
  const std::string key = RowKey(collection.number, row);
  orphans_.erase({collection.number, row});
  (void)batch_.Delete(Handle(Family::kIds), key);
  (void)batch_.Delete(Handle(Family::kRows), key);
  report_(absl::StrFormat("%s, row %d: dropped, as row %d has the same id and is younger",
                          DescribeCollection(collection), row, instead));
  return Write(/*last=*/false);
}

absl::Status Repair::FindVectors() {
  if (orphans_.empty()) return absl::OkStatus();
  const auto visit = [&](RowName name, std::string_view value) {
    const auto place = orphans_.find({name.collection, name.row});
    if (place == orphans_.end()) return absl::OkStatus();
    Orphan& orphan = place->second;
    const ScannedRow row{.row = name.row, .id = orphan.id, .vector = {value.data(), value.size()}};
    if (CheckRow(row, orphan.collection->entry->config)) return absl::OkStatus();
    orphan.found = true;
    return PutRow(name, row.id, row.vector);
  };
  absl::Status visited = VisitBlobs(EnvOf(options_), DatabasePath(options_.directory), visit);
  if (!visited.ok()) return visited;
  uint64_t found = 0;
  for (const auto& [name, orphan] : orphans_) {
    if (orphan.found) {
      ++found;
    } else {
      Lose(orphan.description, orphan.reason);
    }
  }
  if (found > 0) {
    report_(absl::StrFormat("%d vectors are kept although what leads to them is damaged", found));
  }
  return absl::OkStatus();
}

// From any of its vectors.
absl::StatusOr<std::optional<uint32_t>> Repair::FindDimension(CollectionNumber collection) const {
  const auto of = [](size_t bytes) { return static_cast<uint32_t>(bytes / sizeof(float)); };
  const RowReader rows(source_.database, Family::kRows, collection);
  if (rows.valid()) return of(rows.value().size());
  std::optional<uint32_t> dimension;
  absl::Status visited = VisitBlobs(EnvOf(options_), DatabasePath(options_.directory),
                                    [&](RowName name, std::string_view value) {
                                      if (name.collection == collection) {
                                        dimension = of(value.size());
                                      }
                                      return absl::OkStatus();
                                    });
  if (!visited.ok()) return visited;
  return dimension;
}

absl::Status Repair::Write(bool last) {
  if (!last && batch_.GetDataSize() < kBatchBytes) return absl::OkStatus();
  rocksdb::WriteOptions write;
  write.disableWAL = true;  // the database is not used before all of it is on the disk
  const rocksdb::Status written = target_.db->Write(write, &batch_);
  batch_.Clear();
  return ToStatus(written, options_.directory);
}

void Repair::Lose(std::string_view what, std::string_view why) {
  ++lost_rows_;
  report_(absl::StrFormat("%s: lost: %s", what, why));
}

// Puts the new database in the place of the damaged one, which is returned where it is then.
absl::StatusOr<std::string> Exchange(const std::string& directory, const std::string& work) {
  const std::string old = DatabasePath(directory), made = DatabasePath(work);
  // In one step, so that there is a database at any time.
  if (renameat2(AT_FDCWD, old.c_str(), AT_FDCWD, made.c_str(), RENAME_EXCHANGE) != 0) {
    return absl::UnavailableError(
        absl::StrFormat("cannot put %s in the place of %s: %s", made, old, std::strerror(errno)));
  }
  std::string kept = old + ".damaged";
  for (int i = 2; fs::exists(kept); ++i) kept = absl::StrFormat("%s.damaged.%d", old, i);
  std::error_code error;
  fs::rename(made, kept, error);
  if (error) {
    return absl::UnavailableError(absl::StrFormat(
        "the store is repaired, but the damaged one cannot be moved from %s to %s: %s", made, kept,
        error.message()));
  }
  if (absl::Status synced = SyncDirectory(directory); !synced.ok()) return synced;
  return kept;
}

absl::StatusOr<uint64_t> MakeNew(const StoreCheckOptions& options, const std::string& made,
                                 const std::string& copy, const Report& report) {
  auto source = OpenSource(options, copy, report);
  if (!source.ok()) return source.status();
  if (const auto schema = CheckSchema(source->database, options.directory, report); !schema.ok()) {
    return schema.status();
  }
  auto target = OpenDatabase(made, DatabaseOptions(&EnvOf(options), StoreTuning().memtable_bytes),
                             DatabaseMode::kCreate);
  if (!target.ok()) return target.status();
  bool told = false;
  const Report telling = [&](std::string_view line) {
    told = true;
    report(line);
  };
  Repair repair(options, *source, *target, telling);
  if (absl::Status done = repair.Run(); !done.ok()) return done;
  if (!told) CheckTables(source->database, report);
  return repair.lost_rows();
}

}  // namespace

absl::StatusOr<StoreRepairResult> RepairStore(const StoreCheckOptions& options) {
  const auto lock = DirectoryLock::Acquire(options.directory, DirectoryLock::kRefuse);
  if (!lock.ok()) return lock.status();
  StoreCheckOptions quietly = options;
  quietly.report = nullptr;
  auto before = VerifyLocked(quietly);
  if (!before.ok()) return before.status();
  if (before->problems == 0) return StoreRepairResult{.collections = before->collections};

  const std::string work = WorkFolder(options.directory);
  const std::string made = work + "/new", copy = work + "/copy";
  std::error_code error;
  fs::remove_all(work, error);
  fs::create_directories(made, error);
  if (error) {
    return absl::UnavailableError(absl::StrFormat("cannot make %s: %s", made, error.message()));
  }
  const Report report = [&](std::string_view line) {
    if (options.report) options.report(line);
  };
  StoreRepairResult result;
  const auto lost_rows = MakeNew(options, made, copy, report);
  if (!lost_rows.ok()) return lost_rows.status();
  result.lost_rows = *lost_rows;
  // What was made must be good before it takes the other's place.
  StoreCheckOptions again = options;
  again.directory = made;
  auto after = VerifyLocked(again);
  if (!after.ok()) return after.status();
  if (after->problems > 0) return absl::InternalError("the repaired store is not sound");
  result.collections = after->collections;
  auto damaged = Exchange(options.directory, made);
  if (!damaged.ok()) return damaged.status();
  result.damaged = *std::move(damaged);
  fs::remove_all(work, error);
  return result;
}

}  // namespace vexact

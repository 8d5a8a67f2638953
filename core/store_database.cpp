#include "core/store_database.h"

#include <rocksdb/cache.h>
#include <rocksdb/comparator.h>
#include <rocksdb/env.h>
#include <rocksdb/table.h>
#include <rocksdb/wal_filter.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <limits>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/store_directory.h"
#include "core/store_log.h"

namespace vexact {
namespace {

constexpr size_t kMiB = size_t{1} << 20;

// Tables hold keys only: a table of 1 MiB leads to some 30,000 rows, and the collection of garbage
// in the background works table by table.
constexpr size_t kTableBytes = 1 * kMiB;
// Rows are read once, when the server starts, in order: a larger cache would hold what nobody asks
// for again.
constexpr size_t kBlockCacheBytes = 8 * kMiB;
// Of tables and blob files together; opening one again costs some microseconds.
constexpr int kMaxOpenFiles = 512;

void AppendBigEndian(std::string& out, uint64_t value, int bytes) {
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) {
    out.push_back(static_cast<char>(value >> shift));
  }
}

// Takes the bytes off the front of `in`, which has as many.
uint64_t TakeBigEndian(rocksdb::Slice& in, size_t bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < bytes; ++i) value = value << 8 | static_cast<uint8_t>(in[i]);
  in.remove_prefix(bytes);
  return value;
}

template <typename Enum>
std::optional<Enum> AsEnum(uint64_t value, Enum last) {
  if (value > static_cast<uint64_t>(last)) return std::nullopt;
  return static_cast<Enum>(value);
}

// RocksDB's own log of events would take the process down on a full disk: once a line of it could
// not be written, the next one meets a debug assertion of its WritableFileWriter, which Debian's
// build has. Errors come as statuses.
class NoLog : public rocksdb::Logger {
 public:
  using rocksdb::Logger::Logv;
  void Logv(const char*, va_list) override {}
};

class FamilyHandle : public rocksdb::ColumnFamilyHandle {
 public:
  explicit FamilyHandle(Family family) : family_(family), name_(vexact::Name(family)) {}

  const std::string& GetName() const override { return name_; }
  uint32_t GetID() const override { return static_cast<uint32_t>(family_); }
  rocksdb::Status GetDescriptor(rocksdb::ColumnFamilyDescriptor*) override {
    return rocksdb::Status::NotSupported();
  }
  const rocksdb::Comparator* GetComparator() const override {
    return rocksdb::BytewiseComparator();
  }

 private:
  const Family family_;
  const std::string name_;
};

// Without its CURRENT a database looks like none at all, and a new one would be made over it.
absl::Status CheckNoneThere(rocksdb::Env& env, const std::string& database) {
  std::vector<std::string> names;
  if (!env.GetChildren(database, &names).ok()) return absl::OkStatus();
  for (const std::string_view name : names) {
    if (name.ends_with(".sst") || name.ends_with(".blob") || name.ends_with(".log")) {
      return absl::DataLossError(absl::StrFormat(
          "%s/CURRENT, which names the list of the database's files, is missing", database));
    }
  }
  return absl::OkStatus();
}

rocksdb::ColumnFamilyOptions FamilyOptions(const rocksdb::Options& options, Family family) {
  rocksdb::ColumnFamilyOptions result(options);
  if (family != Family::kRows) return result;
  // A vector of a small write is written to the log and to a blob file, and compaction moves its
  // key only: its bytes reach the disk about twice. Each blob record has its key and a checksum: a
  // row can be told and verified without any table (store_check.cpp). Those of bulk loads lie in
  // tables until a compaction that removes rows around them moves them to blob files.
  result.enable_blob_files = true;
  result.min_blob_size = 0;
  result.blob_compaction_readahead_size = 2 * kMiB;
  // Compaction would move the rows of the oldest files again and again, live ones too. The store
  // collects garbage by itself, when there is enough of it (store.cpp).
  result.enable_blob_garbage_collection = false;
  return result;
}

std::vector<rocksdb::ColumnFamilyDescriptor> Families(const rocksdb::Options& options,
                                                      const std::vector<std::string>& names) {
  std::vector<rocksdb::ColumnFamilyDescriptor> families;
  for (const std::string& name : names) {
    const auto* own = std::find_if(std::begin(kFamilies), std::end(kFamilies),
                                   [&](Family family) { return Name(family) == name; });
    families.emplace_back(
        name, FamilyOptions(options, own == std::end(kFamilies) ? Family::kDefault : *own));
  }
  return families;
}

// Those of a store, and then those that a newer version may have: RocksDB wants all of them named.
std::vector<std::string> OwnAndOthers(const std::vector<std::string>& stored) {
  std::vector<std::string> names;
  for (const Family family : kFamilies) names.push_back(Name(family));
  for (const std::string& name : stored) {
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  return names;
}

// Learns where recovery would begin, and keeps it from reading any further.
class FirstLogFilter : public rocksdb::WalFilter {
 public:
  const char* Name() const override { return "FirstLogFilter"; }
  void ColumnFamilyLogNumberMap(const std::map<uint32_t, uint64_t>& logs,
                                const std::map<std::string, uint32_t>&) override {
    for (const auto& [family, log] : logs) first_ = std::min(first_, log);
  }
  WalProcessingOption LogRecord(const rocksdb::WriteBatch&, rocksdb::WriteBatch*,
                                bool*) const override {
    return WalProcessingOption::kStopReplay;
  }

  uint64_t first() const { return first_; }

 private:
  uint64_t first_ = std::numeric_limits<uint64_t>::max();
};

// Whether recovery will lose nothing that was on the disk (store_log.h).
absl::Status CheckLogOf(rocksdb::Options options, const std::string& directory,
                        const std::vector<std::string>& stored) {
  const std::string path = DatabasePath(directory);
  FirstLogFilter filter;
  options.wal_filter = &filter;
  options.listeners.clear();
  rocksdb::DB* db = nullptr;
  Database database;
  const rocksdb::Status opened = rocksdb::DB::OpenForReadOnly(
      options, path, Families(options, stored), &database.handles, &db);
  database.db.reset(db);
  if (!opened.ok()) return absl::Status(ToStatus(opened, directory));
  return CheckLog(*options.env, path, filter.first());
}

}  // namespace

std::string Name(Family family) {
  switch (family) {
    case Family::kDefault:
      return rocksdb::kDefaultColumnFamilyName;
    case Family::kCollections:
      return "collections";
    case Family::kIds:
      return "ids";
    case Family::kRows:
      return "rows";
  }
  return "";
}

rocksdb::ColumnFamilyHandle* Handle(Family family) {
  static std::array<FamilyHandle, std::size(kFamilies)> handles = {
      FamilyHandle(Family::kDefault), FamilyHandle(Family::kCollections),
      FamilyHandle(Family::kIds), FamilyHandle(Family::kRows)};
  return &handles[static_cast<size_t>(family)];
}

std::string CollectionKey(CollectionNumber collection) {
  std::string key;
  AppendBigEndian(key, collection, 4);
  return key;
}

std::string StateKey(CollectionNumber collection) { return CollectionKey(collection) + 's'; }

std::string RowKey(CollectionNumber collection, uint64_t row) {
  std::string key = CollectionKey(collection);
  AppendBigEndian(key, row, 8);
  return key;
}

std::string DroppedKey(CollectionNumber collection) {
  return std::string(kDroppedPrefix) + CollectionKey(collection);
}

std::string IncomingKey(CollectionNumber collection) {
  return std::string(kIncomingPrefix) + CollectionKey(collection);
}

std::string Encode(RowSpan rows) {
  std::string value;
  AppendBigEndian(value, rows.begin, 8);
  AppendBigEndian(value, rows.end, 8);
  return value;
}

std::string Encode(uint32_t number) { return CollectionKey(number); }

std::string Encode(const CollectionEntry& entry) {
  std::string value;
  AppendBigEndian(value, entry.config.dimension, 4);
  AppendBigEndian(value, static_cast<uint64_t>(entry.config.metric), 1);
  AppendBigEndian(value, static_cast<uint64_t>(entry.config.normalization), 1);
  AppendBigEndian(value, entry.name.has_value(), 1);
  if (entry.name) value += *entry.name;
  return value;
}

std::string Encode(const StoredState& state) {
  std::string value;
  AppendBigEndian(value, static_cast<uint64_t>(state.metric), 1);
  AppendBigEndian(value, state.sequence, 8);
  AppendBigEndian(value, state.next_row, 8);
  return value;
}

std::string Encode(IdView id) {
  const auto* text = std::get_if<std::string_view>(&id);
  std::string value(1, text != nullptr ? 's' : 'u');
  if (text != nullptr) return value.append(*text);
  AppendBigEndian(value, std::get<uint64_t>(id), 8);
  return value;
}

rocksdb::Slice AsSlice(std::span<const float> vector) {
  return {reinterpret_cast<const char*>(vector.data()), vector.size_bytes()};
}

std::optional<uint32_t> DecodeNumber(rocksdb::Slice value) {
  if (value.size() != 4) return std::nullopt;
  return static_cast<uint32_t>(TakeBigEndian(value, 4));
}

std::optional<RowSpan> DecodeRowSpan(rocksdb::Slice value) {
  if (value.size() != 16) return std::nullopt;
  RowSpan rows;
  rows.begin = TakeBigEndian(value, 8);
  rows.end = TakeBigEndian(value, 8);
  return rows;
}

std::optional<CollectionEntry> DecodeEntry(rocksdb::Slice value) {
  if (value.size() < 7) return std::nullopt;
  CollectionEntry entry;
  entry.config.dimension = static_cast<uint32_t>(TakeBigEndian(value, 4));
  const auto metric = AsEnum(TakeBigEndian(value, 1), Metric::kL2);
  const auto normalization = AsEnum(TakeBigEndian(value, 1), Normalization::kRequireUnit);
  const uint64_t named = TakeBigEndian(value, 1);
  if (!metric || !normalization || named > 1 || (named == 0 && !value.empty())) {
    return std::nullopt;
  }
  entry.config.metric = *metric;
  entry.config.normalization = *normalization;
  if (named == 1) entry.name = value.ToString();
  return entry;
}

std::optional<StoredState> DecodeState(rocksdb::Slice value) {
  if (value.size() != 17) return std::nullopt;
  const auto metric = AsEnum(TakeBigEndian(value, 1), Metric::kL2);
  if (!metric) return std::nullopt;
  StoredState state{.metric = *metric};
  state.sequence = TakeBigEndian(value, 8);
  state.next_row = TakeBigEndian(value, 8);
  return state;
}

std::optional<IdView> DecodeId(rocksdb::Slice value) {
  if (value.size() == 9 && value[0] == 'u') {
    value.remove_prefix(1);
    return IdView(TakeBigEndian(value, 8));
  }
  if (value.size() > 1 && value[0] == 's') {
    const IdView id = std::string_view(value.data() + 1, value.size() - 1);
    if (ValidateId(id).ok()) return id;
  }
  return std::nullopt;
}

std::optional<RowName> DecodeRowKey(rocksdb::Slice key) {
  if (key.size() != 12) return std::nullopt;
  RowName name;
  name.collection = static_cast<CollectionNumber>(TakeBigEndian(key, 4));
  name.row = TakeBigEndian(key, 8);
  return name;
}

std::optional<CollectionName> DecodeCollectionKey(rocksdb::Slice key) {
  if (key.size() != 4 && !(key.size() == 5 && key[4] == 's')) return std::nullopt;
  const bool state = key.size() == 5;
  return CollectionName{static_cast<CollectionNumber>(TakeBigEndian(key, 4)), state};
}

Database& Database::operator=(Database&& other) noexcept {
  std::swap(db, other.db);
  std::swap(handles, other.handles);
  return *this;
}

Database::~Database() {
  if (db == nullptr) return;
  for (rocksdb::ColumnFamilyHandle* handle : handles) (void)db->DestroyColumnFamilyHandle(handle);
  (void)db->Close();
}

rocksdb::Options DatabaseOptions(rocksdb::Env* env, uint64_t memtable_bytes) {
  rocksdb::Options options;
  options.env = env;
  options.create_missing_column_families = true;

  // One write is one record of the log, and each record is synced before the next one (kFsync), so
  // that CheckLog can tell a write that stopped from damage. Point-in-time recovery then drops the
  // torn record, and nothing else. Its stricter siblings do not fit: kAbsoluteConsistency refuses
  // every crash, and kTolerateCorruptedTailRecords takes a sector that a power cut kept from being
  // written for damage. Segments are not recycled (the default): old records behind the end would
  // look like new ones. The manifest knows the sizes of closed segments, and Open compares.
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  options.recycle_log_file_num = 0;
  options.track_and_verify_wals_in_manifest = true;

  // Half of the memory fills while the other is flushed. The limit is one of all families together,
  // at which RocksDB flushes the one whose memtable is the oldest, and so each in turn: a rarely
  // written one does not keep old logs alive. RocksDB's own limit for that, of the log's size, is
  // out of reach: it flushes several families as one job, and if the log's last sync fails then,
  // a debug assertion, which Debian's build has, ends the process (its WritableFileWriter). For the
  // same reason nothing that is written stays unsynced under kFsync: a closed log is never synced.
  options.db_write_buffer_size = memtable_bytes * 8 / 7;  // flushes begin at 7/8 of it
  options.write_buffer_size = 2 * memtable_bytes;
  options.max_write_buffer_number = 2;
  options.max_total_wal_size = std::numeric_limits<uint64_t>::max();
  // The store itself does that, together with its undoing (store.cpp).
  options.max_bgerror_resume_count = 0;
  options.target_file_size_base = kTableBytes;
  // Float32 components of embeddings are noise to a compressor, and what remains are keys.
  options.compression = rocksdb::kNoCompression;
  // One flush and one compaction at a time: the processors belong to searches.
  options.max_background_jobs = 2;
  options.max_open_files = kMaxOpenFiles;

  rocksdb::BlockBasedTableOptions table;
  table.block_cache = rocksdb::NewLRUCache(kBlockCacheBytes);
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));

  options.info_log = std::make_shared<NoLog>();
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  return options;
}

absl::StatusOr<Database> OpenDatabase(const std::string& directory, const rocksdb::Options& base,
                                      DatabaseMode mode) {
  const std::string path = DatabasePath(directory);
  rocksdb::Options options = base;
  const bool there = options.env->FileExists(path + "/CURRENT").ok();
  options.create_if_missing = mode == DatabaseMode::kCreate && !there;
  options.disable_auto_compactions = mode == DatabaseMode::kNoCompaction;
  std::vector<std::string> stored;
  absl::Status sound;
  if (there) {
    if (absl::Status trimmed = TrimManifest(*options.env, path); !trimmed.ok()) return trimmed;
    const rocksdb::Status listed = rocksdb::DB::ListColumnFamilies(options, path, &stored);
    if (!listed.ok()) return ToStatus(listed, directory);
    sound = CheckLogOf(options, directory, stored);
  } else {
    sound = CheckNoneThere(*options.env, path);
  }
  if (absl::IsDataLoss(sound)) {
    return absl::DataLossError(absl::StrCat(sound.message(), RepairHint(directory)));
  }
  if (!sound.ok()) return sound;

  const auto families = Families(options, OwnAndOthers(stored));
  Database database;
  rocksdb::DB* db = nullptr;
  const rocksdb::Status opened =
      mode == DatabaseMode::kReadOnly
          ? rocksdb::DB::OpenForReadOnly(options, path, families, &database.handles, &db)
          : rocksdb::DB::Open(options, path, families, &database.handles, &db);
  if (!opened.ok()) return ToStatus(opened, directory);
  database.db.reset(db);
  for (const Family family : kFamilies) {
    if (database.handle(family)->GetID() != static_cast<uint32_t>(family)) {
      return absl::DataLossError(absl::StrFormat(
          "the column families of %s are not those of a store%s", path, RepairHint(directory)));
    }
  }
  return database;
}

std::optional<RowSpan> CutOffRows(const Database& database, CollectionNumber collection) {
  std::string mark, value;
  rocksdb::DB& db = *database.db;
  // In this order: the batch that makes rows count also takes the mark away.
  rocksdb::Status read = db.Get({}, rocksdb::Slice(IncomingKey(collection)), &mark);
  if (read.IsNotFound()) return RowSpan();
  if (!read.ok()) return std::nullopt;
  read = db.Get({}, database.handle(Family::kCollections), StateKey(collection), &value);
  // All rows of a collection that was dropped are removed anyway.
  if (read.IsNotFound()) return RowSpan();
  const auto rows = DecodeRowSpan(mark);
  const auto state = DecodeState(value);
  if (!read.ok() || !rows || !state) return std::nullopt;
  // A mark that damage has left behind a later state is none.
  return state->next_row <= rows->begin ? *rows : RowSpan();
}

absl::Status ToStatus(const rocksdb::Status& status, const std::string& directory) {
  if (status.ok()) return absl::OkStatus();
  const std::string reason = status.ToString();
  // RocksDB has no code of its own for a disk quota, only the system's words.
  if (status.IsNoSpace() || (status.IsIOError() && reason.ends_with(std::strerror(EDQUOT)))) {
    return absl::ResourceExhaustedError(absl::StrCat("the disk of data directory ", directory,
                                                     " is full", FreeSpace(directory), " (", reason,
                                                     ")"));
  }
  // A file that the database knows and that is not there will not come back by itself.
  if (status.IsCorruption() || status.IsPathNotFound()) {
    return absl::DataLossError(
        absl::StrCat("data directory ", directory, " is damaged: ", reason, RepairHint(directory)));
  }
  return absl::UnavailableError(
      absl::StrCat("cannot read or write data directory ", directory, ": ", reason));
}

std::string RepairHint(const std::string& directory) {
  return absl::StrCat("; run vexactd --repair --data-dir ", directory,
                      " to keep what is good, or restore a snapshot");
}

}  // namespace vexact

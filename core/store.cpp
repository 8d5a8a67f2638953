#include "core/store.h"

#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/listener.h>
#include <rocksdb/statistics.h>
#include <rocksdb/write_batch.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/store_database.h"
#include "core/store_directory.h"
#include "core/store_sweeper.h"

namespace vexact {
namespace {

using Clock = std::chrono::steady_clock;

// Calls `compacted` when there may be more garbage than before.
class Listener : public rocksdb::EventListener {
 public:
  explicit Listener(std::function<void()> compacted) : compacted_(std::move(compacted)) {}

  void OnCompactionCompleted(rocksdb::DB*, const rocksdb::CompactionJobInfo&) override {
    compacted_();
  }
  // On a full disk RocksDB would go on by itself, without the store's undoing.
  void OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason, rocksdb::Status,
                            bool* auto_recovery) override {
    *auto_recovery = false;
  }

 private:
  const std::function<void()> compacted_;
};

std::string Describe(CollectionNumber collection, const CollectionEntry& entry) {
  return entry.name ? absl::StrFormat("collection \"%s\"", *entry.name)
                    : absl::StrFormat("unnamed collection %d", collection);
}

}  // namespace

StoreBatch::StoreBatch() : batch_(std::make_unique<rocksdb::WriteBatch>()) {}
StoreBatch::~StoreBatch() = default;
StoreBatch::StoreBatch(StoreBatch&&) noexcept = default;
StoreBatch& StoreBatch::operator=(StoreBatch&&) noexcept = default;

// Filling a batch cannot fail: it has no limit of its own, and keys and families are ours.

void StoreBatch::PutRow(CollectionNumber collection, uint64_t row, IdView id,
                        std::span<const float> vector) {
  const std::string key = RowKey(collection, row);
  const std::string encoded = Encode(id);
  (void)batch_->Put(Handle(Family::kIds), key, encoded);
  (void)batch_->Put(Handle(Family::kRows), key, AsSlice(vector));
  bytes_ += encoded.size() - 1 + vector.size_bytes();
}

void StoreBatch::DeleteRow(CollectionNumber collection, uint64_t row) {
  const std::string key = RowKey(collection, row);
  (void)batch_->Delete(Handle(Family::kIds), key);
  (void)batch_->Delete(Handle(Family::kRows), key);
}

void StoreBatch::PutState(CollectionNumber collection, const StoredState& state) {
  (void)batch_->Put(Handle(Family::kCollections), StateKey(collection), Encode(state));
}

// A failed write leaves the database unusable: what reached the disk is unknown, and RocksDB takes
// no more writes. It is then closed and opened anew, which reads back what did reach the disk; the
// undo batches of all writes that failed are written first, and then work goes on.
//
// `mutex` orders that against all use of the database: users hold it shared, and Heal alone.
// A user that fails says so (`failed`, `undos`) before it lets go, so that whoever gets the mutex
// later sees it: no write slips in between a failure and its undo. Writes that were under way at
// the time may still succeed; they are of other collections, or of other rows, than the failed one.
struct Store::Impl {
  explicit Impl(StoreOptions opened, DirectoryLock locked)
      : options(std::move(opened)),
        lock(std::move(locked)),
        sweeper([this](const auto& use) { return UseForSweeping(use); },
                options.tuning.memtable_bytes / 2, options.tuning.heal_every) {
    if (options.env == nullptr) options.env = rocksdb::Env::Default();
    database_options = DatabaseOptions(options.env, options.tuning.memtable_bytes);
    statistics = rocksdb::CreateDBStatistics();
    statistics->set_stats_level(rocksdb::StatsLevel::kExceptHistogramOrTimers);
    database_options.statistics = statistics;
    database_options.compaction_filter_factory = sweeper.filter();
    database_options.listeners.push_back(
        std::make_shared<Listener>([this] { sweeper.LookForGarbage(); }));
  }

  absl::Status Open();
  absl::Status OpenSchema();
  absl::Status Migrate(uint32_t version);
  absl::Status ReadDropped();

  using Undo = std::function<rocksdb::WriteBatch()>;
  // Writes the batch as a whole, after healing what must be healed.
  absl::Status Write(rocksdb::WriteBatch& batch, bool sync, const Undo& undo);
  // Runs `use` with the open database.
  absl::Status Use(const std::function<absl::Status(Database&)>& use);
  bool UseForSweeping(const std::function<bool(Database&)>& use);
  // REQUIRES: `mutex` is held.
  absl::Status Fail(const rocksdb::Status& status, const Undo& undo);
  absl::Status Heal(bool at_once = false);
  // REQUIRES: `mutex` is held alone.
  absl::Status OpenAnew();

  absl::StatusOr<CollectionEntry> ReadEntry(CollectionNumber collection);
  absl::Status PutEntry(CollectionNumber collection, const CollectionEntry& entry,
                        const std::optional<CollectionEntry>& before);
  absl::StatusOr<CollectionNumber> Create(const CollectionEntry& entry);
  absl::Status Drop(CollectionNumber collection, const CollectionEntry& entry);

  using VisitEntry = std::function<absl::Status(RowName, rocksdb::Slice value, uint32_t dimension,
                                                const std::string& collection)>;
  absl::Status Visit(Family family, CollectionNumber collection, uint64_t begin, uint64_t end,
                     const VisitEntry& visit);

  void Close();

  StoreOptions options;
  const DirectoryLock lock;
  rocksdb::Options database_options;
  std::shared_ptr<rocksdb::Statistics> statistics;
  std::atomic<uint64_t> commits = 0, batch_bytes = 0;

  StoreSweeper sweeper;

  std::shared_mutex mutex;
  std::optional<Database> database;  // guarded by mutex; none while it cannot be opened

  // Set by whoever holds `mutex` shared, cleared by Heal, which holds it alone.
  std::atomic<bool> failed = false;
  std::mutex failure_mutex;  // guards what follows
  absl::Status failure;
  Clock::time_point healed_at = Clock::time_point::min();
  // What follows is also read by who holds `mutex` alone.
  std::vector<rocksdb::WriteBatch> undos;
  // Background work has met damage. It would meet it again and again, and stop all writing each
  // time: so it rests until the store is repaired.
  bool damaged = false;

  std::mutex create_mutex;
  CollectionNumber next_collection = 1;  // guarded by create_mutex
};

absl::Status Store::Impl::Open() {
  auto opened = OpenDatabase(options.directory, database_options, DatabaseMode::kCreate);
  if (!opened.ok()) return opened.status();
  database.emplace(std::move(*opened));
  if (absl::Status status = SyncDirectory(options.directory); !status.ok()) return status;
  if (absl::Status status = OpenSchema(); !status.ok()) return status;
  if (absl::Status status = ReadDropped(); !status.ok()) return status;
  sweeper.Resume();
  return absl::OkStatus();
}

absl::Status Store::Impl::OpenSchema() {
  rocksdb::DB& db = *database->db;
  std::string value;
  const rocksdb::Status read = db.Get({}, kSchemaKey, &value);
  if (read.IsNotFound()) {
    // A crash may have come between the making of the database and this.
    std::unique_ptr<rocksdb::Iterator> any(
        db.NewIterator({}, database->handle(Family::kCollections)));
    any->SeekToFirst();
    if (any->Valid() || !any->status().ok()) {
      return absl::DataLossError(
          absl::StrFormat("data directory %s has collections but no schema%s", options.directory,
                          RepairHint(options.directory)));
    }
    rocksdb::WriteBatch batch;
    (void)batch.Put(kSchemaKey, Encode(options.tuning.schema.version));
    (void)batch.Put(kNextCollectionKey, Encode(next_collection));
    rocksdb::WriteOptions write;
    write.sync = true;
    return ToStatus(db.Write(write, &batch), options.directory);
  }
  if (!read.ok()) return ToStatus(read, options.directory);
  const auto version = DecodeNumber(value);
  if (!version || *version == 0) {
    return absl::DataLossError(absl::StrFormat("data directory %s has no readable schema version%s",
                                               options.directory, RepairHint(options.directory)));
  }
  if (*version > options.tuning.schema.version) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "data directory %s is of schema version %d; this program knows versions up to %d: use the "
        "program that wrote it, or a later one",
        options.directory, *version, options.tuning.schema.version));
  }
  return Migrate(*version);
}

absl::Status Store::Impl::Migrate(uint32_t version) {
  for (; version < options.tuning.schema.version; ++version) {
    rocksdb::WriteBatch last;
    const StoreSchema::Migration& migration = options.tuning.schema.migrations[version - 1];
    if (absl::Status status = migration(*database, last); !status.ok()) return status;
    (void)last.Put(kSchemaKey, Encode(version + 1));
    rocksdb::WriteOptions write;
    write.sync = true;
    const rocksdb::Status written = database->db->Write(write, &last);
    if (!written.ok()) return ToStatus(written, options.directory);
  }
  return absl::OkStatus();
}

// What an earlier run has left to be removed, and the unnamed collections that it has left at all.
absl::Status Store::Impl::ReadDropped() {
  rocksdb::DB& db = *database->db;
  std::string value;
  const rocksdb::Status read = db.Get({}, kNextCollectionKey, &value);
  if (!read.ok() && !read.IsNotFound()) return ToStatus(read, options.directory);
  const auto next = DecodeNumber(value);
  if (!next) {
    return absl::DataLossError(
        absl::StrFormat("data directory %s has no readable number for the "
                        "next collection%s",
                        options.directory, RepairHint(options.directory)));
  }
  next_collection = *next;
  std::unique_ptr<rocksdb::Iterator> marks(db.NewIterator({}));
  for (marks->Seek(kDroppedPrefix); marks->Valid() && marks->key().starts_with(kDroppedPrefix);
       marks->Next()) {
    rocksdb::Slice number = marks->key();
    number.remove_prefix(kDroppedPrefix.size());
    if (const auto collection = DecodeNumber(number)) sweeper.Remove(*collection);
  }
  if (!marks->status().ok()) return ToStatus(marks->status(), options.directory);

  std::map<CollectionNumber, CollectionEntry> unnamed;
  std::unique_ptr<rocksdb::Iterator> entries(
      db.NewIterator({}, database->handle(Family::kCollections)));
  for (entries->SeekToFirst(); entries->Valid(); entries->Next()) {
    const auto key = DecodeCollectionKey(entries->key());
    const auto entry = DecodeEntry(entries->value());
    if (key && !key->state && entry && !entry->name) unnamed.emplace(key->collection, *entry);
  }
  if (!entries->status().ok()) return ToStatus(entries->status(), options.directory);
  for (const auto& [collection, entry] : unnamed) {
    if (absl::Status status = Drop(collection, entry); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status Store::Impl::Write(rocksdb::WriteBatch& batch, bool sync, const Undo& undo) {
  rocksdb::WriteOptions write;
  write.sync = sync;
  return Use([&](Database& open) {
    const rocksdb::Status status = open.db->Write(write, &batch);
    return status.ok() ? absl::OkStatus() : Fail(status, undo);
  });
}

absl::Status Store::Impl::Use(const std::function<absl::Status(Database&)>& use) {
  while (true) {
    if (absl::Status status = Heal(); !status.ok()) return status;
    const std::shared_lock shared(mutex);
    if (!failed) return use(*database);
  }
}

bool Store::Impl::UseForSweeping(const std::function<bool(Database&)>& use) {
  const std::shared_lock shared(mutex);
  return !failed && database && use(*database);
}

absl::Status Store::Impl::Fail(const rocksdb::Status& status, const Undo& undo) {
  absl::Status error = ToStatus(status, options.directory);
  const std::lock_guard failure_lock(failure_mutex);
  if (undo) undos.push_back(undo());
  if (!failed) failure = error;
  if (absl::IsDataLoss(error)) damaged = true;
  failed = true;
  return error;
}

absl::Status Store::Impl::Heal(bool at_once) {
  if (!failed) return absl::OkStatus();
  // Why there is nothing to be done now; OK when something is.
  const auto too_early = [&] {
    const std::lock_guard failure_lock(failure_mutex);
    const bool early = !at_once && healed_at != Clock::time_point::min() &&
                       Clock::now() - healed_at < options.tuning.heal_every;
    return early ? failure : absl::OkStatus();
  };
  if (absl::Status early = too_early(); !early.ok()) return early;
  sweeper.Rest();
  const std::unique_lock alone(mutex);
  if (!failed) return absl::OkStatus();
  if (absl::Status early = too_early(); !early.ok()) return early;

  absl::Status healed = OpenAnew();
  const std::lock_guard failure_lock(failure_mutex);
  healed_at = Clock::now();
  failure = healed;
  failed = !healed.ok();
  if (healed.ok() && !damaged) sweeper.Resume();
  return healed;
}

absl::Status Store::Impl::OpenAnew() {
  database.reset();
  auto opened = OpenDatabase(options.directory, database_options,
                             damaged ? DatabaseMode::kNoCompaction : DatabaseMode::kReadWrite);
  if (!opened.ok()) return opened.status();
  database.emplace(std::move(*opened));
  rocksdb::WriteOptions write;
  write.sync = true;
  // Undoing twice is undoing once, should a later one fail.
  for (rocksdb::WriteBatch& undo : undos) {
    const rocksdb::Status status = database->db->Write(write, &undo);
    if (!status.ok()) return ToStatus(status, options.directory);
  }
  undos.clear();
  return absl::OkStatus();
}

absl::StatusOr<CollectionEntry> Store::Impl::ReadEntry(CollectionNumber collection) {
  CollectionEntry entry;
  absl::Status status = Use([&](Database& open) {
    std::string value;
    const rocksdb::Status read =
        open.db->Get({}, open.handle(Family::kCollections), CollectionKey(collection), &value);
    if (read.IsNotFound()) {
      return absl::NotFoundError(absl::StrFormat("the store has no collection %d", collection));
    }
    if (!read.ok()) return ToStatus(read, options.directory);
    auto decoded = DecodeEntry(value);
    if (!decoded) {
      return absl::DataLossError(absl::StrFormat("collection %d: its entry is unreadable%s",
                                                 collection, RepairHint(options.directory)));
    }
    entry = std::move(*decoded);
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return entry;
}

// Writes what is known of a collection but its rows.
absl::Status Store::Impl::PutEntry(CollectionNumber collection, const CollectionEntry& entry,
                                   const std::optional<CollectionEntry>& before) {
  rocksdb::WriteBatch batch;
  (void)batch.Put(Handle(Family::kCollections), CollectionKey(collection), Encode(entry));
  if (!before) {
    (void)batch.Put(Handle(Family::kCollections), StateKey(collection),
                    Encode(StoredState{.metric = entry.config.metric}));
    // A number that a failed write has taken stays taken.
    (void)batch.Put(kNextCollectionKey, Encode(collection + 1));
  }
  return Write(batch, /*sync=*/true, [&] {
    rocksdb::WriteBatch undo;
    if (before) {
      (void)undo.Put(Handle(Family::kCollections), CollectionKey(collection), Encode(*before));
    } else {
      (void)undo.Delete(Handle(Family::kCollections), CollectionKey(collection));
      (void)undo.Delete(Handle(Family::kCollections), StateKey(collection));
    }
    return undo;
  });
}

absl::StatusOr<CollectionNumber> Store::Impl::Create(const CollectionEntry& entry) {
  // Held throughout: the next number must not go back on the disk.
  const std::lock_guard create_lock(create_mutex);
  const CollectionNumber collection = next_collection++;
  if (absl::Status status = PutEntry(collection, entry, std::nullopt); !status.ok()) return status;
  return collection;
}

absl::Status Store::Impl::Drop(CollectionNumber collection, const CollectionEntry& entry) {
  std::string state;
  absl::Status read = Use([&](Database& open) {
    const rocksdb::Status status =
        open.db->Get({}, open.handle(Family::kCollections), StateKey(collection), &state);
    return status.IsNotFound() ? absl::OkStatus() : ToStatus(status, options.directory);
  });
  if (!read.ok()) return read;
  // Its rows are removed later, so that this can be undone.
  rocksdb::WriteBatch batch;
  (void)batch.Delete(Handle(Family::kCollections), CollectionKey(collection));
  (void)batch.Delete(Handle(Family::kCollections), StateKey(collection));
  (void)batch.Put(DroppedKey(collection), "");
  absl::Status written = Write(batch, /*sync=*/true, [&] {
    rocksdb::WriteBatch undo;
    (void)undo.Put(Handle(Family::kCollections), CollectionKey(collection), Encode(entry));
    (void)undo.Put(Handle(Family::kCollections), StateKey(collection), state);
    (void)undo.Delete(DroppedKey(collection));
    return undo;
  });
  if (!written.ok()) return written;
  sweeper.Remove(collection);
  return absl::OkStatus();
}

absl::Status Store::Impl::Visit(Family family, CollectionNumber collection, uint64_t begin,
                                uint64_t end, const VisitEntry& visit) {
  const absl::StatusOr<CollectionEntry> entry = ReadEntry(collection);
  if (!entry.ok()) return entry.status();
  const std::string name = Describe(collection, *entry);
  return Use([&](Database& open) {
    rocksdb::ReadOptions read;
    read.fill_cache = false;
    const std::string upper_key = RowKey(collection, end);
    const rocksdb::Slice upper = upper_key;
    read.iterate_upper_bound = &upper;
    const std::unique_ptr<rocksdb::Iterator> at(open.db->NewIterator(read, open.handle(family)));
    for (at->Seek(RowKey(collection, begin)); at->Valid(); at->Next()) {
      const auto row = DecodeRowKey(at->key());
      if (!row) {
        return absl::DataLossError(absl::StrFormat("%s has an unreadable key in family \"%s\"%s",
                                                   name, Name(family),
                                                   RepairHint(options.directory)));
      }
      if (absl::Status status = visit(*row, at->value(), entry->config.dimension, name);
          !status.ok()) {
        return status;
      }
    }
    absl::Status status = ToStatus(at->status(), options.directory);
    if (status.ok()) return status;
    return absl::Status(status.code(), absl::StrCat(name, ": ", status.message()));
  });
}

void Store::Impl::Close() {
  sweeper.Stop();
  // Undoes what has failed, if that is possible now: else a restart may find it.
  (void)Heal(/*at_once=*/true);
  if (!database || failed) return;
  // The next start has no log to read then. Should this fail, the log has everything.
  (void)database->db->Flush({}, database->handles);
}

Store::Store(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Store::~Store() { impl_->Close(); }

absl::StatusOr<std::unique_ptr<Store>> Store::Open(const StoreOptions& options) {
  auto lock = DirectoryLock::Acquire(options.directory, DirectoryLock::kCreate);
  if (!lock.ok()) return lock.status();
  auto impl = std::make_unique<Impl>(options, std::move(*lock));
  if (absl::Status status = impl->Open(); !status.ok()) return status;
  return std::unique_ptr<Store>(new Store(std::move(impl)));
}

absl::StatusOr<std::vector<StoredCollection>> Store::Collections() const {
  std::vector<StoredCollection> collections;
  absl::Status read = impl_->Use([&](Database& open) {
    const auto unreadable = [&](CollectionNumber number) {
      return absl::DataLossError(absl::StrFormat("collection %d: its entry is unreadable%s", number,
                                                 RepairHint(impl_->options.directory)));
    };
    const std::unique_ptr<rocksdb::Iterator> at(
        open.db->NewIterator({}, open.handle(Family::kCollections)));
    // An entry, and then its state.
    std::optional<std::pair<CollectionNumber, CollectionEntry>> entry;
    for (at->SeekToFirst(); at->Valid(); at->Next()) {
      const auto key = DecodeCollectionKey(at->key());
      if (!key) return unreadable(0);
      if (!key->state) {
        if (entry) return unreadable(entry->first);
        auto decoded = DecodeEntry(at->value());
        if (!decoded) return unreadable(key->collection);
        entry.emplace(key->collection, std::move(*decoded));
        continue;
      }
      const auto state = DecodeState(at->value());
      if (!state || !entry || entry->first != key->collection) return unreadable(key->collection);
      if (entry->second.name) {
        collections.push_back(
            {key->collection, *std::move(entry->second.name), entry->second.config, *state});
      }
      entry.reset();
    }
    if (entry) return unreadable(entry->first);
    return ToStatus(at->status(), impl_->options.directory);
  });
  if (!read.ok()) return read;
  return collections;
}

absl::StatusOr<CollectionNumber> Store::CreateUnnamed(const CollectionConfig& config) {
  return impl_->Create({.name = std::nullopt, .config = config});
}

absl::StatusOr<CollectionNumber> Store::Create(std::string_view name,
                                               const CollectionConfig& config) {
  return impl_->Create({.name = std::string(name), .config = config});
}

absl::Status Store::Publish(CollectionNumber collection, std::string_view name) {
  const absl::StatusOr<CollectionEntry> before = impl_->ReadEntry(collection);
  if (!before.ok()) return before.status();
  CollectionEntry entry = *before;
  entry.name = std::string(name);
  return impl_->PutEntry(collection, entry, *before);
}

absl::Status Store::Drop(CollectionNumber collection) {
  const absl::StatusOr<CollectionEntry> entry = impl_->ReadEntry(collection);
  if (!entry.ok()) return entry.status();
  return impl_->Drop(collection, *entry);
}

absl::Status Store::Commit(StoreBatch batch, const std::function<StoreBatch()>& undo) {
  absl::Status status = impl_->Write(*batch.batch_, impl_->options.durability == Durability::kFsync,
                                     [&] { return std::move(*undo().batch_); });
  if (status.ok()) {
    // Counters for people: no other memory depends on them.
    impl_->commits.fetch_add(1, std::memory_order_relaxed);
    impl_->batch_bytes.fetch_add(batch.bytes(), std::memory_order_relaxed);
  }
  return status;
}

absl::Status Store::Sync() {
  return impl_->Use([&](Database& open) {
    const rocksdb::Status status = open.db->SyncWAL();
    return status.ok() ? absl::OkStatus() : impl_->Fail(status, nullptr);
  });
}

absl::Status Store::VisitIds(CollectionNumber collection, uint64_t begin, uint64_t end,
                             const VisitId& visit) const {
  const auto visit_entry = [&](RowName row, rocksdb::Slice value, uint32_t,
                               const std::string& name) {
    const auto id = DecodeId(value);
    if (id) return visit(row.row, *id);
    return absl::DataLossError(absl::StrFormat("%s: the id of row %d is unreadable%s", name,
                                               row.row, RepairHint(impl_->options.directory)));
  };
  return impl_->Visit(Family::kIds, collection, begin, end, visit_entry);
}

absl::Status Store::VisitRows(CollectionNumber collection, uint64_t begin, uint64_t end,
                              const VisitRow& visit) const {
  std::vector<float> aligned;
  const auto visit_entry = [&](RowName row, rocksdb::Slice value, uint32_t dimension,
                               const std::string& name) {
    if (value.size() != size_t{dimension} * sizeof(float)) {
      return absl::DataLossError(absl::StrFormat(
          "%s: row %d has %d bytes, not the %d of dimension %d%s", name, row.row, value.size(),
          size_t{dimension} * sizeof(float), dimension, RepairHint(impl_->options.directory)));
    }
    const char* data = value.data();
    if (reinterpret_cast<uintptr_t>(data) % alignof(float) != 0) {
      aligned.resize(dimension);
      std::memcpy(aligned.data(), data, value.size());
      data = reinterpret_cast<const char*>(aligned.data());
    }
    return visit(row.row, {reinterpret_cast<const float*>(data), dimension});
  };
  return impl_->Visit(Family::kRows, collection, begin, end, visit_entry);
}

StoreStatistics Store::statistics() const {
  const auto ticker = [&](rocksdb::Tickers name) {
    return impl_->statistics->getTickerCount(name);
  };
  StoreStatistics result;
  result.commits = impl_->commits.load(std::memory_order_relaxed);
  result.batch_bytes = impl_->batch_bytes.load(std::memory_order_relaxed);
  result.syncs = ticker(rocksdb::WAL_FILE_SYNCED);
  // What flushes and compactions write to blob files is in theirs.
  result.disk_bytes = ticker(rocksdb::WAL_FILE_BYTES) + ticker(rocksdb::FLUSH_WRITE_BYTES) +
                      ticker(rocksdb::COMPACT_WRITE_BYTES);

  const std::string path = DatabasePath(impl_->options.directory);
  std::vector<std::string> files;
  (void)impl_->options.env->GetChildren(path, &files);
  for (const std::string& file : files) {
    uint64_t bytes = 0;
    // A file may go meanwhile.
    if (impl_->options.env->GetFileSize(absl::StrCat(path, "/", file), &bytes).ok()) {
      result.live_bytes += bytes;
    }
  }

  const std::shared_lock shared(impl_->mutex);
  if (!impl_->database) return result;
  rocksdb::DB& db = *impl_->database->db;
  (void)db.GetIntProperty(rocksdb::DB::Properties::kNumRunningCompactions,
                          &result.compactions_running);
  (void)db.GetAggregatedIntProperty(rocksdb::DB::Properties::kEstimatePendingCompactionBytes,
                                    &result.compactions_pending_bytes);
  return result;
}

absl::Status Store::failure() const {
  if (!impl_->failed) return absl::OkStatus();
  const std::lock_guard failure_lock(impl_->failure_mutex);
  return impl_->failure;
}

const std::string& Store::directory() const { return impl_->options.directory; }

}  // namespace vexact

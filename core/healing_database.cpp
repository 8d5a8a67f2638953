#include "core/healing_database.h"

#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/listener.h>

#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/store_schema.h"

namespace vexact {
namespace {

using Clock = std::chrono::steady_clock;

// Calls `changed` when there may be more garbage than before.
class Listener : public rocksdb::EventListener {
 public:
  using Synced = std::function<void(std::chrono::nanoseconds)>;
  // Also calls `synced`, which may be empty, when the log was synced.
  Listener(std::function<void()> changed, Synced synced)
      : changed_(std::move(changed)), synced_(std::move(synced)) {}

  void OnCompactionCompleted(rocksdb::DB*, const rocksdb::CompactionJobInfo&) override {
    changed_();
  }
  // Rows that came to stay may replace others.
  void OnExternalFileIngested(rocksdb::DB*, const rocksdb::ExternalFileIngestionInfo&) override {
    changed_();
  }
  bool ShouldBeNotifiedOnFileIO() override { return synced_ != nullptr; }
  void OnFileSyncFinish(const rocksdb::FileOperationInfo& info) override {
    if (info.path.ends_with(".log")) synced_(info.duration);
  }
  // On a full disk RocksDB would go on by itself, without the store's undoing.
  void OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason, rocksdb::Status,
                            bool* auto_recovery) override {
    *auto_recovery = false;
  }

 private:
  const std::function<void()> changed_;
  const Synced synced_;
};

StoreOptions WithEnv(StoreOptions options) {
  if (options.env == nullptr) options.env = rocksdb::Env::Default();
  return options;
}

}  // namespace

rocksdb::WriteBatch DropBatch(CollectionNumber collection) {
  rocksdb::WriteBatch batch;
  (void)batch.Delete(Handle(Family::kCollections), CollectionKey(collection));
  (void)batch.Delete(Handle(Family::kCollections), StateKey(collection));
  (void)batch.Put(DroppedKey(collection), "");
  return batch;
}

HealingDatabase::HealingDatabase(StoreOptions options, DirectoryLock lock)
    : options_(WithEnv(std::move(options))),
      env_(options_.env),
      lock_(std::move(lock)),
      statistics_(rocksdb::CreateDBStatistics()),
      sweeper_([this](const auto& use) { return UseForSweeping(use); },
               options_.tuning.memtable_bytes / 2, options_.tuning.heal_every) {
  database_options_ = DatabaseOptions(&env_, options_.tuning.memtable_bytes);
  statistics_->set_stats_level(rocksdb::StatsLevel::kExceptHistogramOrTimers);
  database_options_.statistics = statistics_;
  database_options_.compaction_filter_factory = sweeper_.filter();
  database_options_.listeners.push_back(
      std::make_shared<Listener>([this] { sweeper_.LookForGarbage(); }, options_.on_sync));
}

void HealingDatabase::Close() {
  sweeper_.Stop();
  // A restart may find what is not undone.
  (void)Heal(/*at_once=*/true);
  if (!database_ || failed_) return;
  // The next start has no log to read then. Should this fail, the log has everything.
  (void)database_->db->Flush({}, database_->handles);
}

// ------------------------------------------------------------------------------------------- start

absl::Status HealingDatabase::Open() {
  absl::Status status = OpenToWrite();
  if (absl::IsResourceExhausted(status)) status = OpenToRead(status);
  if (!status.ok()) return status;
  if (status = ReadLeft(); !status.ok()) return status;
  if (!read_only_) {
    status = WriteUndos();
    if (absl::IsResourceExhausted(status)) status = OpenToRead(status);
  }
  if (status.ok() && !read_only_) sweeper_.Resume();
  return status;
}

absl::Status HealingDatabase::OpenToWrite() {
  auto opened = OpenDatabase(directory(), database_options_, DatabaseMode::kCreate);
  if (!opened.ok()) return opened.status();
  database_.emplace(std::move(*opened));
  if (absl::Status status = SyncDirectory(directory()); !status.ok()) return status;
  const auto version = ReadVersion(*database_, options_.tuning.schema, directory());
  if (!version.ok()) return version.status();
  return BringUp(*database_, *version, options_.tuning.schema, directory());
}

// REQUIRES: the disk is full, as `full` says.
absl::Status HealingDatabase::OpenToRead(const absl::Status& full) {
  database_.reset();
  auto opened = OpenDatabase(directory(), database_options_, DatabaseMode::kReadOnly);
  // Where not all of a database is there, there is nothing to be read.
  if (!opened.ok()) return full;
  database_.emplace(std::move(*opened));
  const auto version = ReadVersion(*database_, options_.tuning.schema, directory());
  if (!version.ok()) return version.status();
  // It would have to be brought up first.
  if (*version != options_.tuning.schema.version) return full;
  read_only_ = failed_ = true;
  failure_ = full;
  healed_at_ = Clock::now();
  return absl::OkStatus();
}

// What the last run has left: rows that are to be removed, and unnamed collections to be dropped.
absl::Status HealingDatabase::ReadLeft() {
  rocksdb::DB& db = *database_->db;
  std::vector<CollectionNumber> dropped;
  const std::unique_ptr<rocksdb::Iterator> marks(db.NewIterator({}));
  for (marks->Seek(kDroppedPrefix); marks->Valid() && marks->key().starts_with(kDroppedPrefix);
       marks->Next()) {
    rocksdb::Slice number = marks->key();
    number.remove_prefix(kDroppedPrefix.size());
    if (const auto collection = DecodeNumber(number)) dropped.push_back(*collection);
  }
  if (!marks->status().ok()) return ToStatus(marks->status(), directory());

  const std::unique_ptr<rocksdb::Iterator> entries(
      db.NewIterator({}, database_->handle(Family::kCollections)));
  for (entries->SeekToFirst(); entries->Valid(); entries->Next()) {
    const auto key = DecodeCollectionKey(entries->key());
    const auto entry = DecodeEntry(entries->value());
    if (!key || key->state || !entry || entry->name) continue;
    undos_.push_back(DropBatch(key->collection));
    dropped.push_back(key->collection);
  }
  if (!entries->status().ok()) return ToStatus(entries->status(), directory());
  for (const CollectionNumber collection : dropped) sweeper_.Remove(collection);
  return ReadCutOff();
}

// Rows of writes that were cut off, and their marks, also those that nothing is left of.
absl::Status HealingDatabase::ReadCutOff() {
  const std::unique_ptr<rocksdb::Iterator> marks(database_->db->NewIterator({}));
  for (marks->Seek(kIncomingPrefix); marks->Valid() && marks->key().starts_with(kIncomingPrefix);
       marks->Next()) {
    rocksdb::Slice number = marks->key();
    number.remove_prefix(kIncomingPrefix.size());
    const auto collection = DecodeNumber(number);
    const auto rows = collection ? CutOffRows(*database_, *collection) : std::nullopt;
    if (!rows) continue;
    rocksdb::WriteBatch undo;
    for (uint64_t row = rows->begin; row < rows->end; ++row) {
      (void)undo.Delete(Handle(Family::kIds), RowKey(*collection, row));
      (void)undo.Delete(Handle(Family::kRows), RowKey(*collection, row));
    }
    (void)undo.Delete(marks->key());
    undos_.push_back(std::move(undo));
  }
  return ToStatus(marks->status(), directory());
}

// --------------------------------------------------------------------------------------------- use

absl::Status HealingDatabase::UseFor(Purpose purpose, const Use& use) {
  while (true) {
    {
      const std::shared_lock shared(mutex_);
      if (!failed_ || (read_only_ && purpose == kReading)) return use(*database_);
    }
    if (absl::Status status = Heal(); !status.ok()) return status;
  }
}

bool HealingDatabase::UseForSweeping(const std::function<bool(Database&)>& use) {
  const std::shared_lock shared(mutex_);
  return !failed_ && database_ && use(*database_);
}

absl::Status HealingDatabase::Write(rocksdb::WriteBatch& batch, bool sync, const Undo& undo) {
  rocksdb::WriteOptions write;
  write.sync = sync;
  return ToWrite([&](Database& open) {
    const rocksdb::Status status = open.db->Write(write, &batch);
    return status.ok() ? absl::OkStatus() : Fail(status, undo);
  });
}

absl::Status HealingDatabase::Fail(const rocksdb::Status& status, const Undo& undo) {
  absl::Status error = ToStatus(status, directory());
  const std::lock_guard failure_lock(failure_mutex_);
  if (undo) undos_.push_back(undo());
  if (!failed_) failure_ = error;
  if (absl::IsDataLoss(error)) damaged_ = true;
  failed_ = true;
  return error;
}

absl::Status HealingDatabase::Heal(bool at_once) {
  if (!failed_) return absl::OkStatus();
  // Why there is nothing to be done now; OK when something is.
  const auto too_early = [&] {
    const std::lock_guard failure_lock(failure_mutex_);
    const bool early = !at_once && healed_at_ != Clock::time_point::min() &&
                       Clock::now() - healed_at_ < options_.tuning.heal_every;
    return early ? failure_ : absl::OkStatus();
  };
  if (absl::Status early = too_early(); !early.ok()) return early;
  sweeper_.Rest();
  const std::unique_lock alone(mutex_);
  if (!failed_) return absl::OkStatus();
  if (absl::Status early = too_early(); !early.ok()) return early;

  absl::Status healed = OpenAnew();
  const std::lock_guard failure_lock(failure_mutex_);
  healed_at_ = Clock::now();
  failure_ = healed;
  failed_ = !healed.ok();
  if (healed.ok() && !damaged_) sweeper_.Resume();
  return healed;
}

absl::Status HealingDatabase::OpenAnew() {
  // What can only be read stands in nobody's way, and is read until there is something better.
  if (!read_only_) database_.reset();
  auto opened = OpenDatabase(directory(), database_options_,
                             damaged_ ? DatabaseMode::kNoCompaction : DatabaseMode::kReadWrite);
  if (!opened.ok()) return opened.status();
  database_.emplace(std::move(*opened));
  read_only_ = false;
  return WriteUndos();
}

absl::Status HealingDatabase::WriteUndos() {
  rocksdb::WriteOptions write;
  write.sync = true;
  // Undoing twice is undoing once, should a later one fail.
  for (rocksdb::WriteBatch& undo : undos_) {
    const rocksdb::Status status = database_->db->Write(write, &undo);
    if (!status.ok()) return ToStatus(status, directory());
  }
  undos_.clear();
  return absl::OkStatus();
}

// ------------------------------------------------------------------------------------------- state

absl::Status HealingDatabase::failure() const {
  if (!failed_) return absl::OkStatus();
  const std::lock_guard failure_lock(failure_mutex_);
  return failure_;
}

StoreStatistics HealingDatabase::statistics() const {
  const auto ticker = [&](rocksdb::Tickers name) { return statistics_->getTickerCount(name); };
  StoreStatistics result;
  result.syncs = ticker(rocksdb::WAL_FILE_SYNCED);
  // What flushes and compactions write to blob files is in theirs.
  result.log_bytes = ticker(rocksdb::WAL_FILE_BYTES);
  result.flush_bytes = ticker(rocksdb::FLUSH_WRITE_BYTES);
  result.compaction_bytes = ticker(rocksdb::COMPACT_WRITE_BYTES);
  result.disk_bytes = result.log_bytes + result.flush_bytes + result.compaction_bytes;

  const std::string path = DatabasePath(directory());
  std::vector<std::string> files;
  (void)options_.env->GetChildren(path, &files);
  for (const std::string& file : files) {
    uint64_t bytes = 0;
    // A file may go meanwhile.
    if (options_.env->GetFileSize(absl::StrCat(path, "/", file), &bytes).ok()) {
      result.live_bytes += bytes;
      if (file.ends_with(".blob")) result.blob_bytes += bytes;
    }
  }

  const std::shared_lock shared(mutex_);
  if (!database_) return result;
  rocksdb::DB& db = *database_->db;
  (void)db.GetIntProperty(rocksdb::DB::Properties::kNumRunningCompactions,
                          &result.compactions_running);
  (void)db.GetAggregatedIntProperty(rocksdb::DB::Properties::kEstimatePendingCompactionBytes,
                                    &result.compactions_pending_bytes);
  return result;
}

}  // namespace vexact

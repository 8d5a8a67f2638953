#include "core/store_sweeper.h"

#include <rocksdb/compaction_filter.h>
#include <rocksdb/convenience.h>
#include <rocksdb/metadata.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace vexact {
namespace {

using Clock = std::chrono::steady_clock;

// Vectors of deleted rows stay in blob files until enough of them have come together: copying what
// lives then costs at most two bytes for each one that is freed, and at most half as much as lives
// is wasted.
constexpr double kGarbageShare = 1.0 / 3;

struct Garbage {
  uint64_t blob_bytes = 0, table_bytes = 0;
  uint64_t total_bytes = 0;  // of vectors, those that are none among them
};

uint64_t Property(const Database& database, const std::string& name) {
  uint64_t value = 0;
  (void)database.db->GetIntProperty(database.handle(Family::kRows), name, &value);
  return value;
}

// What a table leads to lies in blob files, or in itself if rows came to the database as tables.
bool HasVectors(const rocksdb::SstFileMetaData& table) {
  constexpr uint64_t kNoBlobs = 0;
  return table.oldest_blob_file_number == kNoBlobs && table.num_entries > table.num_deletions;
}

// Blob files know what compactions left of them for nothing. Tables of vectors do not know which of
// these are deleted; every deletion that is still there is taken for one of an average vector.
Garbage CountGarbage(const Database& database, const rocksdb::ColumnFamilyMetaData& rows) {
  Garbage garbage;
  for (const rocksdb::BlobMetaData& file : rows.blob_files) {
    garbage.blob_bytes += file.garbage_blob_bytes;
    garbage.total_bytes += file.total_blob_bytes;
  }
  uint64_t bytes = 0, vectors = 0;
  uint64_t deletions = Property(database, rocksdb::DB::Properties::kNumDeletesActiveMemTable) +
                       Property(database, rocksdb::DB::Properties::kNumDeletesImmMemTables);
  for (const rocksdb::LevelMetaData& level : rows.levels) {
    for (const rocksdb::SstFileMetaData& table : level.files) {
      deletions += table.num_deletions;
      if (!HasVectors(table)) continue;
      bytes += table.size;
      vectors += table.num_entries - table.num_deletions;
    }
  }
  garbage.total_bytes += bytes;
  if (vectors > 0) garbage.table_bytes = std::min(deletions, vectors) * (bytes / vectors);
  return garbage;
}

struct KeyRange {
  std::string first, last;

  bool Has(const rocksdb::SstFileMetaData& table) const {
    return first <= table.smallestkey && table.largestkey < last;
  }
};

// The ranges of the tables of sorted levels, which lead to all rows but the newest.
std::vector<KeyRange> TableRanges(const rocksdb::ColumnFamilyMetaData& rows) {
  std::vector<KeyRange> ranges;
  for (const rocksdb::LevelMetaData& level : rows.levels) {
    if (level.level == 0) continue;
    for (const rocksdb::SstFileMetaData& table : level.files) {
      ranges.push_back({table.smallestkey, table.largestkey});
    }
  }
  return ranges;
}

// Lets go of tables of vectors that have nothing but rows of the range, without reading them. What
// leads to blob files is left to compaction, which counts their garbage.
rocksdb::Status DeleteTables(Database& database, const KeyRange& range) {
  rocksdb::ColumnFamilyMetaData rows;
  database.db->GetColumnFamilyMetaData(database.handle(Family::kRows), &rows);
  for (const rocksdb::LevelMetaData& level : rows.levels) {
    if (level.level == 0) continue;  // these stay
    for (const rocksdb::SstFileMetaData& table : level.files) {
      if (range.Has(table) && !HasVectors(table)) return rocksdb::Status::OK();
    }
  }
  const rocksdb::Slice first = range.first, last = range.last;
  return rocksdb::DeleteFilesInRange(database.db.get(), database.handle(Family::kRows), &first,
                                     &last, /*include_end=*/false);
}

// Leaves out the rows and ids of some collections.
class DroppedFilter : public rocksdb::CompactionFilter {
 public:
  explicit DroppedFilter(std::vector<CollectionNumber> dropped) : dropped_(std::move(dropped)) {}

  const char* Name() const override { return "DroppedFilter"; }
  bool Filter(int, const rocksdb::Slice& key, const rocksdb::Slice&, std::string*,
              bool*) const override {
    const auto name = DecodeRowKey(key);
    return name && std::binary_search(dropped_.begin(), dropped_.end(), name->collection);
  }
  Decision FilterBlobByKey(int, const rocksdb::Slice& key, std::string*,
                           std::string*) const override {
    return Filter(0, key, {}, nullptr, nullptr) ? Decision::kRemove : Decision::kKeep;
  }

 private:
  const std::vector<CollectionNumber> dropped_;  // ascending
};

// Compacts down to the last level, where deleted keys disappear at last.
rocksdb::CompactRangeOptions CompactionOptions(std::atomic<bool>& canceled) {
  rocksdb::CompactRangeOptions options;
  options.exclusive_manual_compaction = false;
  options.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForceOptimized;
  options.canceled = &canceled;
  return options;
}

}  // namespace

// Knows the collections that have been dropped: numbers are never used again.
class StoreSweeper::DroppedFilterFactory : public rocksdb::CompactionFilterFactory {
 public:
  void Add(CollectionNumber dropped) {
    const std::lock_guard lock(mutex_);
    dropped_.insert(std::upper_bound(dropped_.begin(), dropped_.end(), dropped), dropped);
  }

  const char* Name() const override { return "DroppedFilterFactory"; }
  std::unique_ptr<rocksdb::CompactionFilter> CreateCompactionFilter(
      const rocksdb::CompactionFilter::Context& context) override {
    const std::lock_guard lock(mutex_);
    const auto family = static_cast<Family>(context.column_family_id);
    if (dropped_.empty() || (family != Family::kIds && family != Family::kRows)) return nullptr;
    return std::make_unique<DroppedFilter>(dropped_);
  }

 private:
  std::mutex mutex_;
  std::vector<CollectionNumber> dropped_;  // ascending; guarded by mutex_
};

StoreSweeper::StoreSweeper(Use use, uint64_t least_garbage, std::chrono::milliseconds retry_after)
    : use_(std::move(use)),
      least_garbage_(least_garbage),
      retry_after_(retry_after),
      filter_(std::make_shared<DroppedFilterFactory>()),
      thread_([this](const std::stop_token& stop) { Run(stop); }) {}

StoreSweeper::~StoreSweeper() { Stop(); }

std::shared_ptr<rocksdb::CompactionFilterFactory> StoreSweeper::filter() const { return filter_; }

void StoreSweeper::Remove(CollectionNumber dropped) {
  filter_->Add(dropped);
  const std::lock_guard lock(mutex_);
  dropped_.push_back(dropped);
  wake_.notify_one();
}

void StoreSweeper::LookForGarbage() {
  const std::lock_guard lock(mutex_);
  look_ = true;
  wake_.notify_one();
}

void StoreSweeper::Rest() {
  const std::lock_guard lock(mutex_);
  resting_ = true;
}

void StoreSweeper::Resume() {
  const std::lock_guard lock(mutex_);
  resting_ = false;
  wake_.notify_one();
}

void StoreSweeper::Stop() {
  Rest();
  thread_.request_stop();
  if (thread_.joinable()) thread_.join();
}

void StoreSweeper::Run(const std::stop_token& stop) {
  while (true) {
    std::optional<CollectionNumber> collection;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, stop, [&] { return !resting_ && (!dropped_.empty() || look_); });
      if (stop.stop_requested()) return;
      if (dropped_.empty()) {
        look_ = false;
      } else {
        collection = dropped_.front();
      }
    }
    // A compaction may be ended by Rest, or fail.
    const bool done =
        collection ? use_([&](Database& database) { return RemoveRows(database, *collection); })
                   : CollectGarbage(stop);
    {
      const std::lock_guard lock(mutex_);
      if (collection && done) dropped_.pop_front();
      look_ = look_ || collection || !done;
    }
    if (!done) Pause(stop, retry_after_);
  }
}

bool StoreSweeper::RemoveRows(Database& database, CollectionNumber collection) {
  const std::string begin = CollectionKey(collection), end = CollectionKey(collection + 1);
  const rocksdb::Slice from = begin, to = end;
  if (!DeleteTables(database, {begin, end}).ok()) return false;
  for (const Family family : {Family::kIds, Family::kRows}) {
    const rocksdb::Status compacted =
        database.db->CompactRange(CompactionOptions(resting_), database.handle(family), &from, &to);
    if (!compacted.ok()) return false;
  }
  // Synced, although it does not matter when: see DatabaseOptions.
  rocksdb::WriteOptions write;
  write.sync = true;
  return database.db->Delete(write, DroppedKey(collection)).ok();
}

// Copies what lives out of all blob files, and of tables of vectors into such, table by table, and
// so lets go of one after another.
bool StoreSweeper::CollectGarbage(const std::stop_token& stop) {
  rocksdb::ColumnFamilyMetaData rows;
  Garbage counted;
  const auto count = [&](Database& database) {
    database.db->GetColumnFamilyMetaData(database.handle(Family::kRows), &rows);
    counted = CountGarbage(database, rows);
    return true;
  };
  if (!use_(count)) return false;
  // What the last collection had to leave, the next one would leave again: rows of new tables.
  const uint64_t left = std::min(counted.blob_bytes, garbage_left_);
  const uint64_t collectable = counted.blob_bytes - left + counted.table_bytes;
  const auto enough = kGarbageShare * static_cast<double>(counted.total_bytes);
  if (collectable < least_garbage_ || static_cast<double>(collectable) < enough) return true;
  rocksdb::CompactRangeOptions compaction = CompactionOptions(resting_);
  compaction.blob_garbage_collection_policy = rocksdb::BlobGarbageCollectionPolicy::kForce;
  compaction.blob_garbage_collection_age_cutoff = 1.0;
  for (const KeyRange& range : TableRanges(rows)) {
    const Clock::time_point begin = Clock::now();
    const rocksdb::Slice first = range.first, last = range.last;
    const bool compacted = use_([&](Database& database) {
      return database.db->CompactRange(compaction, database.handle(Family::kRows), &first, &last)
          .ok();
    });
    if (!compacted) return false;
    // The disk is busy with this half of the time at most.
    Pause(stop, Clock::now() - begin);
    if (stop.stop_requested()) return false;
  }
  if (!use_(count)) return false;
  garbage_left_ = counted.blob_bytes;
  return true;
}

void StoreSweeper::Pause(const std::stop_token& stop, std::chrono::nanoseconds time) {
  std::unique_lock lock(mutex_);
  wake_.wait_for(lock, stop, time, [] { return false; });
}

}  // namespace vexact

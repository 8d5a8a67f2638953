// A store's database, held open over failures of the disk.
#pragma once

#include <rocksdb/statistics.h>
#include <rocksdb/write_batch.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "core/ingestion_env.h"
#include "core/store.h"
#include "core/store_database.h"
#include "core/store_directory.h"
#include "core/store_sweeper.h"

namespace vexact {

// The batch that takes a collection away and marks its rows to be removed.
rocksdb::WriteBatch DropBatch(CollectionNumber collection);

// A failed write leaves the database unusable: what reached the disk is unknown, and RocksDB takes
// no more writes. It is then closed and opened anew, which reads back what did reach the disk; the
// undo batches of all writes that failed are written first, and then work goes on.
//
// Opening needs room on the disk, for what recovery writes. Where there is none at the start, the
// database is opened to be read, and writing has failed from the start: the first write that finds
// room opens it anew.
//
// Thread safety: Open once, before all else; then every method may be called from any thread.
class HealingDatabase {
 public:
  HealingDatabase(StoreOptions options, DirectoryLock lock);
  HealingDatabase(const HealingDatabase&) = delete;
  HealingDatabase& operator=(const HealingDatabase&) = delete;

  // Brings the database up to the schema, drops the unnamed collections that the last run has left,
  // and removes the rows of writes that its end has cut off. RESOURCE_EXHAUSTED when the disk is
  // full and there is nothing that could be read.
  absl::Status Open();

  // Undoes what has failed, if that is possible by now. REQUIRES: Open succeeded, and nobody uses
  // it.
  void Close();

  // Both heal first what must be healed, or return why it cannot be. An error of `use` is returned.
  using Use = std::function<absl::Status(Database&)>;
  absl::Status Read(const Use& use) { return UseFor(kReading, use); }
  absl::Status ToWrite(const Use& use) { return UseFor(kWriting, use); }

  // Writes the batch as a whole. When that fails, `undo` is what takes it back.
  using Undo = std::function<rocksdb::WriteBatch()>;
  absl::Status Write(rocksdb::WriteBatch& batch, bool sync, const Undo& undo);

  // For a `use` of the above that has failed by itself: says so, before it returns.
  absl::Status Fail(const rocksdb::Status& status, const Undo& undo);

  // Why the last use failed; OK when it did not, or when it was opened anew since.
  absl::Status failure() const;

  // Compactions are zero while the database is not open.
  StoreStatistics statistics() const;

  const StoreOptions& options() const { return options_; }
  const std::string& directory() const { return options_.directory; }
  StoreSweeper& sweeper() { return sweeper_; }

 private:
  enum Purpose { kReading, kWriting };
  absl::Status UseFor(Purpose purpose, const Use& use);
  bool UseForSweeping(const std::function<bool(Database&)>& use);

  absl::Status OpenToWrite();
  absl::Status OpenToRead(const absl::Status& full);
  absl::Status ReadLeft();
  absl::Status ReadCutOff();

  // REQUIRES: `mutex_` is not held.
  absl::Status Heal(bool at_once = false);
  // REQUIRES: `mutex_` is held alone.
  absl::Status OpenAnew();
  absl::Status WriteUndos();

  StoreOptions options_;
  IngestionEnv env_;
  const DirectoryLock lock_;
  rocksdb::Options database_options_;
  std::shared_ptr<rocksdb::Statistics> statistics_;
  StoreSweeper sweeper_;

  // Orders healing against all use of the database: users hold it shared, and Heal alone. A user
  // that fails says so (failed_, undos_) before it lets go, so that whoever gets the mutex later
  // sees it: no write slips in between a failure and its undo. Writes that were under way at the
  // time may still succeed; they are of other collections, or of other rows, than the failed one.
  mutable std::shared_mutex mutex_;
  std::optional<Database> database_;  // guarded by mutex_; none while it cannot be opened
  // Guarded by mutex_: database_ can be read alone, and is as the last run has left it.
  bool read_only_ = false;

  // Set by whoever holds mutex_ shared, cleared by Heal, which holds it alone.
  std::atomic<bool> failed_ = false;
  mutable std::mutex failure_mutex_;  // guards what follows
  absl::Status failure_;
  std::chrono::steady_clock::time_point healed_at_ = std::chrono::steady_clock::time_point::min();
  // What follows is also read by who holds mutex_ alone.
  // Of writes that failed, and of what the last run has left.
  std::vector<rocksdb::WriteBatch> undos_;
  // Background work has met damage. It would meet it again and again, and stop all writing each
  // time: so it rests until the store is repaired.
  bool damaged_ = false;
};

}  // namespace vexact

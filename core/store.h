// The rows of collections on disk.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/collection_config.h"
#include "core/id.h"
#include "core/metric.h"

namespace rocksdb {
class Env;
class WriteBatch;
}  // namespace rocksdb

namespace vexact {

struct Database;

enum class Durability {
  kFsync,  // an acknowledged write is on the disk
  // It is with the operating system: a crash of the process loses nothing; a power cut the last
  // writes, and where it leaves a hole in the log, only a repair can tell that from damage.
  kAsync,
};

// Names a collection for as long as the store lives, whatever is dropped or created meanwhile.
using CollectionNumber = uint32_t;

// What changes with every write of a collection.
struct StoredState {
  Metric metric = Metric::kCosine;
  uint64_t sequence = 0;
  // The number of the next row that is added. No row ever gets a number that another had, so that a
  // number names a row's bits for ever.
  uint64_t next_row = 0;

  bool operator==(const StoredState&) const = default;
};

struct StoredCollection {
  CollectionNumber number = 0;
  std::string name;
  CollectionConfig config;  // as created
  StoredState state;
};

// Changes that happen together or not at all.
class StoreBatch {
 public:
  // `expected_bytes`: of what will be put in, about.
  explicit StoreBatch(size_t expected_bytes = 0);
  ~StoreBatch();
  StoreBatch(StoreBatch&&) noexcept;
  StoreBatch& operator=(StoreBatch&&) noexcept;

  void PutRow(CollectionNumber collection, uint64_t row, IdView id, std::span<const float> vector);
  void DeleteRow(CollectionNumber collection, uint64_t row);
  void PutState(CollectionNumber collection, const StoredState& state);

  // Of the vectors and ids put in.
  uint64_t bytes() const { return bytes_; }

 private:
  friend class Store;
  std::unique_ptr<rocksdb::WriteBatch> batch_;
  uint64_t bytes_ = 0;
};

// A row to be stored.
struct NewRow {
  uint64_t row = 0;
  IdView id;
  std::span<const float> vector;
};

// What a version of this program expects to find. A store of an older version is brought up to this
// one, step by step; one of a newer version is refused.
struct StoreSchema {
  // Changes what it likes in the database, and leaves the last changes in the batch, which is
  // written together with the new version. It runs anew after a crash before that.
  using Migration = std::function<absl::Status(Database& database, rocksdb::WriteBatch& last)>;

  uint32_t version = 1;
  std::vector<Migration> migrations;  // [i] leads from version i + 1 to i + 2
};

// For tests: what is otherwise fixed.
struct StoreTuning {
  StoreSchema schema = {};
  // Rows pass through memory on their way from the log to their files: two pieces of this size, one
  // that fills while the other is written.
  uint64_t memtable_bytes = uint64_t{32} << 20;
  // Rows of so many bytes are worth tables of their own (CommitRows), which take some syncs more.
  uint64_t bulk_bytes = uint64_t{4} << 20;
  // After a failure the database is opened anew at most this often: that reads its log again.
  std::chrono::milliseconds heal_every = std::chrono::seconds(1);
};

struct StoreOptions {
  // Created where it is missing, but not its parents.
  std::string directory;
  Durability durability = Durability::kFsync;
  // Told how long each sync of the log took, from the thread that synced; must be quick.
  std::function<void(std::chrono::nanoseconds)> on_sync = nullptr;
  // For tests: where files are; the machine's own when null. Must outlive the store.
  rocksdb::Env* env = nullptr;
  StoreTuning tuning = {};
};

// What the store has written since it was opened.
struct StoreStatistics {
  uint64_t commits = 0, syncs = 0;
  uint64_t batch_bytes = 0;  // rows and ids as they were handed in
  // Written to the log, to files of rows that come from memory, and by compactions.
  uint64_t log_bytes = 0, flush_bytes = 0, compaction_bytes = 0;
  uint64_t disk_bytes = 0;  // all of it
  uint64_t compactions_running = 0, compactions_pending_bytes = 0;
  uint64_t live_bytes = 0;  // on the disk now
  uint64_t blob_bytes = 0;  // of these, files of nothing but vectors
};

// One database in one directory, of one process.
//
// Errors: RESOURCE_EXHAUSTED when the disk is full, UNAVAILABLE when reading or writing failed
// otherwise (both may pass, and the store then goes on by itself), DATA_LOSS when what was read is
// not what was written, FAILED_PRECONDITION when the directory is in use, or of a newer version.
// Messages name the directory or file.
//
// Thread safety: every method may be called from any thread.
class Store {
 public:
  static absl::StatusOr<std::unique_ptr<Store>> Open(const StoreOptions& options);
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  // By number.
  absl::StatusOr<std::vector<StoredCollection>> Collections() const;

  // A collection that nobody has named yet lives as long as the store is open, unless Publish names
  // it: what a crash leaves of it is removed at the next Open.
  absl::StatusOr<CollectionNumber> CreateUnnamed(const CollectionConfig& config);
  absl::Status Publish(CollectionNumber collection, std::string_view name);
  // Both at once.
  absl::StatusOr<CollectionNumber> Create(std::string_view name, const CollectionConfig& config);

  // At once for readers; its space on the disk is freed soon, in the background.
  absl::Status Drop(CollectionNumber collection);

  // Writes the batch; under kFsync it is on the disk on return. Calls from several threads share
  // their syncs. When it fails, what reached the disk is unknown: `undo`, which must take every
  // change of the batch back, is applied before anything else is written; no later commit succeeds
  // before it.
  absl::Status Commit(StoreBatch batch, const std::function<StoreBatch()>& undo);

  // The same for a batch and, together with it, rows to be added to a collection: in ascending
  // order of numbers that no row had. They are written once, and not to the log; under kAsync, too,
  // they are on the disk on return. For bulk_bytes() or more.
  absl::Status CommitRows(CollectionNumber collection, std::span<const NewRow> rows,
                          StoreBatch rest, const std::function<StoreBatch()>& undo);
  uint64_t bulk_bytes() const;

  // Everything committed so far is on the disk on return, also under kAsync.
  absl::Status Sync();

  // Calls visit in ascending order of row numbers, for rows in [begin, end), until it returns an
  // error, which is returned.
  using VisitId = std::function<absl::Status(uint64_t row, IdView id)>;
  using VisitRow = std::function<absl::Status(uint64_t row, std::span<const float> vector)>;
  absl::Status VisitIds(CollectionNumber collection, uint64_t begin, uint64_t end,
                        const VisitId& visit) const;
  // The vectors are valid, and aligned for float, during the call of visit only.
  absl::Status VisitRows(CollectionNumber collection, uint64_t begin, uint64_t end,
                         const VisitRow& visit) const;

  StoreStatistics statistics() const;
  // Why the last use of the database failed; OK when it did not, or when it was opened anew since.
  absl::Status failure() const;
  const std::string& directory() const;

 private:
  struct Impl;
  explicit Store(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace vexact

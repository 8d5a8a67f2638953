// A named set of vectors of one dimension: writes in order, searches over consistent snapshots.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "core/activity.h"
#include "core/codes_folder.h"
#include "core/collection_config.h"
#include "core/collection_loader.h"
#include "core/engine.h"
#include "core/id.h"
#include "core/layout_care.h"
#include "core/metric.h"
#include "core/restored_rows.h"
#include "core/row_table.h"
#include "core/snapshot.h"
#include "core/write_group.h"

namespace vexact {

inline constexpr uint32_t kMaxDimension = 65'536;
inline constexpr uint32_t kMaxK = 10'000;
inline constexpr uint32_t kMaxQueries = 4'096;
inline constexpr uint32_t kMaxPageSize = 10'000;

struct UpsertResult {
  uint64_t added = 0, replaced = 0, sequence = 0;
};

struct DeleteResult {
  uint64_t deleted = 0, missing = 0, sequence = 0;
};

struct Query {
  std::variant<std::span<const float>, Id> target;
  // With an id: leave that row out of the answer.
  bool exclude_self = false;
};

struct SearchOptions {
  uint32_t k = 10;
  std::optional<Metric> metric = std::nullopt;  // the collection's own when absent
  EngineKind engine = EngineKind::kScan;
};

// INVALID_ARGUMENT unless there are 1 to kMaxQueries queries and k is from 1 to kMaxK.
absl::Status CheckSearch(size_t queries, const SearchOptions& options);

struct SearchResult {
  // Keeps the rows that the hits refer to.
  Snapshot snapshot;
  Metric metric = Metric::kCosine;
  uint64_t rows_compared = 0;  // live rows
  SearchStatistics statistics;
  // One per query, in the order of the queries; each nearest first, equal scores by ascending id.
  std::vector<std::vector<ScoredRow>> hits;
};

// A search whose queries have passed the collection's door, over the state of one moment. Scan
// carries it out, whole or in parts, alone or together with others.
class PreparedSearch {
 public:
  size_t queries() const { return queries_.size(); }
  const SearchOptions& options() const { return options_; }

  // Whether one scan may answer queries of both: they are over the same state, and ask for the same
  // number of rows by the same metric and engine.
  bool CanShareScan(const PreparedSearch& other) const;

  // Complete when every query was scanned. The statistics are this search's share of those of the
  // scans that it was part of, by the number of queries.
  const SearchResult& result() const { return result_; }
  SearchResult Take() && { return std::move(result_); }

 private:
  friend class Collection;
  SearchOptions options_;
  std::vector<EngineQuery> queries_;
  std::vector<std::vector<float>> normalized_;  // what queries view that had to be made
  SearchResult result_;
};

// Points that have passed the collection's door. They are only viewed: they must stay until the
// upsert is done.
class CheckedPoints {
 public:
  size_t size() const { return points_.size(); }

 private:
  friend class Collection;
  std::span<const PointView> points_;
  std::vector<double> dots_;  // of the vectors with themselves, as they were handed in
};

// The queries [begin, end) of a search.
struct SearchPart {
  PreparedSearch* search;
  size_t begin, end;
};

// Stored rows; `snapshot` keeps them.
struct PointsResult {
  Snapshot snapshot;
  std::vector<RowRef> points;
  // Scroll only: the id to continue after, when there are more.
  std::optional<Id> next;
};

struct NormStatistics {
  double min = 0, mean = 0, max = 0;
  uint64_t unit_rows = 0, zero_rows = 0;
};

// What maintenance did, for a log.
struct MaintenanceEvent {
  enum Kind {
    kTrained,  // a layout was trained and is that of new rows
    kKept,     // a layout was trained and the one in use stays
    kRecoded,  // every row is coded under the layout of new rows
    kRebuilt,  // codes were made anew at the start, because files were damaged: `status` says how
    kFailed,   // it could not be maintained, by `status`; it is tried again
  };
  Kind kind;
  uint64_t rows = 0;  // trained on, or coded anew
  absl::Duration time = absl::ZeroDuration();
  absl::Status status = absl::OkStatus();
};

class Collection;
// Called from the thread that maintains.
using MaintenanceReport = std::function<void(const Collection&, const MaintenanceEvent&)>;

struct CollectionInfo {
  CollectionConfig config;  // with the metric of now
  uint64_t rows = 0, dead_rows = 0, sequence = 0;
};

struct MemoryUse {
  uint64_t rows_bytes = 0, codes_bytes = 0, ids_bytes = 0, overhead_bytes = 0;

  MemoryUse& operator+=(const MemoryUse& other) {
    rows_bytes += other.rows_bytes;
    codes_bytes += other.codes_bytes;
    ids_bytes += other.ids_bytes;
    overhead_bytes += other.overhead_bytes;
    return *this;
  }
};

// Every error is INVALID_ARGUMENT unless said otherwise, its message names the row or query (from
// 0), the value and the limit, and nothing has changed. A write may fail with RESOURCE_EXHAUSTED
// when there is no room for it, in memory or on the disk, and with UNAVAILABLE when the disk fails.
//
// A write that returned is on the disk, as far as the store's durability goes, and visible; one
// that failed is neither.
//
// Thread safety: every method may be called from any thread. Writes are applied one after another,
// those that wait become durable and visible together; a search takes a snapshot without a lock, is
// never blocked by a write, and sees each write whole or not at all.
class Collection {
 public:
  // INVALID_ARGUMENT unless the dimension is in [1, kMaxDimension].
  static absl::Status Validate(const CollectionConfig& config);

  // REQUIRES: Validate(config) is OK. `workers` must outlive the collection; `name` is used in
  // messages. `on_work` is called when a write or a search found something for Maintain to do, from
  // its thread; it must be quick. The collection is empty, as `stored`'s is.
  Collection(std::string name, const CollectionConfig& config, Workers& workers,
             std::function<void()> on_work = nullptr, const CollectionTuning& tuning = {},
             const StoredIn& stored = {});
  ~Collection();

  // Brings back what the store has of a collection. Errors as Load's (collection_loader.h).
  static absl::StatusOr<std::unique_ptr<Collection>> Open(const StoredCollection& stored,
                                                          Store& store, Workers& workers,
                                                          const LoadOptions& options = {},
                                                          std::function<void()> on_work = nullptr,
                                                          const CollectionTuning& tuning = {});

  // Takes the collection out of its store, and its files away. It goes on in memory, for those who
  // still hold it. Errors as Store::Drop's: then it stays what it is.
  absl::Status Drop();

  // Gives its name to what is in the store, where it had none. Errors as Store::Publish's.
  absl::Status Publish();

  const std::string& name() const { return table_.name; }
  uint32_t dimension() const { return table_.config.dimension; }
  Normalization normalization() const { return table_.config.normalization; }

  // Stores points, replacing those whose ids exist; all or nothing. At least one point, no id
  // twice.
  absl::StatusOr<UpsertResult> Upsert(std::span<const PointView> points);

  // The same in two steps, so that the next points may be checked while the disk works for others.
  // Check finds what is wrong with points by themselves. UpsertInOrder carries out several upserts,
  // at least one, in this order; they share what making them durable costs. The first that fails
  // ends it, those behind it are not carried out: there is a result for each up to that one.
  absl::StatusOr<CheckedPoints> Check(std::span<const PointView> points) const;
  std::vector<absl::StatusOr<UpsertResult>> UpsertInOrder(std::span<const CheckedPoints> requests);

  // Deletes points; unknown ids are counted as missing. At least one id, none twice.
  absl::StatusOr<DeleteResult> Delete(std::span<const IdView> ids);

  // FAILED_PRECONDITION for kCosine while zero rows are stored, naming the first.
  absl::Status SetMetric(Metric metric);

  // At least one id; NOT_FOUND names the first that is not stored.
  absl::StatusOr<PointsResult> Get(std::span<const IdView> ids) const;

  // Up to `page_size` (1 to kMaxPageSize) points in id order, from the first after `after`, or from
  // the beginning.
  absl::StatusOr<PointsResult> Scroll(std::optional<IdView> after, uint32_t page_size) const;

  // 1 to kMaxQueries queries, k from 1 to kMaxK. NOT_FOUND names a query's unknown id;
  // FAILED_PRECONDITION for kCosine while zero rows are stored; CANCELLED and DEADLINE_EXCEEDED by
  // `interrupt`.
  absl::StatusOr<SearchResult> Search(std::span<const Query> queries, const SearchOptions& options,
                                      const Interrupt& interrupt = {}) const;

  // The same in two steps, so that a scan may answer several searches at once; each gets what it
  // would get alone, bit for bit. Prepare finds all errors but those by `interrupt`, and takes the
  // snapshot; the vectors of the queries must stay until the search is done.
  absl::StatusOr<PreparedSearch> Prepare(std::span<const Query> queries,
                                         const SearchOptions& options) const;
  // REQUIRES: there are parts, of searches that Prepare of this collection gave and that can share
  // a scan; no query was scanned before. When it fails, none of them has been.
  absl::Status Scan(std::span<const SearchPart> parts, const Interrupt& interrupt = {}) const;

  // Rewrites full segments of which more than a quarter is dead, joining small ones on the way,
  // until there is none. The rows keep their ids, bits and sequence number; searches go on over
  // what they have seen, writers wait only while the index is changed. Returns the number of dead
  // rows that were given up. RESOURCE_EXHAUSTED when memory for a new segment cannot be had.
  absl::StatusOr<uint64_t> Compact(const std::stop_token& stop = {});

  // Trains a layout on the rows of now and makes it that of new rows, if it promises at least a
  // tenth less than the one in use. Returns whether it did. FAILED_PRECONDITION below one group of
  // rows.
  absl::StatusOr<bool> TrainLayout(const std::stop_token& stop = {});

  // Makes `layout` that of new rows, as it is. REQUIRES: its dimension is the collection's.
  void SetLayout(TrainedLayout layout);

  // Codes all rows under the layout of new rows, segment by segment, while searches and writes go
  // on. Needs memory for one segment's codes at a time. CANCELLED by `stop`: what is done is kept.
  absl::Status Recode(const std::stop_token& stop = {});

  // Writes the codes that the disk does not have yet, of full segments, and removes what is stale
  // there. Nothing in memory alone. CANCELLED by `stop`; RESOURCE_EXHAUSTED and UNAVAILABLE when
  // the disk fails.
  absl::Status SaveCodes(const std::stop_token& stop = {});

  // Whatever of these is due: full segments get huge pages; the layout is trained when there are
  // enough rows, again after fourfold growth, and when something was written and many more rows
  // than before pass the first slab. Codes are saved when nothing was written for a second, so that
  // a bulk load, which trains and codes anew as it grows, writes them once; or a minute after they
  // could have been. Gives way to searches. For the background.
  absl::Status Maintain(const std::stop_token& stop = {}, const MaintenanceReport& report = {});

  // How long from now the collection will be quiet, if nothing is written any more; not above 0
  // when it is.
  absl::Duration QuietIn() const;

  // How long from now Maintain should be called at the latest, whether or not on_work was; nothing
  // when that is not needed.
  std::optional<absl::Duration> MaintainAgainAfter() const;

  // What was damaged on the disk when the collection was opened, and is made anew.
  const Rebuilt& rebuilt() const { return rebuilt_; }

  // For a collection that is made of rows which another one held. REQUIRES: as RestoredRows'.
  RestoredRows Restore() { return RestoredRows(table_, care_, stored_); }

  // All rows of now, for who reads every one.
  Snapshot state() const { return table_.state.Take(); }

  CollectionInfo info() const;
  LayoutInfo layout() const;
  ActivityTotals activity() const { return activity_.totals(); }
  // One pass over a number per row.
  NormStatistics Norms() const;
  MemoryUse memory() const;

 private:
  // Has the writes carried out, with others that wait.
  void Pass(std::span<Write* const> writes);
  // The outcome of those that are not refused on their own.
  absl::Status CarryOut(std::span<Write* const> writes) noexcept;

  // The snapshot of a search, and the rows of the queries that name one, both of the same moment.
  absl::Status TakeSnapshot(std::span<const Query> queries, Snapshot& snapshot,
                            std::vector<RowRef>& stored) const;
  // Fills in the queries as engines take them.
  absl::Status PrepareQueries(std::span<const Query> queries, std::span<const RowRef> stored,
                              PreparedSearch& search) const;
  absl::Status NotStored(IdView id) const;

  // Says that Maintain has something to do, when it has.
  void ReportWork() const;
  // Of full segments that writes have filled.
  absl::Status UseHugePages(const std::stop_token& stop);
  bool IsSaveDue() const;
  absl::Status SaveCodesWhenQuiet(const std::stop_token& stop);

  const std::function<void()> on_work_;
  // One compaction, training or recoding at a time; taken before the table's write_mutex.
  std::mutex maintain_mutex_;
  StoredIn stored_;  // guarded by the table's write_mutex
  // Null in memory alone.
  const std::unique_ptr<CodesFolder> codes_;
  // When something was last written, and since when codes wait to be saved (0: they do not), in
  // nanoseconds of the system's clock.
  std::atomic<int64_t> written_at_ = 0, unsaved_since_ = 0;
  // Full segments that ReportWork has seen.
  mutable std::atomic<size_t> full_seen_ = 0;
  Rebuilt rebuilt_;
  RowTable table_;
  WriteQueue<Write> writes_;
  const std::unique_ptr<Engine> engines_[std::size(kEngineKinds)];
  mutable Activity activity_;
  // A search tells it what it saw, and is const for its caller all the same.
  mutable LayoutCare care_;
};

}  // namespace vexact

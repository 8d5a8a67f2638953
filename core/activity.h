// What has been done with a collection, for people who watch it.
#pragma once

#include <atomic>
#include <cstdint>

#include "core/engine.h"

namespace vexact {

// Since the collection was created or opened. Only what succeeded.
struct ActivityTotals {
  uint64_t scans = 0, queries = 0;  // a scan is of one query or many
  uint64_t rows_compared = 0;       // live rows, once for each query
  uint64_t rows_refined = 0, rows_rescored = 0, bytes_read = 0;
  uint64_t writes = 0;  // requests: upserts and deletions
  uint64_t rows_added = 0, rows_replaced = 0, rows_deleted = 0;
};

// Thread safety: every method may be called from any thread. The totals that totals() gives are
// each right, but need not be of one moment.
class Activity {
 public:
  void AddScan(uint64_t queries, uint64_t live_rows, const SearchStatistics& statistics) {
    Add(scans_, 1);
    Add(queries_, queries);
    Add(rows_compared_, queries * live_rows);
    Add(rows_refined_, statistics.rows_refined);
    Add(rows_rescored_, statistics.rows_rescored);
    Add(bytes_read_, statistics.bytes_read);
  }

  void AddWrite(uint64_t added, uint64_t replaced, uint64_t deleted) {
    Add(writes_, 1);
    Add(rows_added_, added);
    Add(rows_replaced_, replaced);
    Add(rows_deleted_, deleted);
  }

  ActivityTotals totals() const {
    return {Get(scans_),         Get(queries_),     Get(rows_compared_), Get(rows_refined_),
            Get(rows_rescored_), Get(bytes_read_),  Get(writes_),        Get(rows_added_),
            Get(rows_replaced_), Get(rows_deleted_)};
  }

 private:
  // relaxed: no other memory depends on them.
  using Counter = std::atomic<uint64_t>;
  static void Add(Counter& counter, uint64_t more) {
    counter.fetch_add(more, std::memory_order_relaxed);
  }
  static uint64_t Get(const Counter& counter) { return counter.load(std::memory_order_relaxed); }

  Counter scans_ = 0, queries_ = 0, rows_compared_ = 0;
  Counter rows_refined_ = 0, rows_rescored_ = 0, bytes_read_ = 0;
  Counter writes_ = 0, rows_added_ = 0, rows_replaced_ = 0, rows_deleted_ = 0;
};

}  // namespace vexact

// What a server has done since it started, and what it is doing now.
//
// Counters only grow, until the server is started again: a rate is the difference of two of these
// over the difference of their uptimes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "vexact/types.h"

namespace vexact::client {

// counts[i] observations were at most bounds[i] and above the bound before it; the last count is of
// those above all bounds.
struct Histogram {
  std::vector<double> bounds;
  std::vector<uint64_t> counts;
  double sum = 0;

  uint64_t count() const;
  // Absent when there are no observations.
  std::optional<double> Mean() const;
  // What a share `q` of the observations does not exceed, as Prometheus estimates it: evenly
  // distributed between two bounds, and the last bound for those above it.
  std::optional<double> Quantile(double q) const;
  // Takes those away that were there before, or nothing where `before` cannot have been.
  void Subtract(const Histogram& before);
  // REQUIRES: the same bounds, or none so far.
  void Add(const Histogram& other);
};

struct MethodStatistics {
  struct Calls {
    absl::StatusCode code;
    uint64_t count;
  };
  std::string method;        // such as "Search/Search"
  std::vector<Calls> calls;  // that ended, by code; those that occurred
  Histogram seconds;         // from a request's coming to its answer
};

struct RefusalStatistics {
  std::string reason;
  uint64_t count = 0;
};

struct CollectionStatistics {
  std::string name;
  uint32_t dimension = 0;
  uint64_t rows = 0, dead_rows = 0;
  MemoryUse memory;
  uint64_t scans = 0, queries = 0;
  // Over all queries: live rows, those read beyond the first slab of their codes, those scored.
  uint64_t rows_compared = 0, rows_refined = 0, rows_rescored = 0;
  uint64_t bytes_read = 0;
  uint64_t writes = 0;  // upserts and deletions
  uint64_t rows_added = 0, rows_replaced = 0, rows_deleted = 0;
  // Rows that have codes, and those coded under the layout of new rows.
  uint64_t layout_rows = 0, layout_coded_rows = 0;
};

struct StoreStatistics {
  uint64_t store_bytes = 0, blob_bytes = 0, codes_bytes = 0, snapshot_bytes = 0;  // of files now
  uint64_t received_bytes = 0;                                    // rows and ids of writes
  uint64_t log_bytes = 0, flush_bytes = 0, compaction_bytes = 0;  // written for them
  uint64_t commits = 0;    // groups of writes that became durable together
  Histogram sync_seconds;  // of the log
  uint64_t compactions_running = 0, compactions_pending_bytes = 0;
  std::string failure;  // why the disk fails now; empty when it does not
};

struct MaintenanceStatistics {
  std::string kind;
  uint64_t times = 0, rows = 0;
  absl::Duration time;
};

struct Statistics {
  std::string version, isa;
  uint32_t threads = 0;
  absl::Duration uptime;
  uint64_t resident_bytes = 0, open_files = 0;  // of the process
  absl::Duration cpu_time;
  std::vector<MethodStatistics> methods;    // by name
  std::vector<RefusalStatistics> refusals;  // by reason
  uint64_t waiting_queries = 0;             // now
  Histogram wait_seconds, scan_queries, scan_seconds;
  std::vector<CollectionStatistics> collections;  // by name
  uint64_t damaged_collections = 0;
  std::optional<StoreStatistics> store;  // absent where collections live in memory alone
  std::vector<MaintenanceStatistics> maintenance;
};

}  // namespace vexact::client

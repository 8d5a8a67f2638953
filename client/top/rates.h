// What a server does a second, from two looks at its statistics.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "vexact/statistics.h"

namespace vexact::client {

struct CollectionRates {
  std::string name;
  uint64_t rows = 0, memory_bytes = 0;
  // A second:
  double queries = 0, scanned_bytes = 0, writes = 0;
  std::optional<double> refined;  // share of the rows compared; absent without a query
  double coded = 1;               // share of the rows that are coded under the layout of new rows
};

struct StoreRates {
  double commits = 0, syncs = 0, written_bytes = 0;  // a second
  std::optional<double> sync_seconds;                // the mean
  uint64_t compactions = 0, compactions_pending_bytes = 0;
  std::string failure;
};

struct Rates {
  absl::Duration interval;
  // A second:
  double calls = 0, failed = 0, refused = 0, queries = 0, scans = 0, writes = 0;
  double processors = 0;  // that the server kept busy
  // Seconds from a request's coming to its answer, and of its waiting; absent where there was none.
  std::optional<double> p50, p99, wait_p99;
  std::optional<double> batch;  // queries of a scan, the mean
  // Those that search or write most come first.
  std::vector<CollectionRates> collections;
  std::optional<StoreRates> store;
};

// Between two looks, or, where the server was started again after the first one, since then. The
// calls that look are not counted.
Rates RatesBetween(const Statistics& before, const Statistics& after);

}  // namespace vexact::client

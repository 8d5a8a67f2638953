#include "client/top/rates.h"

#include <algorithm>
#include <string_view>

namespace vexact::client {
namespace {

constexpr std::string_view kLook = "Server/GetStatistics";

// How much a counter grew. One that is smaller than before was begun anew.
uint64_t Growth(uint64_t before, uint64_t after) {
  return after >= before ? after - before : after;
}

// Counts per second of the interval.
class PerSecond {
 public:
  explicit PerSecond(absl::Duration interval) : seconds_(absl::ToDoubleSeconds(interval)) {}
  double operator()(uint64_t before, uint64_t after) const {
    return seconds_ > 0 ? static_cast<double>(Growth(before, after)) / seconds_ : 0;
  }

 private:
  double seconds_;
};

template <typename Item, typename Key>
const Item* FindBy(const std::vector<Item>& items, Key Item::*key, const Key& value) {
  const auto found = std::ranges::find(items, value, key);
  return found == items.end() ? nullptr : &*found;
}

void AddCalls(const Statistics& before, const Statistics& after, const PerSecond& per_second,
              Rates& rates) {
  Histogram seconds;
  for (const MethodStatistics& method : after.methods) {
    if (method.method == kLook) continue;
    const MethodStatistics* earlier =
        FindBy(before.methods, &MethodStatistics::method, method.method);
    for (const MethodStatistics::Calls& calls : method.calls) {
      const MethodStatistics::Calls* had =
          earlier == nullptr ? nullptr
                             : FindBy(earlier->calls, &MethodStatistics::Calls::code, calls.code);
      const double rate = per_second(had == nullptr ? 0 : had->count, calls.count);
      rates.calls += rate;
      if (calls.code != absl::StatusCode::kOk) rates.failed += rate;
    }
    Histogram during = method.seconds;
    if (earlier != nullptr) during.Subtract(earlier->seconds);
    seconds.Add(during);
  }
  rates.p50 = seconds.Quantile(0.5);
  rates.p99 = seconds.Quantile(0.99);
  for (const RefusalStatistics& refusal : after.refusals) {
    const RefusalStatistics* earlier =
        FindBy(before.refusals, &RefusalStatistics::reason, refusal.reason);
    rates.refused += per_second(earlier == nullptr ? 0 : earlier->count, refusal.count);
  }
}

CollectionRates RatesOf(const CollectionStatistics& before, const CollectionStatistics& after,
                        const PerSecond& per_second) {
  const MemoryUse& memory = after.memory;
  CollectionRates rates{
      .name = after.name,
      .rows = after.rows,
      .memory_bytes =
          memory.rows_bytes + memory.codes_bytes + memory.ids_bytes + memory.overhead_bytes,
      .queries = per_second(before.queries, after.queries),
      .scanned_bytes = per_second(before.bytes_read, after.bytes_read),
      .writes = per_second(before.writes, after.writes),
      .refined = {},
  };
  const uint64_t compared = Growth(before.rows_compared, after.rows_compared);
  if (compared > 0) {
    rates.refined = static_cast<double>(Growth(before.rows_refined, after.rows_refined)) /
                    static_cast<double>(compared);
  }
  if (after.layout_rows > 0) {
    rates.coded =
        static_cast<double>(after.layout_coded_rows) / static_cast<double>(after.layout_rows);
  }
  return rates;
}

StoreRates RatesOf(const StoreStatistics& before, const StoreStatistics& after,
                   const PerSecond& per_second) {
  Histogram syncs = after.sync_seconds;
  syncs.Subtract(before.sync_seconds);
  const auto written = [](const StoreStatistics& store) {
    return store.log_bytes + store.flush_bytes + store.compaction_bytes;
  };
  return {.commits = per_second(before.commits, after.commits),
          .syncs = per_second(0, syncs.count()),
          .written_bytes = per_second(written(before), written(after)),
          .sync_seconds = syncs.Mean(),
          .compactions = after.compactions_running,
          .compactions_pending_bytes = after.compactions_pending_bytes,
          .failure = after.failure};
}

}  // namespace

Rates RatesBetween(const Statistics& before, const Statistics& after) {
  const bool again = after.uptime < before.uptime;
  const Statistics none;
  const Statistics& earlier = again ? none : before;
  Rates rates;
  rates.interval = after.uptime - earlier.uptime;
  const PerSecond per_second(rates.interval);
  AddCalls(earlier, after, per_second, rates);
  Histogram waits = after.wait_seconds, scans = after.scan_queries;
  waits.Subtract(earlier.wait_seconds);
  scans.Subtract(earlier.scan_queries);
  rates.wait_p99 = waits.Quantile(0.99);
  rates.batch = scans.Mean();
  rates.scans = per_second(0, scans.count());
  const double seconds = absl::ToDoubleSeconds(rates.interval);
  if (seconds > 0) {
    rates.processors = absl::ToDoubleSeconds(after.cpu_time - earlier.cpu_time) / seconds;
  }
  for (const CollectionStatistics& collection : after.collections) {
    const CollectionStatistics* had =
        FindBy(earlier.collections, &CollectionStatistics::name, collection.name);
    rates.collections.push_back(
        RatesOf(had == nullptr ? CollectionStatistics() : *had, collection, per_second));
    rates.queries += rates.collections.back().queries;
    rates.writes += rates.collections.back().writes;
  }
  std::ranges::stable_sort(rates.collections, [](const auto& a, const auto& b) {
    return std::pair(a.scanned_bytes, a.writes) > std::pair(b.scanned_bytes, b.writes);
  });
  if (after.store) {
    rates.store = RatesOf(earlier.store.value_or(StoreStatistics()), *after.store, per_second);
  }
  return rates;
}

}  // namespace vexact::client

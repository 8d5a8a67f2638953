#include "server/statistics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>

#include "absl/time/clock.h"
#include "core/kernel/kernel.h"
#include "server/convert.h"
#include "server/version.h"

namespace vexact::server {
namespace {

uint64_t Microseconds(const timeval& time) {
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000 + static_cast<uint64_t>(time.tv_usec);
}

void Fill(v1::ProcessStatistics& message) {
  // proc(5): the second number is that of resident pages.
  uint64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages >> pages;
  message.set_resident_bytes(pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE)));
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  message.set_cpu_us(Microseconds(usage.ru_utime) + Microseconds(usage.ru_stime));
  std::error_code error;
  const std::filesystem::directory_iterator files("/proc/self/fd", error);
  // Less the one that lists them.
  if (!error)
    message.set_open_files(static_cast<uint64_t>(std::distance(begin(files), end(files))) - 1);
}

// Prometheus counts up to a bound, this message from one bound to the next.
void Fill(const Metrics::Histogram& histogram, v1::Histogram& message) {
  uint64_t below = 0;
  for (const auto& bucket : histogram.bucket) {
    // The last bound is infinite, and not said.
    if (message.bounds_size() + 1 < static_cast<int>(histogram.bucket.size())) {
      message.add_bounds(bucket.upper_bound);
    }
    message.add_counts(bucket.cumulative_count - below);
    below = bucket.cumulative_count;
  }
  message.set_sum(histogram.sample_sum);
}

void Fill(const Metrics::Method& method, v1::MethodStatistics& message) {
  message.set_method(std::string(method.name));
  for (const auto& [code, count] : method.calls) {
    v1::CodeCount& calls = *message.add_calls();
    calls.set_code(static_cast<uint32_t>(code));
    calls.set_count(count);
  }
  Fill(method.seconds, *message.mutable_seconds());
}

void Fill(const Collection& collection, v1::CollectionStatistics& message) {
  const CollectionInfo info = collection.info();
  message.set_name(collection.name());
  message.set_dimension(collection.dimension());
  message.set_rows(info.rows);
  message.set_dead_rows(info.dead_rows);
  server::Fill(collection.memory(), *message.mutable_memory());
  const ActivityTotals activity = collection.activity();
  message.set_scans(activity.scans);
  message.set_queries(activity.queries);
  message.set_rows_compared(activity.rows_compared);
  message.set_rows_refined(activity.rows_refined);
  message.set_rows_rescored(activity.rows_rescored);
  message.set_bytes_read(activity.bytes_read);
  message.set_writes(activity.writes);
  message.set_rows_added(activity.rows_added);
  message.set_rows_replaced(activity.rows_replaced);
  message.set_rows_deleted(activity.rows_deleted);
  const LayoutInfo layout = collection.layout();
  message.set_layout_rows(layout.rows);
  message.set_layout_coded_rows(layout.coded_rows);
}

void Fill(const ServiceContext& context, const Store& store, v1::StoreStatistics& message) {
  const StoreStatistics statistics = store.statistics();
  message.set_store_bytes(statistics.live_bytes);
  message.set_blob_bytes(statistics.blob_bytes);
  message.set_codes_bytes(context.storage.CodesBytes());
  message.set_snapshot_bytes(context.storage.SnapshotBytes());
  message.set_received_bytes(statistics.batch_bytes);
  message.set_log_bytes(statistics.log_bytes);
  message.set_flush_bytes(statistics.flush_bytes);
  message.set_compaction_bytes(statistics.compaction_bytes);
  message.set_commits(statistics.commits);
  Fill(context.metrics.sync_seconds(), *message.mutable_sync_seconds());
  message.set_compactions_running(statistics.compactions_running);
  message.set_compactions_pending_bytes(statistics.compactions_pending_bytes);
  message.set_failure(std::string(store.failure().message()));
}

void FillCounters(const Metrics& metrics, v1::GetStatisticsResponse& message) {
  for (const Metrics::Method& method : metrics.methods()) Fill(method, *message.add_methods());
  for (const Refusal reason : kRefusals) {
    v1::RefusalStatistics& refusal = *message.add_refusals();
    refusal.set_reason(std::string(Name(reason)));
    refusal.set_count(metrics.refused(reason));
  }
  v1::ScanStatistics& scans = *message.mutable_scans();
  scans.set_waiting_queries(static_cast<uint64_t>(std::max<int64_t>(metrics.waiting(), 0)));
  Fill(metrics.wait_seconds(), *scans.mutable_wait_seconds());
  Fill(metrics.scan_queries(), *scans.mutable_queries());
  Fill(metrics.scan_seconds(), *scans.mutable_seconds());
  for (const MaintenanceEvent::Kind kind : kMaintenanceKinds) {
    const Metrics::Maintained maintained = metrics.maintained(kind);
    v1::MaintenanceStatistics& work = *message.add_maintenance();
    work.set_kind(std::string(Name(kind)));
    work.set_times(maintained.times);
    work.set_rows(maintained.rows);
    work.set_time_us(static_cast<uint64_t>(
        std::chrono::duration_cast<std::chrono::microseconds>(maintained.time).count()));
  }
}

}  // namespace

v1::GetStatisticsResponse ReadStatistics(const ServiceContext& context,
                                         const SeesCollection& sees) {
  v1::GetStatisticsResponse message;
  message.set_version(kVersion);
  message.set_isa(std::string(ActiveKernel().isa));
  message.set_threads(static_cast<uint32_t>(context.workers.threads()));
  message.set_uptime_us(static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(context.metrics.age()).count()));
  Fill(*message.mutable_process());
  message.mutable_process()->set_connections(context.metrics.connections());
  FillCounters(context.metrics, message);
  if (!sees) return message;
  for (const auto& collection : context.catalog().List()) {
    if (sees(collection->name())) Fill(*collection, *message.add_collections());
  }
  uint64_t damaged = 0;
  for (const auto& [name, status] : context.catalog().damaged()) damaged += sees(name) ? 1 : 0;
  message.set_damaged_collections(damaged);
  const Store* const store = context.storage.store();
  if (store != nullptr) Fill(context, *store, *message.mutable_store());
  return message;
}

}  // namespace vexact::server

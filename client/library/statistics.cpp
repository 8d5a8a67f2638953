#include "vexact/statistics.h"

#include <algorithm>
#include <numeric>

#include "client/library/call.h"
#include "client/library/connection.h"
#include "client/library/convert.h"
#include "vexact/client.h"
#include "vexact/v1/statistics.pb.h"

namespace vexact::client {
namespace {

Histogram FromProto(const v1::Histogram& message) {
  return {.bounds = {message.bounds().begin(), message.bounds().end()},
          .counts = {message.counts().begin(), message.counts().end()},
          .sum = message.sum()};
}

MethodStatistics FromProto(const v1::MethodStatistics& message) {
  MethodStatistics method{
      .method = message.method(), .calls = {}, .seconds = FromProto(message.seconds())};
  for (const v1::CodeCount& calls : message.calls()) {
    method.calls.push_back({static_cast<absl::StatusCode>(calls.code()), calls.count()});
  }
  return method;
}

CollectionStatistics FromProto(const v1::CollectionStatistics& message) {
  return {.name = message.name(),
          .dimension = message.dimension(),
          .rows = message.rows(),
          .dead_rows = message.dead_rows(),
          .memory = client::FromProto(message.memory()),
          .scans = message.scans(),
          .queries = message.queries(),
          .rows_compared = message.rows_compared(),
          .rows_refined = message.rows_refined(),
          .rows_rescored = message.rows_rescored(),
          .bytes_read = message.bytes_read(),
          .writes = message.writes(),
          .rows_added = message.rows_added(),
          .rows_replaced = message.rows_replaced(),
          .rows_deleted = message.rows_deleted(),
          .layout_rows = message.layout_rows(),
          .layout_coded_rows = message.layout_coded_rows()};
}

StoreStatistics FromProto(const v1::StoreStatistics& message) {
  return {.store_bytes = message.store_bytes(),
          .blob_bytes = message.blob_bytes(),
          .codes_bytes = message.codes_bytes(),
          .snapshot_bytes = message.snapshot_bytes(),
          .received_bytes = message.received_bytes(),
          .log_bytes = message.log_bytes(),
          .flush_bytes = message.flush_bytes(),
          .compaction_bytes = message.compaction_bytes(),
          .commits = message.commits(),
          .sync_seconds = FromProto(message.sync_seconds()),
          .compactions_running = message.compactions_running(),
          .compactions_pending_bytes = message.compactions_pending_bytes(),
          .failure = message.failure()};
}

Statistics FromProto(const v1::GetStatisticsResponse& message) {
  Statistics statistics{
      .version = message.version(),
      .isa = message.isa(),
      .threads = message.threads(),
      .uptime = absl::Microseconds(message.uptime_us()),
      .resident_bytes = message.process().resident_bytes(),
      .open_files = message.process().open_files(),
      .cpu_time = absl::Microseconds(message.process().cpu_us()),
      .methods = {},
      .refusals = {},
      .waiting_queries = message.scans().waiting_queries(),
      .wait_seconds = FromProto(message.scans().wait_seconds()),
      .scan_queries = FromProto(message.scans().queries()),
      .scan_seconds = FromProto(message.scans().seconds()),
      .collections = {},
      .damaged_collections = message.damaged_collections(),
      .store = {},
      .maintenance = {},
  };
  for (const auto& method : message.methods()) statistics.methods.push_back(FromProto(method));
  for (const auto& refusal : message.refusals()) {
    statistics.refusals.push_back({refusal.reason(), refusal.count()});
  }
  for (const auto& collection : message.collections()) {
    statistics.collections.push_back(FromProto(collection));
  }
  if (message.has_store()) statistics.store = FromProto(message.store());
  for (const auto& work : message.maintenance()) {
    statistics.maintenance.push_back(
        {work.kind(), work.times(), work.rows(), absl::Microseconds(work.time_us())});
  }
  return statistics;
}

}  // namespace

uint64_t Histogram::count() const {
  return std::accumulate(counts.begin(), counts.end(), uint64_t{0});
}

std::optional<double> Histogram::Mean() const {
  const uint64_t all = count();
  if (all == 0) return std::nullopt;
  return sum / static_cast<double>(all);
}

std::optional<double> Histogram::Quantile(double q) const {
  const uint64_t all = count();
  if (all == 0 || bounds.empty()) return std::nullopt;
  const double rank = q * static_cast<double>(all);
  double below = 0;
  for (size_t i = 0; i < bounds.size() && i < counts.size(); ++i) {
    const auto here = static_cast<double>(counts[i]);
    if (here > 0 && below + here >= rank) {
      const double low = i == 0 ? 0 : bounds[i - 1];
      return low + (bounds[i] - low) * std::max(0.0, rank - below) / here;
    }
    below += here;
  }
  return bounds.back();
}

void Histogram::Subtract(const Histogram& before) {
  if (before.bounds != bounds || before.counts.size() != counts.size()) return;
  for (size_t i = 0; i < counts.size(); ++i) {
    if (before.counts[i] > counts[i]) return;  // of a server that was started again since
  }
  for (size_t i = 0; i < counts.size(); ++i) counts[i] -= before.counts[i];
  sum -= before.sum;
}

void Histogram::Add(const Histogram& other) {
  if (counts.empty()) {
    *this = other;
    return;
  }
  for (size_t i = 0; i < std::min(counts.size(), other.counts.size()); ++i) {
    counts[i] += other.counts[i];
  }
  sum += other.sum;
}

absl::StatusOr<Statistics> Client::GetStatistics(const CallOptions& call) const {
  const auto response = Call<v1::Server>(*connection_, call, v1::GetStatisticsRequest(),
                                         &v1::Server::Stub::GetStatistics);
  if (!response.ok()) return response.status();
  return FromProto(*response);
}

}  // namespace vexact::client

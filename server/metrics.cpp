#include "server/metrics.h"

#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "vexact/v1/collections.pb.h"
#include "vexact/v1/points.pb.h"
#include "vexact/v1/search.pb.h"
#include "vexact/v1/server.pb.h"
#include "vexact/v1/snapshots.pb.h"

namespace vexact::server {
namespace {

using Boundaries = prometheus::Histogram::BucketBoundaries;

// From what a call costs that does nothing to what no caller waits for. Three to a decade: a
// quantile between two of them is off by less than the factor of 2.5 that lies between them.
const Boundaries& Seconds() {
  static const auto& seconds =
      *new Boundaries{50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3,
                      50e-3, 100e-3, 250e-3, 500e-3, 1,    2.5,    5,    10,    30};
  return seconds;
}

// Powers of two up to kMaxQueries.
Boundaries Queries() {
  Boundaries queries;
  for (uint32_t bound = 1; bound <= kMaxQueries; bound *= 2) queries.push_back(bound);
  return queries;
}

double InSeconds(Metrics::Duration time) { return std::chrono::duration<double>(time).count(); }

std::vector<std::string> MethodNames() {
  std::vector<std::string> names;
  for (const google::protobuf::FileDescriptor* file :
       {v1::CreateCollectionRequest::descriptor()->file(), v1::UpsertRequest::descriptor()->file(),
        v1::SearchRequest::descriptor()->file(), v1::GetInfoRequest::descriptor()->file(),
        v1::Snapshot::descriptor()->file()}) {
    for (int s = 0; s < file->service_count(); ++s) {
      const google::protobuf::ServiceDescriptor& service = *file->service(s);
      for (int m = 0; m < service.method_count(); ++m) {
        names.push_back(absl::StrCat(service.name(), "/", service.method(m)->name()));
      }
    }
  }
  std::ranges::sort(names);
  return names;
}

}  // namespace

std::string_view Name(Refusal refusal) {
  switch (refusal) {
    case Refusal::kConnections:
      return "connections";
    case Refusal::kNotServing:
      return "not_serving";
    case Refusal::kQueue:
      return "queue";
    case Refusal::kBytesInFlight:
      return "bytes_in_flight";
    case Refusal::kMemory:
      return "memory";
    case Refusal::kRate:
      return "rate";
    case Refusal::kUnauthenticated:
      return "unauthenticated";
    case Refusal::kPermission:
      return "permission";
  }
  return "";
}

std::string_view Name(MaintenanceEvent::Kind kind) {
  switch (kind) {
    case MaintenanceEvent::kTrained:
      return "trained";
    case MaintenanceEvent::kKept:
      return "kept";
    case MaintenanceEvent::kRecoded:
      return "recoded";
    case MaintenanceEvent::kRebuilt:
      return "rebuilt";
    case MaintenanceEvent::kFailed:
      return "failed";
  }
  return "";
}

Metrics::MethodCounters::MethodCounters() : seconds(Seconds()) {}

Metrics::Metrics()
    : names_(MethodNames()),
      wait_seconds_(Seconds()),
      scan_queries_(Queries()),
      scan_seconds_(Seconds()),
      sync_seconds_(Seconds()) {
  for (const std::string& name : names_) methods_[name] = std::make_unique<MethodCounters>();
}

Metrics::MethodCounters* Metrics::Find(std::string_view method) const {
  const auto found = methods_.find(method);
  return found == methods_.end() ? nullptr : found->second.get();
}

void Metrics::CountCall(std::string_view method, absl::StatusCode code) {
  MethodCounters* const counters = Find(method);
  const auto index = std::min(static_cast<size_t>(code), kCodes - 1);
  if (counters != nullptr) counters->calls[index].fetch_add(1, std::memory_order_relaxed);
}

void Metrics::ObserveRequest(std::string_view method, Duration time) {
  if (MethodCounters* const counters = Find(method); counters != nullptr) {
    counters->seconds.Observe(InSeconds(time));
  }
}

void Metrics::CountRefusal(Refusal refusal) {
  refusals_[static_cast<size_t>(refusal)].fetch_add(1, std::memory_order_relaxed);
}

void Metrics::AddWaiting(int64_t queries) {
  waiting_.fetch_add(queries, std::memory_order_relaxed);
}

void Metrics::ObserveWait(Duration time) { wait_seconds_.Observe(InSeconds(time)); }

void Metrics::ObserveScan(uint64_t queries, Duration time) {
  scan_queries_.Observe(static_cast<double>(queries));
  scan_seconds_.Observe(InSeconds(time));
}

void Metrics::ObserveSync(Duration time) {
  sync_seconds_.Observe(InSeconds(time));
  sync_time_.fetch_add(time.count(), std::memory_order_relaxed);
}

void Metrics::CountMaintenance(const MaintenanceEvent& event) {
  MaintenanceCounters& counters = maintenance_[static_cast<size_t>(event.kind)];
  counters.times.fetch_add(1, std::memory_order_relaxed);
  counters.rows.fetch_add(event.rows, std::memory_order_relaxed);
  counters.time.fetch_add(absl::ToInt64Nanoseconds(event.time), std::memory_order_relaxed);
}

std::vector<Metrics::Method> Metrics::methods() const {
  std::vector<Method> methods;
  for (const std::string& name : names_) {
    const MethodCounters& counters = *Find(name);
    Method& method = methods.emplace_back(Method{name, {}, counters.seconds.Collect().histogram});
    for (size_t code = 0; code < kCodes; ++code) {
      const uint64_t calls = counters.calls[code].load(std::memory_order_relaxed);
      if (calls > 0) method.calls.emplace_back(static_cast<absl::StatusCode>(code), calls);
    }
  }
  return methods;
}

uint64_t Metrics::refused(Refusal refusal) const {
  return refusals_[static_cast<size_t>(refusal)].load(std::memory_order_relaxed);
}

Metrics::Maintained Metrics::maintained(MaintenanceEvent::Kind kind) const {
  const MaintenanceCounters& counters = maintenance_[static_cast<size_t>(kind)];
  return {counters.times.load(std::memory_order_relaxed),
          counters.rows.load(std::memory_order_relaxed),
          Duration(counters.time.load(std::memory_order_relaxed))};
}

}  // namespace vexact::server

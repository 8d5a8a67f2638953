// What the server counts. One set of numbers with two readers: Prometheus (exposition.h) and the
// GetStatistics call (statistics.h).
#pragma once

#include <prometheus/client_metric.h>
#include <prometheus/histogram.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "core/collection.h"

namespace vexact::server {

// Why a request was turned away before it was carried out.
enum class Refusal {
  kConnections,      // as many connections are open as may be; it is one that is counted
  kNotServing,       // the server is starting or stopping
  kQueue,            // as many queries wait already as may
  kBytesInFlight,    // the requests in hand hold as many bytes as they may
  kMemory,           // the collections would take more memory than they may
  kRate,             // a key asks more often than it may
  kUnauthenticated,  // no key, or one that nobody has
  kPermission,       // the key's role does not allow it
};
inline constexpr Refusal kRefusals[] = {
    Refusal::kConnections, Refusal::kNotServing, Refusal::kQueue,           Refusal::kBytesInFlight,
    Refusal::kMemory,      Refusal::kRate,       Refusal::kUnauthenticated, Refusal::kPermission};
// "connections", "not_serving", "queue", "bytes_in_flight", "memory", "rate", "unauthenticated",
// "permission".
std::string_view Name(Refusal refusal);

// Every kind, and "trained", "kept", "recoded", "rebuilt", "failed".
inline constexpr MaintenanceEvent::Kind kMaintenanceKinds[] = {
    MaintenanceEvent::kTrained, MaintenanceEvent::kKept, MaintenanceEvent::kRecoded,
    MaintenanceEvent::kRebuilt, MaintenanceEvent::kFailed};
std::string_view Name(MaintenanceEvent::Kind kind);

// Thread safety: every method may be called from any thread. Counting takes some tens of
// nanoseconds, waits for nobody but other counters, and never fails.
class Metrics {
 public:
  using Duration = std::chrono::nanoseconds;

  Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  // A call has ended. `method` is "Service/Method", as in the log; what is no method of this server
  // is not counted, so that nobody can make up names.
  void CountCall(std::string_view method, absl::StatusCode code);

  // A request was answered, so long after it came: a unary call, what a stream of requests applied
  // together, or a stream that is one request.
  void ObserveRequest(std::string_view method, Duration time);

  void CountRefusal(Refusal refusal);

  // So many connections are open.
  void SetConnections(uint64_t connections) {
    connections_.store(connections, std::memory_order_relaxed);
  }

  // Queries have come to wait for a scan (above 0), or wait no longer (below 0).
  void AddWaiting(int64_t queries);
  // A search that waited, from its coming to the beginning of its first scan.
  void ObserveWait(Duration time);
  // The engine carried out `queries` queries together.
  void ObserveScan(uint64_t queries, Duration time);

  // The store's log was synced.
  void ObserveSync(Duration time);
  // All the time that syncs took so far.
  Duration sync_time() const { return Duration(sync_time_.load(std::memory_order_relaxed)); }

  void CountMaintenance(const MaintenanceEvent& event);

  // What follows is read by who tells it.
  Duration age() const { return std::chrono::steady_clock::now() - started_; }
  using Histogram = prometheus::ClientMetric::Histogram;
  struct Method {
    std::string_view name;
    std::vector<std::pair<absl::StatusCode, uint64_t>> calls;  // those that occurred
    Histogram seconds;
  };
  // In the order of their names; all, also those that were never called.
  std::vector<Method> methods() const;
  uint64_t refused(Refusal refusal) const;
  uint64_t connections() const { return connections_.load(std::memory_order_relaxed); }
  int64_t waiting() const { return waiting_.load(std::memory_order_relaxed); }
  Histogram wait_seconds() const { return wait_seconds_.Collect().histogram; }
  Histogram scan_queries() const { return scan_queries_.Collect().histogram; }
  Histogram scan_seconds() const { return scan_seconds_.Collect().histogram; }
  Histogram sync_seconds() const { return sync_seconds_.Collect().histogram; }
  struct Maintained {
    uint64_t times = 0, rows = 0;
    Duration time{0};
  };
  Maintained maintained(MaintenanceEvent::Kind kind) const;

 private:
  // Counters for people: no other memory depends on them, so that every access is relaxed.
  using Counter = std::atomic<uint64_t>;
  static constexpr size_t kCodes = 17;  // of absl::StatusCode
  struct MethodCounters {
    MethodCounters();
    std::array<Counter, kCodes> calls{};
    prometheus::Histogram seconds;
  };
  struct MaintenanceCounters {
    Counter times = 0, rows = 0;
    std::atomic<int64_t> time = 0;
  };

  MethodCounters* Find(std::string_view method) const;

  const std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
  std::vector<std::string> names_;  // sorted; those in `methods_` view them
  absl::flat_hash_map<std::string_view, std::unique_ptr<MethodCounters>> methods_;
  std::array<Counter, std::size(kRefusals)> refusals_{};
  Counter connections_ = 0;
  std::atomic<int64_t> waiting_ = 0;
  std::atomic<int64_t> sync_time_ = 0;
  prometheus::Histogram wait_seconds_, scan_queries_, scan_seconds_, sync_seconds_;
  std::array<MaintenanceCounters, std::size(kMaintenanceKinds)> maintenance_{};
};

}  // namespace vexact::server

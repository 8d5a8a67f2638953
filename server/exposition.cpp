#include "server/exposition.h"

#include <prometheus/collectable.h>
#include <prometheus/exposer.h>
#include <prometheus/metric_family.h>

#include <exception>
#include <future>
#include <limits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "server/statistics.h"

namespace vexact::server {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

constexpr double kMicrosecond = 1e-6;

// Threads that answer: one for Prometheus, and one for who looks meanwhile.
constexpr size_t kThreads = 2;

// Metrics by family, in the order in which they are shown.
class Families {
 public:
  // What follows belongs to this family. `name` and `help` are as Prometheus wants them.
  Families& Begin(MetricType type, const std::string& name, const std::string& help) {
    families_.push_back({.name = name, .help = help, .type = type, .metric = {}});
    return *this;
  }
  Families& Counter(const std::string& name, const std::string& help) {
    return Begin(MetricType::Counter, name, help);
  }
  Families& Gauge(const std::string& name, const std::string& help) {
    return Begin(MetricType::Gauge, name, help);
  }

  Families& Add(double value, Labels labels = {}) {
    ClientMetric& metric = families_.back().metric.emplace_back();
    metric.label = std::move(labels);
    metric.counter.value = value;
    metric.gauge.value = value;
    return *this;
  }
  Families& Add(uint64_t value, Labels labels = {}) {
    return Add(static_cast<double>(value), std::move(labels));
  }
  // Histograms of the message count from one bound to the next.
  Families& Add(const v1::Histogram& histogram, Labels labels = {}) {
    ClientMetric& metric = families_.back().metric.emplace_back();
    metric.label = std::move(labels);
    uint64_t count = 0;
    for (int i = 0; i < histogram.counts_size(); ++i) {
      count += histogram.counts(i);
      const bool last = i == histogram.bounds_size();
      metric.histogram.bucket.push_back(
          {count, last ? std::numeric_limits<double>::infinity() : histogram.bounds(i)});
    }
    metric.histogram.sample_count = count;
    metric.histogram.sample_sum = histogram.sum();
    return *this;
  }
  Families& Histogram(const std::string& name, const std::string& help,
                      const v1::Histogram& histogram) {
    return Begin(MetricType::Histogram, name, help).Add(histogram);
  }

  std::vector<MetricFamily> Take() { return std::move(families_); }

 private:
  std::vector<MetricFamily> families_;
};

void AddServer(const v1::GetStatisticsResponse& statistics, bool serving, absl::Time started,
               Families& families) {
  families.Gauge("vexact_build_info", "Always 1; what runs is in the labels")
      .Add(1.0, {{"version", statistics.version()}, {"isa", statistics.isa()}});
  families.Gauge("vexact_serving", "Whether requests are let in: not while it starts or stops")
      .Add(serving ? 1.0 : 0.0);
  families.Gauge("vexact_threads", "Threads that searches share")
      .Add(uint64_t{statistics.threads()});
  families.Gauge("process_start_time_seconds", "When the server was started, as Unix time")
      .Add(absl::ToDoubleSeconds(started - absl::UnixEpoch()));
  families.Gauge("process_resident_memory_bytes", "Memory that the process has")
      .Add(statistics.process().resident_bytes());
  families.Gauge("process_open_fds", "Open files and connections")
      .Add(statistics.process().open_files());
  families.Gauge("vexact_connections", "Connections of clients that are open")
      .Add(statistics.process().connections());
  families.Counter("process_cpu_seconds_total", "Processor time that the process took")
      .Add(static_cast<double>(statistics.process().cpu_us()) * kMicrosecond);
}

void AddRequests(const v1::GetStatisticsResponse& statistics, Families& families) {
  families.Counter("vexact_requests_total", "Calls that ended, by the code they ended with");
  for (const v1::MethodStatistics& method : statistics.methods()) {
    for (const v1::CodeCount& calls : method.calls()) {
      const std::string code =
          absl::StatusCodeToString(static_cast<absl::StatusCode>(calls.code()));
      families.Add(calls.count(), {{"method", method.method()}, {"code", code}});
    }
  }
  families.Begin(MetricType::Histogram, "vexact_request_seconds",
                 "From a request's coming to its answer; of BulkUpsert what is applied together");
  for (const v1::MethodStatistics& method : statistics.methods()) {
    families.Add(method.seconds(), {{"method", method.method()}});
  }
  families.Counter("vexact_requests_refused_total",
                   "Requests that were turned away before they were carried out");
  for (const v1::RefusalStatistics& refusal : statistics.refusals()) {
    families.Add(refusal.count(), {{"reason", refusal.reason()}});
  }
}

void AddScans(const v1::ScanStatistics& scans, Families& families) {
  families.Gauge("vexact_queue_queries", "Queries that wait for their scan")
      .Add(scans.waiting_queries());
  families.Histogram("vexact_queue_wait_seconds", "How long a search waited for its scan",
                     scans.wait_seconds());
  families.Histogram("vexact_scan_queries", "Queries that were scanned together", scans.queries());
  families.Histogram("vexact_scan_seconds", "How long a scan took", scans.seconds());
}

void AddMaintenance(const v1::GetStatisticsResponse& statistics, Families& families) {
  const auto add = [&](const std::string& name, const std::string& help, auto value) {
    families.Counter(name, help);
    for (const v1::MaintenanceStatistics& work : statistics.maintenance()) {
      families.Add(value(work), {{"kind", work.kind()}});
    }
  };
  using Work = v1::MaintenanceStatistics;
  add("vexact_maintenance_total", "Layouts trained, rows coded anew, and failures of that",
      [](const Work& work) { return work.times(); });
  add("vexact_maintenance_rows_total", "Rows trained on, or coded anew",
      [](const Work& work) { return work.rows(); });
  add("vexact_maintenance_seconds_total", "Time that it took",
      [](const Work& work) { return static_cast<double>(work.time_us()) * kMicrosecond; });
}

using Number = uint64_t (v1::CollectionStatistics::*)() const;

struct CollectionFamily {
  MetricType type;
  const char* name;
  const char* help;
  Number value;
};

constexpr MetricType kCounter = MetricType::Counter, kGauge = MetricType::Gauge;
using CollectionMessage = v1::CollectionStatistics;
constexpr CollectionFamily kCollectionFamilies[] = {
    {kGauge, "vexact_collection_rows", "Live rows", &CollectionMessage::rows},
    {kGauge, "vexact_collection_dead_rows", "Deleted or replaced rows whose space is not free yet",
     &CollectionMessage::dead_rows},
    {kGauge, "vexact_collection_layout_rows", "Rows that have codes",
     &CollectionMessage::layout_rows},
    {kGauge, "vexact_collection_layout_coded_rows",
     "Rows that are coded under the layout of new rows; fewer than have codes while re-encoding",
     &CollectionMessage::layout_coded_rows},
    {kCounter, "vexact_collection_scans_total", "Scans, of one query or many",
     &CollectionMessage::scans},
    {kCounter, "vexact_collection_queries_total", "Queries", &CollectionMessage::queries},
    {kCounter, "vexact_collection_rows_compared_total", "Rows compared, once for each query",
     &CollectionMessage::rows_compared},
    {kCounter, "vexact_collection_rows_refined_total",
     "Rows read beyond the first slab of their codes, once for each query",
     &CollectionMessage::rows_refined},
    {kCounter, "vexact_collection_rows_rescored_total",
     "Rows scored with the reference score, once for each query",
     &CollectionMessage::rows_rescored},
    {kCounter, "vexact_collection_scanned_bytes_total", "Bytes of codes and vectors read",
     &CollectionMessage::bytes_read},
    {kCounter, "vexact_collection_writes_total", "Upserts and deletions",
     &CollectionMessage::writes},
};

void AddCollections(const v1::GetStatisticsResponse& statistics, Families& families) {
  families.Gauge("vexact_damaged_collections", "Collections that do not serve: see the log")
      .Add(statistics.damaged_collections());
  for (const auto& [type, name, help, value] : kCollectionFamilies) {
    families.Begin(type, name, help);
    for (const CollectionMessage& collection : statistics.collections()) {
      families.Add((collection.*value)(), {{"collection", collection.name()}});
    }
  }
  families.Counter("vexact_collection_rows_written_total", "Rows added, replaced and deleted");
  for (const CollectionMessage& collection : statistics.collections()) {
    families.Add(collection.rows_added(), {{"collection", collection.name()}, {"kind", "added"}})
        .Add(collection.rows_replaced(), {{"collection", collection.name()}, {"kind", "replaced"}})
        .Add(collection.rows_deleted(), {{"collection", collection.name()}, {"kind", "deleted"}});
  }
  families.Gauge("vexact_collection_memory_bytes", "Memory that a collection takes");
  for (const CollectionMessage& collection : statistics.collections()) {
    const v1::MemoryUse& memory = collection.memory();
    const std::string& name = collection.name();
    families.Add(memory.rows_bytes(), {{"collection", name}, {"part", "rows"}})
        .Add(memory.codes_bytes(), {{"collection", name}, {"part", "codes"}})
        .Add(memory.ids_bytes(), {{"collection", name}, {"part", "ids"}})
        .Add(memory.overhead_bytes(), {{"collection", name}, {"part", "overhead"}});
  }
}

void AddStore(const v1::StoreStatistics& store, Families& families) {
  families.Gauge("vexact_store_failing", "Whether the disk refuses writes: see the log")
      .Add(store.failure().empty() ? 0.0 : 1.0);
  families.Gauge("vexact_store_disk_bytes", "Bytes of files in the data directory")
      .Add(store.store_bytes() - store.blob_bytes(), {{"part", "tables"}})
      .Add(store.blob_bytes(), {{"part", "blobs"}})
      .Add(store.codes_bytes(), {{"part", "codes"}})
      .Add(store.snapshot_bytes(), {{"part", "snapshots"}});
  families.Counter("vexact_store_received_bytes_total", "Bytes of rows and ids that writes held")
      .Add(store.received_bytes());
  families.Counter("vexact_store_written_bytes_total", "Bytes that the database wrote")
      .Add(store.log_bytes(), {{"to", "log"}})
      .Add(store.flush_bytes(), {{"to", "flush"}})
      .Add(store.compaction_bytes(), {{"to", "compaction"}});
  families.Counter("vexact_store_commits_total", "Groups of writes that became durable together")
      .Add(store.commits());
  families.Histogram("vexact_store_sync_seconds", "How long a sync of the log took",
                     store.sync_seconds());
  families.Gauge("vexact_store_compactions_running", "Compactions of the database")
      .Add(store.compactions_running());
  families.Gauge("vexact_store_compactions_pending_bytes", "What is estimated to be rewritten")
      .Add(store.compactions_pending_bytes());
}

}  // namespace

class Exposition::Metrics final : public prometheus::Collectable {
 public:
  explicit Metrics(const ServiceContext& context) : context_(context) {}

  // On a thread of its own, because the threads of the HTTP server have a stack of 100 KiB.
  std::vector<MetricFamily> Collect() const override {
    return std::async(std::launch::async, [this] { return CollectAll(); }).get();
  }

 private:
  std::vector<MetricFamily> CollectAll() const {
    // Held meanwhile: the storage is there until everybody is out.
    const auto ticket = context_.admission.Enter(/*bytes=*/0);
    const v1::GetStatisticsResponse statistics = ReadStatistics(
        context_, ticket.ok() ? SeesCollection([](std::string_view) { return true; }) : nullptr);
    Families families;
    AddServer(statistics, ticket.ok(), context_.started, families);
    AddRequests(statistics, families);
    AddScans(statistics.scans(), families);
    AddMaintenance(statistics, families);
    if (ticket.ok()) AddCollections(statistics, families);
    if (statistics.has_store()) AddStore(statistics.store(), families);
    return families.Take();
  }

  const ServiceContext& context_;
};

Exposition::Exposition() = default;
Exposition::~Exposition() = default;

absl::StatusOr<std::unique_ptr<Exposition>> Exposition::Start(const ServiceContext& context,
                                                              const std::string& address) {
  std::unique_ptr<Exposition> exposition(new Exposition);
  try {
    exposition->exposer_ = std::make_unique<prometheus::Exposer>(address, kThreads);
  } catch (const std::exception&) {
    return absl::UnavailableError(absl::StrFormat(
        "cannot listen on %s for metrics: it is in use by another process, or is no address of "
        "this machine; choose another with --metrics-listen",
        address));
  }
  exposition->metrics_ = std::make_shared<Metrics>(context);
  exposition->exposer_->RegisterCollectable(exposition->metrics_);
  const std::vector<int> ports = exposition->exposer_->GetListeningPorts();
  exposition->address_ =
      absl::StrCat(address.substr(0, address.rfind(':') + 1), ports.empty() ? 0 : ports.front());
  return exposition;
}

}  // namespace vexact::server

#include "server/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "core/workers.h"
#include "server/call.h"
#include "server/collections_service.h"
#include "server/exposition.h"
#include "server/format.h"
#include "server/health_service.h"
#include "server/listener.h"
#include "server/log.h"
#include "server/lone_poller.h"
#include "server/options.h"
#include "server/overload_log.h"
#include "server/points_service.h"
#include "server/request_threads.h"
#include "server/search_service.h"
#include "server/server_service.h"
#include "server/snapshots_service.h"
#include "server/storage.h"

namespace vexact::server {
namespace {

// Requests carried out at the same time. More than processors, so that short requests pass long
// searches (which share the core's Workers) and waiting writers; few enough to bound what they hold
// in memory.
constexpr int kMinRequestThreads = 8;
int RequestThreadCount(const Config& config) {
  return std::max(kMinRequestThreads, 2 * config.threads);
}

// For streams that are open but idle when everything else is done: time for their last messages.
constexpr std::chrono::milliseconds kFarewell{100};

constexpr absl::Duration kLogProgressEvery = absl::Seconds(3);

// With as many connections as there may be here.
Config WithConnections(Config config) {
  const int64_t most = MostConnections(config.max_connections);
  if (most < config.max_connections && config.sources.contains(kMaxConnections)) {
    spdlog::warn(
        "connections_limited wanted={} limit={} remedy=\"allow the process more descriptors, "
        "two for each connection: ulimit -Hn\"",
        config.max_connections, most);
  }
  config.max_connections = most;
  return config;
}

}  // namespace

// In the order in which they are needed: the last is destroyed first.
struct Server::Parts {
  explicit Parts(const Config& config_given)
      : config(WithConnections(config_given)),
        workers(config.threads),
        storage(config, workers, metrics),
        admission(static_cast<uint64_t>(config.max_request_bytes)),
        slow_log(metrics, std::chrono::milliseconds(config.slow_query_ms)),
        threads(RequestThreadCount(config)),
        scheduler(metrics, static_cast<uint64_t>(config.max_waiting_queries),
                  LonePoller::IsForThisMachine()) {}
  ~Parts() {
    if (listener != nullptr) listener->Stop();
    lone_poller.reset();
    // By itself it would wait for streams that are open.
    if (grpc_server != nullptr) grpc_server->Shutdown(std::chrono::system_clock::now());
  }

  absl::StatusOr<Opened> Open(const std::stop_token& stop);
  Storage::Progress MakeProgress();

  const Config config;
  Workers workers;
  Metrics metrics;
  OverloadLog overload_log{metrics};
  Storage storage;
  Access access{metrics};
  Admission admission;
  SlowLog slow_log;
  RequestThreads threads;
  Scheduler scheduler;
  MemoryQuota memory_quota{static_cast<uint64_t>(config.max_memory_bytes)};
  ServiceContext context{config,    workers,      storage, access,   admission,  threads,
                         scheduler, memory_quota, metrics, slow_log, absl::Now()};
  CollectionsService collections{context};
  PointsService points{context};
  SearchService search{context};
  ServerService server{context};
  SnapshotsService snapshots{context};
  HealthService health{{v1::Collections::service_full_name(), v1::Points::service_full_name(),
                        v1::Search::service_full_name(), v1::Server::service_full_name(),
                        v1::Snapshots::service_full_name()}};
  // The credentials outlive the port.
  std::shared_ptr<TlsCredentials> tls;
  std::optional<TlsWatch> tls_watch;
  std::unique_ptr<grpc::Server> grpc_server;
  std::optional<LonePoller> lone_poller;
  std::unique_ptr<Listener> listener;
  std::unique_ptr<Exposition> exposition;  // null unless it is asked for
  std::jthread opener;
};

absl::StatusOr<Server::Opened> Server::Parts::Open(const std::stop_token& stop) {
  const absl::Time begin = absl::Now();
  const absl::Status status = RunGuarded([&] { return storage.Open(stop, MakeProgress()); });
  if (!status.ok()) return status;
  Catalog& catalog = storage.catalog();
  Opened opened;
  opened.damaged = catalog.damaged().size();
  for (const auto& collection : catalog.List()) {
    ++opened.collections;
    opened.rows += collection->info().rows;
  }
  opened.time = absl::Now() - begin;
  if (!admission.Open()) return absl::CancelledError("the server is stopping");
  health.Serve();
  return opened;
}

// Tells who asks meanwhile how far the start is, and now and then the log.
Storage::Progress Server::Parts::MakeProgress() {
  return [this, begin = absl::Now(), logged = absl::Now()](std::string_view collection,
                                                           uint64_t rows, uint64_t total) mutable {
    // Without the name, which not every caller may know. The log has it.
    admission.SetProgress(absl::StrFormat("%s of %s rows of a collection are loaded",
                                          Thousands(rows), Thousands(total)));
    const absl::Time now = absl::Now();
    if (now - logged < kLogProgressEvery) return;
    logged = now;
    spdlog::info("loading collection={} rows={} of={} seconds={:.1f}", collection, rows, total,
                 absl::ToDoubleSeconds(now - begin));
  };
}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(
    const Config& config, Security security, std::function<void(absl::StatusOr<Opened>)> opened) {
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  auto listener = Listener::Open(config.listen);
  if (!listener.ok()) return listener.status();
  auto parts = std::make_unique<Parts>(config);
  parts->listener = *std::move(listener);
  parts->access.Replace(std::move(security.keys), config.max_key_requests_per_second);
  std::shared_ptr<grpc::ServerCredentials> credentials = grpc::InsecureServerCredentials();
  if (security.tls) {
    LogTls(*security.tls);
    parts->tls = std::make_shared<TlsCredentials>(*std::move(security.tls));
    parts->tls_watch.emplace(parts->config, *parts->tls);
    credentials = parts->tls;
  }
  grpc::ServerBuilder builder;
  auto acceptor = builder.experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD,
      std::move(credentials));
  if (config.max_idle_seconds > 0) {
    builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, 1000 * config.max_idle_seconds);
  }
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxCallsPerConnection);
  builder.SetMaxReceiveMessageSize(static_cast<int>(config.max_message_bytes));
  builder.SetMaxSendMessageSize(static_cast<int>(config.max_message_bytes));
  grpc::Service* const services[] = {&parts->collections, &parts->points,    &parts->search,
                                     &parts->server,      &parts->snapshots, &parts->health};
  for (grpc::Service* service : services) builder.RegisterService(service);
  parts->grpc_server = builder.BuildAndStart();
  if (parts->grpc_server == nullptr) return absl::InternalError("gRPC cannot serve");
  parts->lone_poller.emplace(*parts->grpc_server);
  if (!config.metrics_listen.empty()) {
    auto exposition = Exposition::Start(parts->context, config.metrics_listen);
    if (!exposition.ok()) return exposition.status();
    parts->exposition = *std::move(exposition);
    spdlog::info("metrics url=http://{}/metrics", parts->exposition->address());
  }
  parts->listener->Start(
      std::move(acceptor), static_cast<size_t>(parts->config.max_connections),
      [&metrics = parts->metrics] { metrics.CountRefusal(Refusal::kConnections); });
  parts->opener = std::jthread([&opening = *parts, opened = std::move(opened)](
                                   const std::stop_token& stop) { opened(opening.Open(stop)); });
  return std::unique_ptr<Server>(new Server(std::move(parts)));
}

Server::Server(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

Server::~Server() = default;

std::string Server::address() const {
  const std::string& listen = parts_->config.listen;
  return listen.substr(0, listen.rfind(':') + 1) + std::to_string(parts_->listener->port());
}

void Server::Apply(const Config& config, Security security) {
  SetLogLevel(config.log_level);
  parts_->slow_log.SetThreshold(std::chrono::milliseconds(config.slow_query_ms));
  parts_->access.Replace(std::move(security.keys), config.max_key_requests_per_second);
  if (!security.tls || parts_->tls == nullptr) return;
  LogTls(*security.tls);
  parts_->tls->Replace(*std::move(security.tls));
}

void Server::Poll() {
  if (parts_->tls_watch) parts_->tls_watch->Poll();
  parts_->metrics.SetConnections(parts_->listener->connections());
  parts_->overload_log.Poll(OverloadLog::Clock::now());
}

uint64_t Server::Close() {
  parts_->health.Stop();
  parts_->opener.request_stop();
  return parts_->admission.Close();
}

uint64_t Server::Drain() {
  const uint64_t remaining =
      parts_->admission.AwaitEmpty(absl::Seconds(parts_->config.drain_seconds));
  parts_->listener->Stop();
  parts_->lone_poller.reset();
  parts_->grpc_server->Shutdown(std::chrono::system_clock::now() + kFarewell);
  return remaining;
}

}  // namespace vexact::server

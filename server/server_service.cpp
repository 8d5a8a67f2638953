#include "server/server_service.h"

#include <string>

#include "absl/time/clock.h"
#include "core/kernel/kernel.h"
#include "server/build_info.h"
#include "server/call.h"
#include "server/convert.h"
#include "server/statistics.h"
#include "server/version.h"

namespace vexact::server {
namespace {

void Describe(const ServiceContext& context, v1::Storage& message) {
  const Store* const store = context.storage.store();
  if (store == nullptr) return message.set_durability(v1::DURABILITY_NONE);
  const bool synced = context.config.durability == Durability::kFsync;
  message.set_durability(synced ? v1::DURABILITY_FSYNC : v1::DURABILITY_ASYNC);
  message.set_data_dir(store->directory());
  const StoreStatistics statistics = store->statistics();
  message.set_store_bytes(statistics.live_bytes);
  message.set_codes_bytes(context.storage.CodesBytes());
  message.set_received_bytes(statistics.batch_bytes);
  message.set_written_bytes(statistics.disk_bytes);
  message.set_commits(statistics.commits);
  message.set_syncs(statistics.syncs);
  message.set_compactions_running(statistics.compactions_running);
  message.set_compactions_pending_bytes(statistics.compactions_pending_bytes);
}

void Describe(const ServiceContext& context, const Caller& caller, v1::GetInfoResponse& response) {
  response.set_version(kVersion);
  response.set_commit(BuildCommit());
  response.set_isa(std::string(ActiveKernel().isa));
  response.set_threads(static_cast<uint32_t>(context.workers.threads()));
  response.set_default_engine(ToProto(context.config.engine));
  response.set_uptime_seconds(
      static_cast<uint64_t>(absl::ToInt64Seconds(absl::Now() - context.started)));
  v1::Limits& limits = *response.mutable_limits();
  limits.set_max_dimension(kMaxDimension);
  limits.set_max_queries(kMaxQueries);
  limits.set_max_k(kMaxK);
  limits.set_max_page_size(kMaxPageSize);
  limits.set_max_id_bytes(kMaxIdBytes);
  limits.set_max_name_length(kMaxNameLength);
  limits.set_max_message_bytes(static_cast<uint64_t>(context.config.max_message_bytes));
  limits.set_max_request_bytes(static_cast<uint64_t>(context.config.max_request_bytes));
  limits.set_max_waiting_queries(static_cast<uint64_t>(context.config.max_waiting_queries));
  limits.set_max_memory_bytes(static_cast<uint64_t>(context.config.max_memory_bytes));
  limits.set_max_key_requests_per_second(static_cast<uint64_t>(caller.requests_per_second()));
  limits.set_max_connections(static_cast<uint64_t>(context.config.max_connections));
  limits.set_max_calls_per_connection(kMaxCallsPerConnection);
  uint64_t rows = 0;
  uint64_t collections = 0;
  MemoryUse memory;
  for (const auto& collection : context.catalog().List()) {
    if (!caller.Sees(collection->name())) continue;
    ++collections;
    rows += collection->info().rows;
    memory += collection->memory();
  }
  Fill(memory, *response.mutable_memory());
  Describe(context, *response.mutable_storage());
  response.set_collections(collections);
  response.set_rows(rows);
}

}  // namespace

grpc::ServerUnaryReactor* ServerService::GetInfo(grpc::CallbackServerContext* call,
                                                 const grpc::ByteBuffer* request_bytes,
                                                 grpc::ByteBuffer* response_bytes) {
  return StartUnary<v1::GetInfoRequest, v1::GetInfoResponse>(
      context_, call, "Server/GetInfo", request_bytes, response_bytes,
      [this](const v1::GetInfoRequest&, const CallInfo& info, v1::GetInfoResponse& response) {
        Describe(context_, info.caller, response);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* ServerService::GetStatistics(grpc::CallbackServerContext* call,
                                                       const grpc::ByteBuffer* request_bytes,
                                                       grpc::ByteBuffer* response_bytes) {
  return StartUnary<v1::GetStatisticsRequest, v1::GetStatisticsResponse>(
      context_, call, "Server/GetStatistics", request_bytes, response_bytes,
      [this](const v1::GetStatisticsRequest&, const CallInfo& info,
             v1::GetStatisticsResponse& response) {
        response = ReadStatistics(
            context_, [&](std::string_view collection) { return info.caller.Sees(collection); });
        return absl::OkStatus();
      });
}

}  // namespace vexact::server

#include "server/snapshots_service.h"

#include <string>

#include "server/snapshot_streams.h"

namespace vexact::server {
namespace {

void Fill(const SnapshotFolder::Stored& stored, v1::Snapshot& message) {
  message.set_name(stored.name);
  message.set_collection(stored.collection);
  message.set_bytes(stored.bytes);
  if (!stored.summary.ok()) {
    return message.set_error(std::string(stored.summary.status().message()));
  }
  const auto& [header, footer] = *stored.summary;
  message.set_dimension(header.dimension);
  message.set_metric(static_cast<v1::Metric>(header.metric));
  message.set_normalization(static_cast<v1::Normalization>(header.normalization));
  message.set_rows(header.rows);
  message.set_sequence(header.sequence);
  message.set_created_us(header.created_us);
  message.set_checksum(footer.checksum);
}

}  // namespace

absl::StatusOr<SnapshotFolder*> Snapshots(ServiceContext& context) {
  if (SnapshotFolder* folder = context.storage.snapshots(); folder != nullptr) return folder;
  return absl::FailedPreconditionError(
      "this server keeps collections in memory alone and has no data directory for snapshots; "
      "download one of now (a download that names no snapshot), or start it with --data-dir");
}

absl::Status SnapshotsService::Create(const v1::CreateSnapshotRequest& request,
                                      const CallInfo& info, v1::CreateSnapshotResponse& response) {
  const auto folder = Snapshots(context_);
  if (!folder.ok()) return folder.status();
  const auto collection = context_.catalog().Get(request.collection());
  if (!collection.ok()) return collection.status();
  const auto stored =
      (*folder)->Create(**collection, request.name(), [&] { return info.interrupt.Check(); });
  if (!stored.ok()) return stored.status();
  Fill(*stored, *response.mutable_snapshot());
  return absl::OkStatus();
}

absl::Status SnapshotsService::List(const v1::ListSnapshotsRequest& request, const Caller& caller,
                                    v1::ListSnapshotsResponse& response) {
  const auto folder = Snapshots(context_);
  if (!folder.ok()) return folder.status();
  const auto list = (*folder)->List(request.collection());
  if (!list.ok()) return list.status();
  for (const SnapshotFolder::Stored& stored : *list) {
    if (caller.Sees(stored.collection)) Fill(stored, *response.add_snapshots());
  }
  return absl::OkStatus();
}

absl::Status SnapshotsService::Delete(const v1::DeleteSnapshotRequest& request,
                                      v1::DeleteSnapshotResponse& response) {
  const auto folder = Snapshots(context_);
  if (!folder.ok()) return folder.status();
  const auto bytes = (*folder)->Delete(request.collection(), request.name());
  if (!bytes.ok()) return bytes.status();
  response.set_bytes(*bytes);
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* SnapshotsService::CreateSnapshot(grpc::CallbackServerContext* call,
                                                           const grpc::ByteBuffer* request_bytes,
                                                           grpc::ByteBuffer* response_bytes) {
  return StartUnary<v1::CreateSnapshotRequest, v1::CreateSnapshotResponse>(
      context_, call, "Snapshots/CreateSnapshot", request_bytes, response_bytes,
      [this](const v1::CreateSnapshotRequest& request, const CallInfo& info,
             v1::CreateSnapshotResponse& response) { return Create(request, info, response); });
}

grpc::ServerUnaryReactor* SnapshotsService::ListSnapshots(grpc::CallbackServerContext* call,
                                                          const grpc::ByteBuffer* request_bytes,
                                                          grpc::ByteBuffer* response_bytes) {
  return StartUnary<v1::ListSnapshotsRequest, v1::ListSnapshotsResponse>(
      context_, call, "Snapshots/ListSnapshots", request_bytes, response_bytes,
      [this](const v1::ListSnapshotsRequest& request, const CallInfo& info,
             v1::ListSnapshotsResponse& response) { return List(request, info.caller, response); });
}

grpc::ServerUnaryReactor* SnapshotsService::DeleteSnapshot(grpc::CallbackServerContext* call,
                                                           const grpc::ByteBuffer* request_bytes,
                                                           grpc::ByteBuffer* response_bytes) {
  return StartUnary<v1::DeleteSnapshotRequest, v1::DeleteSnapshotResponse>(
      context_, call, "Snapshots/DeleteSnapshot", request_bytes, response_bytes,
      [this](const v1::DeleteSnapshotRequest& request, const CallInfo&,
             v1::DeleteSnapshotResponse& response) { return Delete(request, response); });
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* SnapshotsService::DownloadSnapshot(
    grpc::CallbackServerContext* call, const grpc::ByteBuffer* request) {
  return StartDownload(context_, call, *request);
}

grpc::ServerReadReactor<grpc::ByteBuffer>* SnapshotsService::RestoreSnapshot(
    grpc::CallbackServerContext* call, grpc::ByteBuffer* response) {
  return StartRestore(context_, call, *response);
}

}  // namespace vexact::server

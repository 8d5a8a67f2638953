// The Snapshots service (proto/vexact/v1/snapshots.proto).
#pragma once

#include "core/snapshot_folder.h"
#include "server/call.h"
#include "server/service_context.h"
#include "vexact/v1/snapshots.grpc.pb.h"

namespace vexact::server {

using SnapshotsServiceBase = v1::Snapshots::WithRawCallbackMethod_CreateSnapshot<
    v1::Snapshots::WithRawCallbackMethod_ListSnapshots<
        v1::Snapshots::WithRawCallbackMethod_DeleteSnapshot<
            v1::Snapshots::WithRawCallbackMethod_DownloadSnapshot<
                v1::Snapshots::WithRawCallbackMethod_RestoreSnapshot<v1::Snapshots::Service>>>>>;

class SnapshotsService final : public SnapshotsServiceBase {
 public:
  explicit SnapshotsService(ServiceContext& context) : context_(context) {}

  grpc::ServerUnaryReactor* CreateSnapshot(grpc::CallbackServerContext* call,
                                           const grpc::ByteBuffer* request,
                                           grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* ListSnapshots(grpc::CallbackServerContext* call,
                                          const grpc::ByteBuffer* request,
                                          grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* DeleteSnapshot(grpc::CallbackServerContext* call,
                                           const grpc::ByteBuffer* request,
                                           grpc::ByteBuffer* response) override;
  grpc::ServerWriteReactor<grpc::ByteBuffer>* DownloadSnapshot(
      grpc::CallbackServerContext* call, const grpc::ByteBuffer* request) override;
  grpc::ServerReadReactor<grpc::ByteBuffer>* RestoreSnapshot(grpc::CallbackServerContext* call,
                                                             grpc::ByteBuffer* response) override;

 private:
  absl::Status Create(const v1::CreateSnapshotRequest& request, const CallInfo& info,
                      v1::CreateSnapshotResponse& response);
  absl::Status List(const v1::ListSnapshotsRequest& request, const Caller& caller,
                    v1::ListSnapshotsResponse& response);
  absl::Status Delete(const v1::DeleteSnapshotRequest& request,
                      v1::DeleteSnapshotResponse& response);

  ServiceContext& context_;
};

// The files that snapshots are kept in. FAILED_PRECONDITION when collections live in memory alone.
absl::StatusOr<SnapshotFolder*> Snapshots(ServiceContext& context);

}  // namespace vexact::server

// The Points service (proto/vexact/v1/points.proto).
#pragma once

#include "server/call.h"
#include "server/service_context.h"
#include "vexact/v1/points.grpc.pb.h"

namespace vexact::server {

using PointsServiceBase =
    v1::Points::WithRawCallbackMethod_Upsert<v1::Points::WithRawCallbackMethod_BulkUpsert<
        v1::Points::WithRawCallbackMethod_GetPoints<v1::Points::WithRawCallbackMethod_DeletePoints<
            v1::Points::WithRawCallbackMethod_CountPoints<
                v1::Points::WithRawCallbackMethod_ScrollPoints<v1::Points::Service>>>>>>;

class PointsService final : public PointsServiceBase {
 public:
  explicit PointsService(ServiceContext& context) : context_(context) {}

  grpc::ServerUnaryReactor* Upsert(grpc::CallbackServerContext* call,
                                   const grpc::ByteBuffer* request,
                                   grpc::ByteBuffer* response) override;
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* BulkUpsert(
      grpc::CallbackServerContext* call) override;
  grpc::ServerUnaryReactor* GetPoints(grpc::CallbackServerContext* call,
                                      const grpc::ByteBuffer* request,
                                      grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* DeletePoints(grpc::CallbackServerContext* call,
                                         const grpc::ByteBuffer* request,
                                         grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* CountPoints(grpc::CallbackServerContext* call,
                                        const grpc::ByteBuffer* request,
                                        grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* ScrollPoints(grpc::CallbackServerContext* call,
                                         const grpc::ByteBuffer* request,
                                         grpc::ByteBuffer* response) override;

 private:
  absl::Status Get(const v1::GetPointsRequest& request, v1::GetPointsResponse& response);
  absl::Status Delete(const v1::DeletePointsRequest& request, const CallInfo& info,
                      v1::DeletePointsResponse& response);
  absl::Status Count(const v1::CountPointsRequest& request, v1::CountPointsResponse& response);
  absl::Status Scroll(const v1::ScrollPointsRequest& request, v1::ScrollPointsResponse& response);

  ServiceContext& context_;
};

}  // namespace vexact::server

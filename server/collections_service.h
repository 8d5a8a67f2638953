// The Collections service (proto/vexact/v1/collections.proto).
#pragma once

#include "server/service_context.h"
#include "vexact/v1/collections.grpc.pb.h"

namespace vexact::server {

using CollectionsServiceBase = v1::Collections::WithRawCallbackMethod_CreateCollection<
    v1::Collections::WithRawCallbackMethod_GetCollection<
        v1::Collections::WithRawCallbackMethod_ListCollections<
            v1::Collections::WithRawCallbackMethod_DeleteCollection<
                v1::Collections::WithRawCallbackMethod_SetMetric<v1::Collections::Service>>>>>;

class CollectionsService final : public CollectionsServiceBase {
 public:
  explicit CollectionsService(ServiceContext& context) : context_(context) {}

  grpc::ServerUnaryReactor* CreateCollection(grpc::CallbackServerContext* call,
                                             const grpc::ByteBuffer* request,
                                             grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* GetCollection(grpc::CallbackServerContext* call,
                                          const grpc::ByteBuffer* request,
                                          grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* ListCollections(grpc::CallbackServerContext* call,
                                            const grpc::ByteBuffer* request,
                                            grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* DeleteCollection(grpc::CallbackServerContext* call,
                                             const grpc::ByteBuffer* request,
                                             grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* SetMetric(grpc::CallbackServerContext* call,
                                      const grpc::ByteBuffer* request,
                                      grpc::ByteBuffer* response) override;

 private:
  absl::Status Create(const v1::CreateCollectionRequest& request,
                      v1::CreateCollectionResponse& response);
  absl::Status Describe(const v1::GetCollectionRequest& request,
                        v1::GetCollectionResponse& response);
  absl::Status Delete(const v1::DeleteCollectionRequest& request,
                      v1::DeleteCollectionResponse& response);
  absl::Status Set(const v1::SetMetricRequest& request, v1::SetMetricResponse& response);

  ServiceContext& context_;
};

}  // namespace vexact::server

// The Server service (proto/vexact/v1/server.proto).
#pragma once

#include "server/service_context.h"
#include "vexact/v1/server.grpc.pb.h"

namespace vexact::server {

using ServerServiceBase = v1::Server::WithRawCallbackMethod_GetInfo<
    v1::Server::WithRawCallbackMethod_GetStatistics<v1::Server::Service>>;

class ServerService final : public ServerServiceBase {
 public:
  explicit ServerService(ServiceContext& context) : context_(context) {}

  grpc::ServerUnaryReactor* GetInfo(grpc::CallbackServerContext* call,
                                    const grpc::ByteBuffer* request,
                                    grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* GetStatistics(grpc::CallbackServerContext* call,
                                          const grpc::ByteBuffer* request,
                                          grpc::ByteBuffer* response) override;

 private:
  ServiceContext& context_;
};

}  // namespace vexact::server

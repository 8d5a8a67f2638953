// The Search service (proto/vexact/v1/search.proto).
#pragma once

#include "server/call.h"
#include "server/service_context.h"
#include "vexact/v1/search.grpc.pb.h"

namespace vexact::server {

using SearchServiceBase = v1::Search::WithRawCallbackMethod_Search<
    v1::Search::WithRawCallbackMethod_Compare<v1::Search::Service>>;

class SearchService final : public SearchServiceBase {
 public:
  explicit SearchService(ServiceContext& context) : context_(context) {}

  grpc::ServerUnaryReactor* Search(grpc::CallbackServerContext* call,
                                   const grpc::ByteBuffer* request,
                                   grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* Compare(grpc::CallbackServerContext* call,
                                    const grpc::ByteBuffer* request,
                                    grpc::ByteBuffer* response) override;

 private:
  absl::Status RunCompare(const v1::CompareRequest& request, v1::CompareResponse& response);

  ServiceContext& context_;
};

}  // namespace vexact::server

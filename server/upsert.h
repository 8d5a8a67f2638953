// Upserts: one request, and many over one stream.
#pragma once

#include <grpcpp/grpcpp.h>

#include "absl/status/status.h"
#include "core/catalog.h"
#include "server/request_trace.h"
#include "server/service_context.h"
#include "vexact/v1/points.pb.h"

namespace vexact::server {

absl::Status ApplyUpsert(ServiceContext& context, const v1::UpsertRequest& request,
                         RequestTrace& trace, v1::UpsertResponse& response);

// Carries out a BulkUpsert call: applies requests in their order, those that have come together,
// and acknowledges each. While some are applied it checks the next, and reads those behind them, a
// group of the store's at most; what the client has sent beyond that waits in gRPC's flow control.
grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* StartBulkUpsert(
    ServiceContext& context, grpc::CallbackServerContext* call);

}  // namespace vexact::server

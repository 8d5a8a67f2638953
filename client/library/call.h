// One unary call.
#pragma once

#include "absl/status/statusor.h"
#include "client/library/connection.h"
#include "vexact/types.h"

namespace vexact::client {

// Makes one unary call by a method of a service's stub.
template <typename Service, typename Request, typename Response>
absl::StatusOr<Response> Call(Connection& connection, const CallOptions& call,
                              const Request& request,
                              grpc::Status (Service::Stub::*method)(grpc::ClientContext*,
                                                                    const Request&, Response*)) {
  grpc::ClientContext context;
  connection.Prepare(DeadlineAfter(call.timeout), &context);
  Response response;
  const grpc::Status status = (connection.stub<Service>().*method)(&context, request, &response);
  if (!status.ok()) return connection.ToAbsl(status, context);
  return response;
}

}  // namespace vexact::client

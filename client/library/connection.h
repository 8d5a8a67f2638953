// One gRPC channel to one server, and how its failures are told.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <tuple>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "vexact/connect_options.h"
#include "vexact/types.h"
#include "vexact/v1/collections.grpc.pb.h"
#include "vexact/v1/points.grpc.pb.h"
#include "vexact/v1/search.grpc.pb.h"
#include "vexact/v1/server.grpc.pb.h"
#include "vexact/v1/snapshots.grpc.pb.h"

namespace vexact::client {

// Whether gRPC itself sends a call again that the server has certainly not seen.
enum class Retries { kOn, kOff };

// Safe from any thread.
class Connection {
 public:
  explicit Connection(std::string address, ConnectOptions options = {},
                      Retries retries = Retries::kOn);

  const std::string& address() const { return address_; }
  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }
  template <typename Service>
  typename Service::Stub& stub() {
    return std::get<typename Service::Stub>(stubs_);
  }

  // To be done to the context of every call. No deadline when it is InfiniteFuture.
  void Prepare(absl::Time deadline, grpc::ClientContext* context) const;

  // The same code; the message is the server's own, or, when it comes from gRPC and not from the
  // server, one that names the address and what to check.
  absl::Status ToAbsl(const grpc::Status& status) const;
  // The same, with the request's id (RequestId) where the server gave one. REQUIRES: the call of
  // `context` has ended.
  absl::Status ToAbsl(const grpc::Status& status, const grpc::ClientContext& context) const;

 private:
  // What may be behind a connection that could not be made or broke: a hint, or nothing.
  std::string Hint(const std::string& message) const;

  std::string address_;
  ConnectOptions options_;
  std::shared_ptr<grpc::Channel> channel_;
  std::tuple<v1::Collections::Stub, v1::Points::Stub, v1::Search::Stub, v1::Server::Stub,
             v1::Snapshots::Stub, grpc::health::v1::Health::Stub>
      stubs_;
};

// InfiniteFuture for an infinite timeout.
absl::Time DeadlineAfter(absl::Duration timeout);

}  // namespace vexact::client

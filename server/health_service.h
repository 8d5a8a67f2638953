// grpc.health.v1.Health: whether requests are let in.
#pragma once

#include <grpcpp/grpcpp.h>

#include <mutex>
#include <set>
#include <string>
#include <string_view>

#include "grpc/health/v1/health.grpc.pb.h"

namespace vexact::server {

// Says NOT_SERVING from its first moment on, which gRPC's own health service does not. Who asks
// needs no key, and is neither counted nor logged.
//
// Thread safety: every method may be called from any thread.
class HealthService final : public grpc::health::v1::Health::CallbackService {
 public:
  // `services`: the full names for which one may ask, beside "" for the server as a whole. All have
  // the same status.
  explicit HealthService(std::set<std::string, std::less<>> services);

  // SERVING, unless Stop() was called.
  void Serve();
  // NOT_SERVING for good.
  void Stop();

  grpc::ServerUnaryReactor* Check(grpc::CallbackServerContext* call,
                                  const grpc::health::v1::HealthCheckRequest* request,
                                  grpc::health::v1::HealthCheckResponse* response) override;
  grpc::ServerWriteReactor<grpc::health::v1::HealthCheckResponse>* Watch(
      grpc::CallbackServerContext* call,
      const grpc::health::v1::HealthCheckRequest* request) override;

 private:
  class Watcher;
  using Status = grpc::health::v1::HealthCheckResponse::ServingStatus;

  bool Knows(std::string_view service) const;
  // REQUIRES: mutex_ is held.
  void TellWatchers() const;

  const std::set<std::string, std::less<>> services_;
  std::mutex mutex_;  // guards what follows
  Status status_;     // of every service
  bool stopped_ = false;
  std::set<Watcher*> watchers_;  // calls of Watch that are open
};

}  // namespace vexact::server

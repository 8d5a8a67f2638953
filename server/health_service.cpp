#include "server/health_service.h"

#include <optional>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace vexact::server {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

// One call of Watch. Owns itself: gRPC calls OnDone once, after everything else.
class HealthService::Watcher final : public grpc::ServerWriteReactor<HealthCheckResponse> {
 public:
  // `known`: otherwise it stays with SERVICE_UNKNOWN.
  Watcher(HealthService& service, bool known) : service_(service), known_(known) {
    const std::lock_guard lock(service_.mutex_);
    service_.watchers_.insert(this);
    Tell();
  }

  // Sends the status, unless the watcher has it. What comes while it is being sent goes after it.
  // REQUIRES: the service's mutex is held. (gRPC never calls back from within a call of ours.)
  void Tell() {
    const Status status = known_ ? service_.status_ : HealthCheckResponse::SERVICE_UNKNOWN;
    if (writing_ || ended_ || told_ == status) return;
    told_ = status;
    message_.set_status(status);
    writing_ = true;
    StartWrite(&message_);
  }

 private:
  void OnWriteDone(bool ok) override {
    const std::lock_guard lock(service_.mutex_);
    writing_ = false;
    ended_ = ended_ || !ok;
    ended_ ? Finish(grpc::Status::CANCELLED) : Tell();
  }
  void OnCancel() override {
    const std::lock_guard lock(service_.mutex_);
    if (std::exchange(ended_, true) || writing_) return;  // OnWriteDone finishes, or has
    Finish(grpc::Status::CANCELLED);
  }
  void OnDone() override {
    {
      const std::lock_guard lock(service_.mutex_);
      service_.watchers_.erase(this);
    }
    delete this;
  }

  HealthService& service_;
  const bool known_;
  HealthCheckResponse message_;  // while writing_: gRPC's
  std::optional<Status> told_;
  bool writing_ = false, ended_ = false;
};

HealthService::HealthService(std::set<std::string, std::less<>> services)
    : services_(std::move(services)), status_(HealthCheckResponse::NOT_SERVING) {}

void HealthService::Serve() {
  const std::lock_guard lock(mutex_);
  if (stopped_) return;
  status_ = HealthCheckResponse::SERVING;
  TellWatchers();
}

void HealthService::Stop() {
  const std::lock_guard lock(mutex_);
  stopped_ = true;
  status_ = HealthCheckResponse::NOT_SERVING;
  TellWatchers();
}

void HealthService::TellWatchers() const {
  for (Watcher* watcher : watchers_) watcher->Tell();
}

bool HealthService::Knows(std::string_view service) const {
  return service.empty() || services_.contains(service);
}

grpc::ServerUnaryReactor* HealthService::Check(grpc::CallbackServerContext* call,
                                               const HealthCheckRequest* request,
                                               HealthCheckResponse* response) {
  grpc::ServerUnaryReactor* const reactor = call->DefaultReactor();
  if (Knows(request->service())) {
    const std::lock_guard lock(mutex_);
    response->set_status(status_);
    reactor->Finish(grpc::Status::OK);
  } else {
    reactor->Finish({grpc::StatusCode::NOT_FOUND,
                     absl::StrFormat("no service \"%s\". There are %s, and \"\" for the server.",
                                     absl::CHexEscape(request->service().substr(0, 100)),
                                     absl::StrJoin(services_, ", "))});
  }
  return reactor;
}

grpc::ServerWriteReactor<HealthCheckResponse>* HealthService::Watch(
    grpc::CallbackServerContext*, const HealthCheckRequest* request) {
  return new Watcher(*this, Knows(request->service()));
}

}  // namespace vexact::server

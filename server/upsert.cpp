#include "server/upsert.h"

#include <optional>
#include <stop_token>
#include <string_view>
#include <utility>

#include "absl/strings/str_format.h"
#include "server/call.h"
#include "server/convert.h"

namespace vexact::server {
namespace {

constexpr std::string_view kMethod = "Points/BulkUpsert";

// One stream. At any moment one of these is under way: a read, the application of a request, a
// write, or the end. So its members need no lock. Owns itself, like a unary call.
class BulkUpsert final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  BulkUpsert(ServiceContext& context, grpc::CallbackServerContext& call)
      : context_(context),
        call_(call),
        trace_(context, call, kMethod),
        interrupt_{.stop = stop_.get_token(), .deadline = DeadlineOf(call)} {}

  void Start() {
    if (absl::Status status = Admit(); !status.ok()) return End(status);
    if (absl::Status status = context_.admission.status(); !status.ok()) return Refuse(status);
    StartRead(&incoming_);
  }

 private:
  // For each request anew: a stream may be open when its key is revoked.
  absl::Status Admit() {
    absl::StatusOr<Caller> caller =
        context_.access.Admit(call_, Permission<v1::UpsertRequest>::kRole, kMethod);
    if (caller.ok()) caller_ = *std::move(caller);
    return caller.status();
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      return End(call_.IsCancelled() ? Broken("while it waited for a request") : absl::OkStatus());
    }
    if (absl::Status status = Admit(); !status.ok()) return End(status);
    absl::StatusOr<Admission::Ticket> ticket = context_.admission.Enter();
    if (!ticket.ok()) return Refuse(ticket.status());
    ticket_ = *std::move(ticket);
    trace_.Arrive();
    context_.threads.Run([this] {
      trace_.Begin();
      const absl::Status status = RunGuarded([this] { return Apply(); });
      storage_fails_ = context_.storage.Watch();
      trace_.Answered();
      if (!status.ok()) {
        return End(
            Prefixed(absl::StrFormat("request %d of the stream", acknowledged_ + 1), status));
      }
      StartWrite(&outgoing_);
    });
  }

  // Parses and applies the request in hand and prepares its acknowledgement.
  absl::Status Apply() {
    if (absl::Status status = interrupt_.Check(); !status.ok()) return status;
    google::protobuf::Arena arena;
    auto& request = *google::protobuf::Arena::CreateMessage<v1::UpsertRequest>(&arena);
    if (absl::Status status = Parse(*caller_, incoming_, request); !status.ok()) return status;
    incoming_.Clear();
    v1::BulkUpsertResponse response;
    absl::Status status =
        ApplyUpsert(context_.catalog(), request, trace_, *response.mutable_result());
    if (!status.ok()) return status;
    response.set_acknowledged(acknowledged_ + 1);
    return Serialize(context_.config, response, outgoing_);
  }

  void OnWriteDone(bool ok) override {
    if (!ok) return End(Broken("before a request could be acknowledged"));
    ++acknowledged_;
    ticket_ = {};
    if (absl::Status status = context_.admission.status(); !status.ok()) return Refuse(status);
    StartRead(&incoming_);
  }

  void Refuse(const absl::Status& status) {
    context_.metrics.CountRefusal(Refusal::kNotServing);
    End(status);
  }

  absl::Status Broken(std::string_view when) const {
    return absl::CancelledError(
        absl::StrFormat("the stream ended %s; %d requests were acknowledged", when, acknowledged_));
  }

  // The last act: gRPC may have destroyed this when Finish returns.
  void End(const absl::Status& status) {
    trace_.End(status, storage_fails_);
    Finish(ToGrpc(status));
  }

  void OnCancel() override { stop_.request_stop(); }
  void OnDone() override { delete this; }

  ServiceContext& context_;
  const grpc::CallbackServerContext& call_;
  RequestTrace trace_;
  std::stop_source stop_;
  const Interrupt interrupt_;
  std::optional<Caller> caller_;
  grpc::ByteBuffer incoming_;
  grpc::ByteBuffer outgoing_;
  uint64_t acknowledged_ = 0;
  Admission::Ticket ticket_;  // of the request in hand
  bool storage_fails_ = false;
};

}  // namespace

absl::Status ApplyUpsert(Catalog& catalog, const v1::UpsertRequest& request, RequestTrace& trace,
                         v1::UpsertResponse& response) {
  const auto collection = catalog.Get(request.collection());
  if (!collection.ok()) return collection.status();
  FloatViews floats;
  const auto points = ReadPoints(request, **collection, floats);
  if (!points.ok()) return points.status();
  trace.write() = {.collection = (*collection)->name(), .rows = points->size()};
  const auto result = (*collection)->Upsert(*points);
  if (!result.ok()) return result.status();
  Fill(*result, response);
  return absl::OkStatus();
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* StartBulkUpsert(
    ServiceContext& context, grpc::CallbackServerContext* call) {
  auto* reactor = new BulkUpsert(context, *call);
  reactor->Start();
  return reactor;
}

}  // namespace vexact::server

#include "server/call.h"

#include <google/protobuf/message.h>
#include <grpcpp/support/proto_buffer_reader.h>
#include <grpcpp/support/proto_buffer_writer.h>

#include <exception>
#include <new>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "server/pace.h"

namespace vexact::server {
namespace {

// Answers are written in blocks of at most this.
constexpr int kWriteBlockBytes = 1 << 20;

// The client gives up at its deadline and cancels, at about the time at which the server's copy of
// that deadline, which took the request's way across the network, passes. A cancellation this close
// to it is the deadline's.
constexpr absl::Duration kDeadlineSlack = absl::Milliseconds(50);

// Of a status made by TryLater: the milliseconds, in decimal.
constexpr char kRetryPayload[] = "vexact/retry_ms";

// Owns itself: gRPC calls OnDone once, after everything else.
class UnaryCall final : public grpc::ServerUnaryReactor {
 public:
  using Handler = std::function<void(const CallInfo&, Respond)>;

  UnaryCall(ServiceContext& context, grpc::CallbackServerContext& call, std::string_view method,
            Handler handler)
      : context_(context),
        call_(call),
        handler_(std::move(handler)),
        trace_(context, call, method),
        interrupt_(call) {}

  void Start(Role role, std::string_view method, uint64_t bytes, bool here) {
    // What is refused can wait for the searches that are not; then many are refused at a time.
    SetPace(context_.scheduler.HasRoom() ? Pace::kAtOnce : Pace::kInTurn);
    absl::StatusOr<Caller> caller = context_.access.Admit(call_, role, method);
    if (!caller.ok()) return End(caller.status());
    caller_ = *std::move(caller);
    absl::StatusOr<Admission::Ticket> ticket = context_.admission.Enter(bytes);
    if (!ticket.ok()) {
      CountRefusal(context_.metrics, ticket.status());
      return End(ticket.status());
    }
    ticket_ = *std::move(ticket);
    if (here) return CarryOut();
    context_.threads.Run([this] { CarryOut(); });
  }

 private:
  void CarryOut() {
    trace_.Begin();
    absl::Status status = interrupt_->Check();
    if (status.ok()) {
      status = RunGuarded([this] {
        handler_({.trace = trace_, .interrupt = *interrupt_, .caller = *caller_},
                 [this](const absl::Status& result) { Complete(result); });
        return absl::OkStatus();
      });
      if (status.ok()) return;  // the handler has responded, or somebody will
    }
    Complete(status);
  }

  void Complete(const absl::Status& status) {
    storage_fails_ = context_.storage.Watch();
    if (absl::IsCancelled(status) && absl::Now() + kDeadlineSlack >= interrupt_->deadline) {
      return End(absl::DeadlineExceededError("the deadline passed before the request was done"));
    }
    End(status);
  }

  // The last act: gRPC may have destroyed this when Finish returns.
  void End(const absl::Status& status) {
    trace_.Answered();
    trace_.End(status, storage_fails_);
    Finish(ToGrpc(status, caller_));
  }

  void OnCancel() override { interrupt_.Cancel(); }
  void OnDone() override {
    Scheduler& scheduler = context_.scheduler;
    delete this;
    scheduler.GiveAnswers();
  }
  // Neither of the two waits for anything: gRPC need not wake a thread for them, which would cost a
  // quarter of what a small call costs.
  bool InternalInlineable() override { return true; }

  ServiceContext& context_;
  grpc::CallbackServerContext& call_;
  const Handler handler_;
  RequestTrace trace_;
  CallInterrupt interrupt_;
  std::optional<Caller> caller_;  // once it is let in
  Admission::Ticket ticket_;
  bool storage_fails_ = false;
};

}  // namespace

grpc::ServerUnaryReactor* StartUnaryLater(ServiceContext& context,
                                          grpc::CallbackServerContext* call, Role role,
                                          std::string_view method, uint64_t bytes, bool here,
                                          std::function<void(const CallInfo&, Respond)> handler) {
  auto* reactor = new UnaryCall(context, *call, method, std::move(handler));
  reactor->Start(role, method, bytes, here);
  return reactor;
}

grpc::ServerUnaryReactor* StartUnaryBytes(ServiceContext& context,
                                          grpc::CallbackServerContext* call, Role role,
                                          std::string_view method, uint64_t bytes,
                                          std::function<absl::Status(const CallInfo&)> handler) {
  return StartUnaryLater(
      context, call, role, method, bytes, /*here=*/false,
      [handler = std::move(handler)](const CallInfo& info, const Respond& respond) {
        respond(RunGuarded([&] { return handler(info); }));
      });
}

absl::Status TryLater(std::string_view why, std::chrono::milliseconds retry) {
  absl::Status status =
      absl::ResourceExhaustedError(absl::StrFormat("%s; try again in %d ms", why, retry.count()));
  status.SetPayload(kRetryPayload, absl::Cord(std::to_string(retry.count())));
  return status;
}

std::optional<std::string> RetryAfter(const absl::Status& status) {
  const auto retry = status.GetPayload(kRetryPayload);
  if (!retry) return std::nullopt;
  return std::string(*retry);
}

void CountRefusal(Metrics& metrics, const absl::Status& status) {
  metrics.CountRefusal(absl::IsResourceExhausted(status) ? Refusal::kBytesInFlight
                                                         : Refusal::kNotServing);
}

absl::Time DeadlineOf(const grpc::CallbackServerContext& call) {
  const std::chrono::system_clock::time_point deadline = call.deadline();
  if (deadline == std::chrono::system_clock::time_point::max()) return absl::InfiniteFuture();
  return absl::FromChrono(deadline);
}

absl::Status RunGuarded(const std::function<absl::Status()>& handler) {
  try {
    return handler();
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("the server has not enough memory for this request");
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrFormat("unexpected failure: %s", error.what()));
  }
}

absl::Status CheckAnswerBytes(const Config& config, uint64_t bytes, bool at_least) {
  if (bytes <= static_cast<uint64_t>(config.max_message_bytes)) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrFormat(
      "the answer takes %s%d bytes; the server's message limit is %d (max_message_bytes); ask for "
      "less at a time",
      at_least ? "at least " : "", bytes, config.max_message_bytes));
}

absl::Status ParseMessage(const grpc::ByteBuffer& bytes, google::protobuf::Message& message) {
  grpc::ByteBuffer shared = bytes;  // the reader consumes its buffer; this shares its slices
  grpc::ProtoBufferReader reader(&shared);
  if (reader.status().ok() && message.ParseFromZeroCopyStream(&reader)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("the bytes received are not a %s; is a text not UTF-8?",
                      message.GetDescriptor()->full_name()));
}

absl::Status Serialize(const Config& config, const google::protobuf::Message& message,
                       grpc::ByteBuffer& bytes) {
  const size_t size = message.ByteSizeLong();
  absl::Status status = CheckAnswerBytes(config, size, /*at_least=*/false);
  if (!status.ok()) return status;
  grpc::ByteBuffer written;
  // The writer gives its bytes to the buffer when it is destroyed.
  {
    grpc::ProtoBufferWriter writer(&written, kWriteBlockBytes, static_cast<int>(size));
    if (!message.SerializeToZeroCopyStream(&writer)) {
      return absl::InternalError("the answer could not be written");
    }
  }
  bytes.Swap(&written);
  return absl::OkStatus();
}

grpc::Status ToGrpc(const absl::Status& status, const std::optional<Caller>& caller) {
  if (status.ok()) return grpc::Status::OK;
  std::string message(status.message());
  const auto names = status.GetPayload(kCollectionNamesPayload);
  if (names && caller && !caller->limited()) absl::StrAppend(&message, " ", std::string(*names));
  return {static_cast<grpc::StatusCode>(status.raw_code()), message};
}

}  // namespace vexact::server

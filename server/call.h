// Carrying out a call: from gRPC's thread to a request thread and back, with its status, its limits
// and its log line.
//
// Messages come and go as bytes and are parsed on the request thread, so that gRPC's threads only
// move bytes and a message that cannot be parsed gets a status of ours.
#pragma once

#include <google/protobuf/arena.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "core/interrupt.h"
#include "server/permissions.h"
#include "server/request_trace.h"
#include "server/service_context.h"

namespace vexact::server {

// What a handler may ask about the call it carries out.
struct CallInfo {
  RequestTrace& trace;
  // Of the caller: its deadline, its cancellation.
  Interrupt interrupt;
  // What lists collections leaves out those that the caller does not see.
  const Caller& caller;
};

// Carries out a unary call, for which `role` is needed: lets it in, runs `handler` on a request
// thread, and finishes the call with its status. The handler reads the request's bytes and leaves
// the response's. A call whose caller has gone before its turn is dropped. An exception becomes
// RESOURCE_EXHAUSTED (memory) or INTERNAL. `method` is for the log and lives for ever; `bytes` is
// what the request weighs.
grpc::ServerUnaryReactor* StartUnaryBytes(ServiceContext& context,
                                          grpc::CallbackServerContext* call, Role role,
                                          std::string_view method, uint64_t bytes,
                                          std::function<absl::Status(const CallInfo&)> handler);

// Takes a call's status, once, from any thread; the call may be gone when it returns.
using Respond = std::function<void(const absl::Status&)>;

// The same for a handler that may leave the answer to others: it is called with what they have to
// call in the end. `here`: on gRPC's own thread, for what takes some microseconds.
grpc::ServerUnaryReactor* StartUnaryLater(ServiceContext& context,
                                          grpc::CallbackServerContext* call, Role role,
                                          std::string_view method, uint64_t bytes, bool here,
                                          std::function<void(const CallInfo&, Respond)> handler);

// RESOURCE_EXHAUSTED of a server that has too much to do. A call that ends with it tells its client
// when to come again, in the trailing metadata that gRPC's retries go by, `grpc-retry-pushback-ms`.
absl::Status TryLater(std::string_view why, std::chrono::milliseconds retry);
// In how many milliseconds, as text; nothing of any other status.
std::optional<std::string> RetryAfter(const absl::Status& status);

// Counts a request that was not let in, by why.
void CountRefusal(Metrics& metrics, const absl::Status& status);

// The deadline that the caller gave, or the infinite future.
absl::Time DeadlineOf(const grpc::CallbackServerContext& call);

// Why a call should stop: its deadline, or its caller, of whose leaving gRPC tells on a thread of
// its own.
class CallInterrupt {
 public:
  explicit CallInterrupt(const grpc::CallbackServerContext& call)
      : interrupt_{.stop = source_.get_token(), .deadline = DeadlineOf(call)} {
    made_.store(true, std::memory_order_release);
  }

  // Safe from any thread, as soon as it is made.
  void Cancel() {
    // acquire: pairs with the release above. gRPC, too, orders the beginning of a call before its
    // cancellation, but not so that ThreadSanitizer sees it.
    if (made_.load(std::memory_order_acquire)) source_.request_stop();
  }

  const Interrupt& operator*() const { return interrupt_; }
  const Interrupt* operator->() const { return &interrupt_; }

 private:
  std::stop_source source_;
  const Interrupt interrupt_;
  std::atomic<bool> made_ = false;
};

// The handler's status, or that of the exception it threw.
absl::Status RunGuarded(const std::function<absl::Status()>& handler);

// RESOURCE_EXHAUSTED when an answer that takes `bytes`, or at least that many, is larger than the
// message limit.
absl::Status CheckAnswerBytes(const Config& config, uint64_t bytes, bool at_least);

// INVALID_ARGUMENT when the bytes are not such a message. For requests there is Parse.
absl::Status ParseMessage(const grpc::ByteBuffer& bytes, google::protobuf::Message& message);

// Reads a request: the only way to one, so that none is read for a caller who may not make it.
// INVALID_ARGUMENT when the bytes are not such a message; PERMISSION_DENIED when they name a
// collection for which the caller's key is not good.
template <typename Request>
absl::Status Parse(const Caller& caller, const grpc::ByteBuffer& bytes, Request& request) {
  if (absl::Status status = ParseMessage(bytes, request); !status.ok()) return status;
  return Permission<Request>::Check(caller, request);
}

// RESOURCE_EXHAUSTED when `message` is larger than the message limit.
absl::Status Serialize(const Config& config, const google::protobuf::Message& message,
                       grpc::ByteBuffer& bytes);

// The same status on the wire. Names of collections are told to a caller who may see all.
grpc::Status ToGrpc(const absl::Status& status, const std::optional<Caller>& caller);

// A unary call with its messages: `handler` is absl::Status(const Request&, const CallInfo&,
// Response&).
template <typename Request, typename Response, typename HandlerType>
grpc::ServerUnaryReactor* StartUnary(ServiceContext& context, grpc::CallbackServerContext* call,
                                     std::string_view method, const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response, HandlerType handler) {
  return StartUnaryBytes(
      context, call, Permission<Request>::kRole, method, request->Length(),
      [&context, request, response, handler](const CallInfo& info) -> absl::Status {
        google::protobuf::Arena arena;
        auto& parsed = *google::protobuf::Arena::CreateMessage<Request>(&arena);
        if (absl::Status status = Parse(info.caller, *request, parsed); !status.ok()) return status;
        auto& answer = *google::protobuf::Arena::CreateMessage<Response>(&arena);
        if (absl::Status status = handler(parsed, info, answer); !status.ok()) return status;
        return Serialize(context.config, answer, *response);
      });
}

}  // namespace vexact::server

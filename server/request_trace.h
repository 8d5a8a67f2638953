// What is known of one request: its id, and what it spent its time on.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "server/slow_log.h"

namespace vexact::server {

struct ServiceContext;

// The metadata, of a call and of its answer, in which a request's id is.
inline constexpr char kRequestIdKey[] = "x-request-id";
inline constexpr size_t kMaxRequestIdLength = 128;

// Gives a call its id: the client's own, where it sent one of printable ASCII of that length at
// most, otherwise one that is made here. The id goes into the answer's trailing metadata and into
// every log line about the request. When the call ends, it is counted, and logged if it failed or
// was slow.
//
// Thread safety: used by one thread at a time, as its call is.
class RequestTrace {
 public:
  using Clock = std::chrono::steady_clock;

  // `method` is "Service/Method" and lives for ever; the others outlive this.
  RequestTrace(ServiceContext& context, grpc::CallbackServerContext& call, std::string_view method);
  RequestTrace(const RequestTrace&) = delete;
  RequestTrace& operator=(const RequestTrace&) = delete;

  const std::string& id() const { return id_; }
  Clock::time_point arrival() const { return arrival_; }

  // The next request of a stream, which came then. (The first, or the only one, came with the
  // call.)
  void Arrive(Clock::time_point arrival);
  // A request thread has taken the request in hand.
  void Begin();

  // What the request is, and what it cost: filled in by who carries it out, read if it was slow.
  SlowSearch& search() { return work_.emplace<SlowSearch>(); }
  SlowWrite& write() { return work_.emplace<SlowWrite>(); }

  // The request is answered.
  void Answered();
  // The call is over. While the storage fails, as the log says already, the calls that it makes
  // fail are logged at level debug; so are those that are refused because there is too much to do,
  // which the log counts (server/overload_log.h).
  void End(const absl::Status& status, bool storage_fails);

 private:
  void ReadId();
  // Who calls, as words of a log line, each behind a space: the name of his key, and the subject of
  // his certificate. Looked up when it is asked for, as few calls are logged.
  std::string Who() const;

  ServiceContext& context_;
  grpc::CallbackServerContext& call_;
  const std::string_view method_;
  std::string id_;
  Clock::time_point arrival_;
  Clock::time_point begin_;  // the arrival until Begin
  SlowWork work_;
  SlowLog::Mark mark_;  // at Begin
};

}  // namespace vexact::server

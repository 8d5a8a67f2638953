#include "server/request_trace.h"

#include <grpc/grpc_security_constants.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/call.h"
#include "server/log.h"
#include "server/service_context.h"

namespace vexact::server {
namespace {

// The trailing metadata by which gRPC's retries go: milliseconds, in decimal.
constexpr char kRetryKey[] = "grpc-retry-pushback-ms";

// Twelve hexadecimal digits: short enough to be said on the telephone and to need no allocation.
std::string MakeId() {
  static constexpr int kDigits = 12;
  thread_local std::mt19937_64 random{std::random_device{}()};
  std::string id(kDigits, '0');
  uint64_t bits = random();
  for (char& digit : id) {
    digit = "0123456789abcdef"[bits & 0xf];
    bits >>= 4;
  }
  return id;
}

bool IsRequestId(grpc::string_ref id) {
  return !id.empty() && id.size() <= kMaxRequestIdLength &&
         std::all_of(id.begin(), id.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

}  // namespace

RequestTrace::RequestTrace(ServiceContext& context, grpc::CallbackServerContext& call,
                           std::string_view method)
    : context_(context), call_(call), method_(method), arrival_(Clock::now()), begin_(arrival_) {
  ReadId();
  call.AddTrailingMetadata(kRequestIdKey, id_);
}

void RequestTrace::ReadId() {
  const auto& metadata = call_.client_metadata();
  const auto given = metadata.find(kRequestIdKey);
  if (given != metadata.end() && IsRequestId(given->second)) {
    id_.assign(given->second.data(), given->second.size());
    return;
  }
  id_ = MakeId();
  if (given == metadata.end()) return;
  spdlog::debug("request_id_replaced method={} peer={} request_id={} message={}", method_,
                LogValue(call_.peer()), id_,
                LogValue(absl::StrFormat("the client's %s is not 1 to %d characters of printable "
                                         "ASCII",
                                         kRequestIdKey, kMaxRequestIdLength)));
}

void RequestTrace::Arrive(Clock::time_point arrival) {
  arrival_ = begin_ = arrival;
  work_.emplace<std::monostate>();
}

void RequestTrace::Begin() {
  begin_ = Clock::now();
  mark_ = context_.slow_log.Take(begin_);
}

void RequestTrace::Answered() {
  const Clock::time_point now = Clock::now();
  context_.metrics.ObserveRequest(method_, now - arrival_);
  if (context_.slow_log.IsSlow(now - arrival_)) {
    context_.slow_log.Write({method_, id_, Who(), arrival_, begin_, now, mark_}, work_);
  }
  // The collection need not live as long as gRPC takes to be done with the call.
  work_.emplace<std::monostate>();
}

void RequestTrace::End(const absl::Status& status, bool storage_fails) {
  context_.metrics.CountCall(method_, status.code());
  if (status.ok()) return;
  const std::optional<std::string> retry = RetryAfter(status);
  if (retry) call_.AddTrailingMetadata(kRetryKey, *retry);
  const bool known = storage_fails && (absl::IsResourceExhausted(status) ||
                                       absl::IsUnavailable(status) || absl::IsDataLoss(status));
  const auto level = known || retry ? spdlog::level::debug : spdlog::level::warn;
  if (!spdlog::should_log(level)) return;  // what follows is dear where much is refused
  const std::chrono::duration<double, std::milli> duration = Clock::now() - arrival_;
  spdlog::log(level, "request method={} code={} peer={}{} ms={:.3f} request_id={} message={}",
              method_, absl::StatusCodeToString(status.code()), LogValue(call_.peer()), Who(),
              duration.count(), LogValue(id_), LogValue(status));
}

std::string RequestTrace::Who() const {
  std::string who;
  const std::string key = context_.access.KeyName(call_);
  if (!key.empty()) absl::StrAppend(&who, " key=", LogValue(key));
  for (const grpc::string_ref& subject :
       call_.auth_context()->FindPropertyValues(GRPC_X509_SUBJECT_PROPERTY_NAME)) {
    absl::StrAppend(&who, " subject=", LogValue({subject.data(), subject.size()}));
  }
  return who;
}

}  // namespace vexact::server

// Who makes a call, and whether he may.
#pragma once

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/api_keys.h"
#include "server/metrics.h"

namespace vexact::server {

// Somebody whose call was let in. There is none but by Access::Admit, and no request is parsed
// without one (server/call.h).
class Caller {
 public:
  // PERMISSION_DENIED when its key is not good for that collection, whether there is one or not.
  // None has an empty name, and everybody may ask for that.
  absl::Status Check(std::string_view collection) const;

  // The same as a question: what lists collections leaves the others out.
  bool Sees(std::string_view collection) const;

  // Its key is good for some collections only.
  bool limited() const { return key_ != nullptr && !key_->collections.empty(); }

  // Requests that its key may make in a second; 0: as many as it likes.
  int64_t requests_per_second() const { return requests_per_second_; }

 private:
  friend class Access;
  Caller(std::shared_ptr<const ApiKey> key, int64_t requests_per_second)
      : key_(std::move(key)), requests_per_second_(requests_per_second) {}

  // Null when the server asks for none: everything is allowed.
  std::shared_ptr<const ApiKey> key_;
  int64_t requests_per_second_;
};

// The door: looks at the API key that a call brings in its metadata, `authorization: Bearer KEY`.
//
// Thread safety: every method may be called from any thread.
class Access {
 public:
  // Refusals are counted there.
  explicit Access(Metrics& metrics);

  // UNAUTHENTICATED when the call has no key, or one that is not known. RESOURCE_EXHAUSTED
  // (TryLater) when the key has made as many requests as it may: a call is one, a stream too.
  // PERMISSION_DENIED when its role is not enough for `method`, which needs `role`.
  absl::StatusOr<Caller> Admit(const grpc::CallbackServerContext& call, Role role,
                               std::string_view method) const;
  // The same for a stream that was let in and goes on: it is not counted again.
  absl::StatusOr<Caller> AdmitAgain(const grpc::CallbackServerContext& call, Role role,
                                    std::string_view method) const;

  // The name of the key that a call brings; empty where that is none, or nobody's.
  std::string KeyName(const grpc::CallbackServerContext& call) const;

  // From here on these keys are known and no others; without any, everybody is let in. Each may
  // make so many requests in a second, unless it says otherwise; 0: as many as it likes. What they
  // made before is forgotten.
  void Replace(ApiKeys keys, int64_t requests_per_second);

 private:
  struct Known;
  std::shared_ptr<const Known> known() const;

  absl::StatusOr<Caller> Find(const grpc::CallbackServerContext& call, Role role,
                              std::string_view method, bool count) const;

  Metrics& metrics_;
  mutable std::mutex mutex_;
  std::shared_ptr<const Known> known_;  // guarded by mutex_
};

}  // namespace vexact::server

// Who makes a call, and whether he may.
#pragma once

#include <grpcpp/grpcpp.h>

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

 private:
  friend class Access;
  explicit Caller(std::shared_ptr<const ApiKey> key) : key_(std::move(key)) {}

  // Null when the server asks for none: everything is allowed.
  std::shared_ptr<const ApiKey> key_;
};

// The door: looks at the API key that a call brings in its metadata, `authorization: Bearer KEY`.
//
// Thread safety: every method may be called from any thread.
class Access {
 public:
  // Refusals are counted there.
  explicit Access(Metrics& metrics) : metrics_(metrics) {}

  // UNAUTHENTICATED when the call has no key, or one that is not known. PERMISSION_DENIED when its
  // role is not enough for `method`, which needs `role`.
  absl::StatusOr<Caller> Admit(const grpc::CallbackServerContext& call, Role role,
                               std::string_view method) const;

  // From here on these keys are known and no others; without any, everybody is let in.
  void Replace(ApiKeys keys);

 private:
  std::shared_ptr<const ApiKeys> keys() const;

  absl::StatusOr<Caller> Find(const grpc::CallbackServerContext& call, Role role,
                              std::string_view method) const;

  Metrics& metrics_;
  mutable std::mutex mutex_;
  std::shared_ptr<const ApiKeys> keys_ = std::make_shared<const ApiKeys>();  // guarded by mutex_
};

}  // namespace vexact::server

#include "server/access.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_format.h"
#include "core/name.h"

namespace vexact::server {
namespace {

constexpr char kMetadata[] = "authorization";
constexpr std::string_view kScheme = "bearer ";

// The case of the scheme does not matter (RFC 9110, section 11.1).
bool HasScheme(std::string_view value) {
  return absl::AsciiStrToLower(std::string(value.substr(0, kScheme.size()))) == kScheme;
}

// The key that a call brings.
absl::StatusOr<std::string_view> SecretOf(const grpc::CallbackServerContext& call) {
  const auto [first, last] = call.client_metadata().equal_range(kMetadata);
  if (first == last) {
    return absl::UnauthenticatedError(
        "this server asks for an API key: send the metadata \"authorization: Bearer KEY\" (vexact: "
        "VEXACT_API_KEY or --api-key-file)");
  }
  const std::string_view value(first->second.data(), first->second.size());
  if (std::next(first) != last || !HasScheme(value)) {
    return absl::UnauthenticatedError(
        "the metadata \"authorization\" must be there once, as \"Bearer KEY\"");
  }
  return value.substr(kScheme.size());
}

}  // namespace

bool Caller::Sees(std::string_view collection) const {
  return !limited() || std::ranges::find(key_->collections, collection) != key_->collections.end();
}

absl::Status Caller::Check(std::string_view collection) const {
  if (collection.empty() || Sees(collection)) return absl::OkStatus();
  return absl::PermissionDeniedError(
      absl::StrFormat("the API key \"%s\" is not good for collection \"%s\"", key_->name,
                      absl::CHexEscape(std::string(collection.substr(0, kMaxNameLength)))));
}

absl::StatusOr<Caller> Access::Admit(const grpc::CallbackServerContext& call, Role role,
                                     std::string_view method) const {
  absl::StatusOr<Caller> caller = Find(call, role, method);
  if (absl::IsUnauthenticated(caller.status())) metrics_.CountRefusal(Refusal::kUnauthenticated);
  if (absl::IsPermissionDenied(caller.status())) metrics_.CountRefusal(Refusal::kPermission);
  return caller;
}

absl::StatusOr<Caller> Access::Find(const grpc::CallbackServerContext& call, Role role,
                                    std::string_view method) const {
  const std::shared_ptr<const ApiKeys> known = keys();
  if (known->empty()) return Caller(nullptr);
  const absl::StatusOr<std::string_view> secret = SecretOf(call);
  if (!secret.ok()) return secret.status();
  std::shared_ptr<const ApiKey> key = known->Find(*secret);
  if (key == nullptr) {
    return absl::UnauthenticatedError(
        "this server does not know the API key; was it revoked, or is it another server's?");
  }
  if (key->role < role) {
    return absl::PermissionDeniedError(
        absl::StrFormat("the API key \"%s\" has the role %s; %s needs %s", key->name,
                        Name(key->role), method, Name(role)));
  }
  return Caller(std::move(key));
}

void Access::Replace(ApiKeys keys) {
  auto replaced = std::make_shared<const ApiKeys>(std::move(keys));
  const std::lock_guard lock(mutex_);
  keys_.swap(replaced);
}

std::shared_ptr<const ApiKeys> Access::keys() const {
  const std::lock_guard lock(mutex_);
  return keys_;
}

}  // namespace vexact::server

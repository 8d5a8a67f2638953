#include "server/access.h"

#include <algorithm>
#include <chrono>
#include <unordered_map>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_format.h"
#include "core/name.h"
#include "server/call.h"
#include "server/rate_limit.h"

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

// Immutable but for the counts.
struct Access::Known {
  ApiKeys keys;
  int64_t requests_per_second = 0;
  // Of the keys that have one. Made once: who has found a key may use its limit.
  std::unordered_map<const ApiKey*, std::unique_ptr<RateLimit>> limits;

  int64_t RateOf(const ApiKey& key) const {
    return key.requests_per_second.value_or(requests_per_second);
  }

  // One more request of a key.
  absl::Status Count(const ApiKey& key) const {
    const auto limit = limits.find(&key);
    if (limit == limits.end()) return absl::OkStatus();
    const auto wait = limit->second->Take(RateLimit::Clock::now());
    if (wait.count() == 0) return absl::OkStatus();
    return TryLater(absl::StrFormat("the API key \"%s\" makes more requests than its limit of %d a "
                                    "second",
                                    key.name, RateOf(key)),
                    std::chrono::ceil<std::chrono::milliseconds>(wait));
  }
};

Access::Access(Metrics& metrics) : metrics_(metrics), known_(std::make_shared<const Known>()) {}

absl::StatusOr<Caller> Access::Admit(const grpc::CallbackServerContext& call, Role role,
                                     std::string_view method) const {
  return Find(call, role, method, /*count=*/true);
}

absl::StatusOr<Caller> Access::AdmitAgain(const grpc::CallbackServerContext& call, Role role,
                                          std::string_view method) const {
  return Find(call, role, method, /*count=*/false);
}

absl::StatusOr<Caller> Access::Find(const grpc::CallbackServerContext& call, Role role,
                                    std::string_view method, bool count) const {
  const std::shared_ptr<const Known> known = this->known();
  if (known->keys.empty()) return Caller(nullptr, 0);
  const absl::StatusOr<std::string_view> secret = SecretOf(call);
  std::shared_ptr<const ApiKey> key = secret.ok() ? known->keys.Find(*secret) : nullptr;
  if (key == nullptr) {
    metrics_.CountRefusal(Refusal::kUnauthenticated);
    if (!secret.ok()) return secret.status();
    return absl::UnauthenticatedError(
        "this server does not know the API key; was it revoked, or is it another server's?");
  }
  if (count) {
    if (absl::Status status = known->Count(*key); !status.ok()) {
      metrics_.CountRefusal(Refusal::kRate);
      return status;
    }
  }
  if (key->role < role) {
    metrics_.CountRefusal(Refusal::kPermission);
    return absl::PermissionDeniedError(
        absl::StrFormat("the API key \"%s\" has the role %s; %s needs %s", key->name,
                        Name(key->role), method, Name(role)));
  }
  const int64_t rate = known->RateOf(*key);
  return Caller(std::move(key), rate);
}

std::string Access::KeyName(const grpc::CallbackServerContext& call) const {
  const std::shared_ptr<const Known> known = this->known();
  if (known->keys.empty()) return "";
  const absl::StatusOr<std::string_view> secret = SecretOf(call);
  if (!secret.ok()) return "";
  const std::shared_ptr<const ApiKey> key = known->keys.Find(*secret);
  return key == nullptr ? "" : key->name;
}

void Access::Replace(ApiKeys keys, int64_t requests_per_second) {
  auto replaced = std::make_shared<Known>();
  replaced->keys = std::move(keys);
  replaced->requests_per_second = requests_per_second;
  for (const auto& key : replaced->keys.all()) {
    const int64_t rate = replaced->RateOf(*key);
    if (rate > 0) replaced->limits.emplace(key.get(), std::make_unique<RateLimit>(rate));
  }
  std::shared_ptr<const Known> before = std::move(replaced);
  const std::lock_guard lock(mutex_);
  known_.swap(before);
}

std::shared_ptr<const Access::Known> Access::known() const {
  const std::lock_guard lock(mutex_);
  return known_;
}

}  // namespace vexact::server

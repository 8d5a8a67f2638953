// The API keys that a server knows: whose each is, and what it is good for.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace vexact::server {

// Each may do what those before it may.
enum class Role {
  kRead,   // search, get, list, describe
  kWrite,  // upsert and delete points
  kAdmin,  // create, change and drop collections; snapshots
};

// "read", "write" or "admin".
std::string_view Name(Role role);

// So many are compared with a key in about 30 us.
inline constexpr size_t kMaxApiKeys = 1000;

// The key itself is not kept: it has 256 random bits, so that nobody finds one that fits its hash.
struct ApiKey {
  std::string name;  // whose key it is, for messages
  Role role = Role::kRead;
  // Those that it is good for; empty: all.
  std::vector<std::string> collections;
  std::array<unsigned char, 32> sha256{};
  // What it may ask in a second; 0: as often as it likes; absent: as often as keys do that say
  // nothing.
  std::optional<int64_t> requests_per_second;
};

// Immutable, and so safe from any thread.
class ApiKeys {
 public:
  ApiKeys() = default;

  // One key a line, four words: NAME ROLE COLLECTIONS sha256:HEX. ROLE is read, write or admin;
  // COLLECTIONS is * or names with commas between them; HEX is the SHA-256 of the key in 64
  // hexadecimal digits. A fifth word, rate:N, says how many requests it may make in a second.
  // Empty lines and what follows a # are passed over; a ; ends a line too.
  //
  // INVALID_ARGUMENT names the line, from 1, and never shows a word that may be a key by mistake.
  // There must be at least one key and at most kMaxApiKeys, each with a name and a hash of its own.
  static absl::StatusOr<ApiKeys> Parse(std::string_view text);

  // No key at all: the server asks for none.
  bool empty() const { return keys_.empty(); }
  size_t size() const { return keys_.size(); }
  const std::vector<std::shared_ptr<const ApiKey>>& all() const { return keys_; }

  // The key of which `secret` is the text, or null. Takes as long for every text of one length.
  std::shared_ptr<const ApiKey> Find(std::string_view secret) const;

 private:
  std::vector<std::shared_ptr<const ApiKey>> keys_;
};

}  // namespace vexact::server

#include "server/api_keys.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "core/name.h"
#include "server/rate_limit.h"

namespace vexact::server {
namespace {

constexpr std::string_view kHashPrefix = "sha256:";
constexpr std::string_view kRatePrefix = "rate:";
// What `vexact key create` puts before a key.
constexpr std::string_view kKeyPrefix = "vx_";

std::vector<std::string> Split(const std::string& text, char at) {
  return absl::StrSplit(text, at);
}

absl::StatusOr<Role> ParseRole(const std::string& word) {
  for (const Role role : {Role::kRead, Role::kWrite, Role::kAdmin}) {
    if (word == Name(role)) return role;
  }
  return absl::InvalidArgumentError(absl::StrFormat(
      "\"%s\" is not a role; there are read, write and admin", absl::CHexEscape(word)));
}

absl::StatusOr<std::vector<std::string>> ParseCollections(const std::string& word) {
  if (word == "*") return std::vector<std::string>();
  std::vector<std::string> names = Split(word, ',');
  for (const std::string& name : names) {
    absl::Status status = ValidateName("a collection", "each between commas", name);
    if (!status.ok()) return status;
  }
  return names;
}

absl::StatusOr<std::array<unsigned char, 32>> ParseHash(const std::string& word) {
  if (word.starts_with(kKeyPrefix)) {
    return absl::InvalidArgumentError(
        "the fourth word is a key; give the server its hash instead, sha256: and what "
        "`printf %s KEY | sha256sum` prints, and make a new key if this file has been read");
  }
  std::array<unsigned char, 32> hash{};
  const std::string digits = word.substr(std::min(word.size(), kHashPrefix.size()));
  const bool right = word.starts_with(kHashPrefix) && digits.size() == 2 * hash.size() &&
                     std::ranges::all_of(digits, absl::ascii_isxdigit);
  if (!right) {
    return absl::InvalidArgumentError(
        "the fourth word must be sha256: and 64 hexadecimal digits, the hash of the key");
  }
  const std::string bytes = absl::HexStringToBytes(digits);
  std::ranges::copy(bytes, hash.begin());
  return hash;
}

absl::StatusOr<int64_t> ParseRate(const std::string& word) {
  int64_t rate = -1;
  if (word.starts_with(kRatePrefix) && absl::SimpleAtoi(word.substr(kRatePrefix.size()), &rate) &&
      rate >= 0 && rate <= RateLimit::kMostPerSecond) {
    return rate;
  }
  return absl::InvalidArgumentError(absl::StrFormat(
      "the fifth word must be rate: and a whole number from 0 to %d, the requests that the key may "
      "make in a second (0: no limit)",
      RateLimit::kMostPerSecond));
}

absl::StatusOr<ApiKey> ParseKey(const std::string& line) {
  const std::vector<std::string> words =
      absl::StrSplit(line, absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
  if (words.size() != 4 && words.size() != 5) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "there are %d words; a key has four, NAME ROLE COLLECTIONS sha256:HEX, and may have a "
        "fifth, rate:N",
        words.size()));
  }
  ApiKey key;
  key.name = words[0];
  if (absl::Status status = ValidateName("the name", "a key", key.name); !status.ok()) {
    return status;
  }
  const auto role = ParseRole(words[1]);
  if (!role.ok()) return role.status();
  key.role = *role;
  auto collections = ParseCollections(words[2]);
  if (!collections.ok()) return collections.status();
  key.collections = *std::move(collections);
  const auto hash = ParseHash(words[3]);
  if (!hash.ok()) return hash.status();
  key.sha256 = *hash;
  if (words.size() == 4) return key;
  const auto rate = ParseRate(words[4]);
  if (!rate.ok()) return rate.status();
  key.requests_per_second = *rate;
  return key;
}

absl::Status CheckNew(const std::vector<std::shared_ptr<const ApiKey>>& keys, const ApiKey& key) {
  if (keys.size() == kMaxApiKeys) {
    return absl::InvalidArgumentError(absl::StrFormat("there are more than %d keys", kMaxApiKeys));
  }
  for (const auto& other : keys) {
    if (other->name == key.name) {
      return absl::InvalidArgumentError(absl::StrFormat("there is a key \"%s\" already", key.name));
    }
    if (other->sha256 == key.sha256) {
      return absl::InvalidArgumentError(
          absl::StrFormat("\"%s\" has the same hash as \"%s\"; each needs a key of its own",
                          key.name, other->name));
    }
  }
  return absl::OkStatus();
}

}  // namespace

std::string_view Name(Role role) {
  switch (role) {
    case Role::kRead:
      return "read";
    case Role::kWrite:
      return "write";
    case Role::kAdmin:
      return "admin";
  }
  return "";
}

absl::StatusOr<ApiKeys> ApiKeys::Parse(std::string_view text) {
  ApiKeys keys;
  size_t number = 0;
  for (const std::string& line : Split(std::string(text), '\n')) {
    ++number;
    for (const std::string& part : Split(line.substr(0, line.find('#')), ';')) {
      if (absl::StripAsciiWhitespace(part).empty()) continue;
      absl::StatusOr<ApiKey> key = ParseKey(part);
      const absl::Status status = key.ok() ? CheckNew(keys.keys_, *key) : key.status();
      if (!status.ok()) {
        return absl::InvalidArgumentError(
            absl::StrFormat("line %d: %s", number, std::string(status.message())));
      }
      keys.keys_.push_back(std::make_shared<const ApiKey>(*std::move(key)));
    }
  }
  if (keys.empty()) {
    return absl::InvalidArgumentError("there is no key; vexact key create makes one");
  }
  return keys;
}

std::shared_ptr<const ApiKey> ApiKeys::Find(std::string_view secret) const {
  std::array<unsigned char, 32> sha256;
  SHA256(reinterpret_cast<const unsigned char*>(secret.data()), secret.size(), sha256.data());
  // Every key is looked at, whichever it is.
  std::shared_ptr<const ApiKey> found;
  for (const auto& key : keys_) {
    if (CRYPTO_memcmp(key->sha256.data(), sha256.data(), sha256.size()) == 0) found = key;
  }
  return found;
}

}  // namespace vexact::server

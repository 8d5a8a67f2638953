#include "server/security.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_format.h"
#include "server/address.h"
#include "server/option_file.h"
#include "server/options.h"

namespace vexact::server {
namespace {

absl::StatusOr<ApiKeys> ReadApiKeys(const Config& config) {
  std::string where = kApiKeysVariable;
  std::string text = config.api_keys.value_or("");
  if (!config.api_keys_file.empty()) {
    where = config.api_keys_file;
    auto read = ReadOptionFile(kApiKeysFile, config.api_keys_file);
    if (!read.ok()) return read.status();
    text = *std::move(read);
  } else if (!config.api_keys) {
    return ApiKeys();
  }
  auto keys = ApiKeys::Parse(text);
  if (keys.ok()) return keys;
  return absl::InvalidArgumentError(
      absl::StrFormat("%s: %s", where, std::string(keys.status().message())));
}

bool IsLoopback(const sockaddr& address) {
  if (address.sa_family == AF_INET) {
    const auto& four = reinterpret_cast<const sockaddr_in&>(address);
    return ntohl(four.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
  }
  const auto& six = reinterpret_cast<const sockaddr_in6&>(address).sin6_addr;
  if (IN6_IS_ADDR_V4MAPPED(&six)) return six.s6_addr[12] == IN_LOOPBACKNET;
  return IN6_IS_ADDR_LOOPBACK(&six);
}

// Whether only this machine can reach `listen`, by every address that its host has.
absl::StatusOr<bool> IsLocal(const std::string& listen) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const auto [host, port] = SplitAddress(listen);
  if (const int error = getaddrinfo(host.c_str(), port.c_str(), &hints, &found); error != 0) {
    return absl::UnavailableError(absl::StrFormat(
        "cannot listen on %s: %s; choose another with --listen", listen, gai_strerror(error)));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> all(found, freeaddrinfo);
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    if (!IsLoopback(*one->ai_addr)) return false;
  }
  return true;
}

absl::Status CheckExposure(const Config& config, const Security& security) {
  const bool asks = !security.keys.empty() || (security.tls && !security.tls->client_ca.empty());
  if (config.insecure || (security.tls && asks)) return absl::OkStatus();
  const absl::StatusOr<bool> local = IsLocal(config.listen);
  if (!local.ok()) return local.status();
  if (*local) return absl::OkStatus();
  const char* open = security.tls ? "without API keys anybody there may read and change everything"
                     : asks       ? "without TLS anybody on the way there can read keys and data"
                                  : "without TLS and API keys anybody there may read and change "
                                    "everything";
  return absl::InvalidArgumentError(absl::StrFormat(
      "listen %s is reached from other machines, and %s. Either listen on 127.0.0.1:%s; or give "
      "--tls-cert and --tls-key, with --api-keys-file or --tls-client-ca; or say --insecure, where "
      "something else keeps strangers out",
      config.listen, open, SplitAddress(config.listen).port));
}

}  // namespace

absl::StatusOr<Security> ReadSecurity(const Config& config) {
  Security security;
  auto keys = ReadApiKeys(config);
  if (!keys.ok()) return keys.status();
  security.keys = *std::move(keys);
  if (config.max_key_requests_per_second > 0 && security.keys.empty()) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s is %d, and there are no API keys that it could limit; give --api-keys-file, or leave "
        "it out",
        kMaxKeyRequestsPerSecond, config.max_key_requests_per_second));
  }
  auto tls = ReadTls(config);
  if (!tls.ok()) return tls.status();
  security.tls = *std::move(tls);
  if (absl::Status status = CheckExposure(config, security); !status.ok()) return status;
  return security;
}

}  // namespace vexact::server

// HOST:PORT, as the options have it.
#pragma once

#include <string>
#include <utility>

namespace vexact::server {

struct HostAndPort {
  std::string host, port;
};

// "[::1]:7700" names host "::1".
inline HostAndPort SplitAddress(const std::string& address) {
  const size_t colon = address.rfind(':');
  std::string host = address.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  return {std::move(host), address.substr(colon + 1)};
}

}  // namespace vexact::server

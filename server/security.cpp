#include "server/security.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>
#include <utility>

#include "absl/strings/str_format.h"
#include "server/options.h"

namespace vexact::server {
namespace {

// The content of a file that an option names.
absl::StatusOr<std::string> ReadWhole(std::string_view option, const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text;
  for (std::array<char, 4096> block; file.read(block.data(), block.size()), file.gcount() > 0;) {
    text.append(block.data(), static_cast<size_t>(file.gcount()));
  }
  if (file.is_open() && !file.bad()) return text;
  return absl::InvalidArgumentError(
      absl::StrFormat("%s: cannot read %s: %s", option, path, std::strerror(errno)));
}

absl::StatusOr<ApiKeys> ReadApiKeys(const Config& config) {
  std::string where = kApiKeysVariable;
  std::string text = config.api_keys.value_or("");
  if (!config.api_keys_file.empty()) {
    where = config.api_keys_file;
    auto read = ReadWhole(kApiKeysFile, config.api_keys_file);
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

}  // namespace

absl::StatusOr<Security> ReadSecurity(const Config& config) {
  Security security;
  auto keys = ReadApiKeys(config);
  if (!keys.ok()) return keys.status();
  security.keys = *std::move(keys);
  return security;
}

}  // namespace vexact::server

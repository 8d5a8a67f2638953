#include "server/option_file.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "absl/strings/str_format.h"

namespace vexact::server {

absl::StatusOr<std::string> ReadOptionFile(std::string_view option, const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text;
  for (std::array<char, 4096> block; file.read(block.data(), block.size()), file.gcount() > 0;) {
    text.append(block.data(), static_cast<size_t>(file.gcount()));
  }
  if (file.is_open() && !file.bad()) return text;
  return absl::InvalidArgumentError(
      absl::StrFormat("%s: cannot read %s: %s", option, path, std::strerror(errno)));
}

}  // namespace vexact::server

#include "tests/support/files.h"

#include <stdlib.h>

#include <cerrno>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <system_error>

namespace vexact::testing {

std::optional<std::filesystem::path> FindDataFile(std::string_view name) {
  const char* folder = getenv("VEXACT_TEST_DATA_DIR");
  std::filesystem::path path =
      std::filesystem::path(folder != nullptr ? folder : VEXACT_DATA) / name;
  std::error_code ignored;  // a folder that may not be read is as good as absent
  if (!std::filesystem::is_regular_file(path, ignored)) return std::nullopt;
  return path;
}

TempDir::TempDir() {
  std::string name = (std::filesystem::temp_directory_path() / "vexact-test-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) {
    throw std::system_error(errno, std::generic_category(), "mkdtemp " + name);
  }
  path_ = name;
}

TempDir::~TempDir() {
  std::error_code ignored;  // nothing a test could do about it
  std::filesystem::remove_all(path_, ignored);
}

std::optional<Place> FindBytes(const std::filesystem::path& folder, std::string_view bytes) {
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    std::ifstream file(entry.path(), std::ios::binary);
    const std::string content{std::istreambuf_iterator<char>(file), {}};
    const size_t at = content.find(bytes);
    if (at != std::string::npos) return Place{entry.path(), at};
  }
  return std::nullopt;
}

void FlipBit(const Place& place) {
  std::fstream file(place.file, std::ios::binary | std::ios::in | std::ios::out);
  file.seekg(static_cast<std::streamoff>(place.offset));
  const int byte = file.get();
  file.seekp(static_cast<std::streamoff>(place.offset));
  file.put(static_cast<char>(byte ^ 4));
  file.close();
  if (!file) throw std::runtime_error("cannot change " + place.file.string());
}

}  // namespace vexact::testing

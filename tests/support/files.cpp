#include "tests/support/files.h"

#include <stdlib.h>

#include <cerrno>
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

}  // namespace vexact::testing

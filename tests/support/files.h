// Where tests find data, and where they may write.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string_view>

namespace vexact::testing {

// The path of a file of the shared test data: real embeddings with exact answers, too large for the
// repository. They are looked for in the folder that the environment variable VEXACT_TEST_DATA_DIR
// names, or beside the repository, in
// ../shared/data. Absent when the file is; a test then skips itself, saying so.
std::optional<std::filesystem::path> FindDataFile(std::string_view name);

// A new empty folder, removed with all it holds by the destructor.
class TempDir {
 public:
  TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  ~TempDir();

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// The first place of these bytes in a file of the folder; absent when there is none.
struct Place {
  std::filesystem::path file;
  size_t offset = 0;
};
std::optional<Place> FindBytes(const std::filesystem::path& folder, std::string_view bytes);

// As bad disks do.
void FlipBit(const Place& place);

}  // namespace vexact::testing

// The client library as others get it: installed, found by CMake, used by the example.
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "tests/support/files.h"
#include "tests/support/server_process.h"

namespace vexact::testing {
namespace {

Finished RunLong(const std::vector<std::string>& argv) {
  return Run(argv, {}, std::chrono::minutes(5));
}

TEST(Package, TheExampleBuildsAgainstTheInstalledPackageAndFindsColours) {
  const TempDir dir;
  const std::string prefix = (dir.path() / "prefix").string();
  const std::string build = (dir.path() / "build").string();

  const Finished installed =
      RunLong({CMAKE_BINARY, "--install", PROJECT_BUILD_DIR, "--prefix", prefix});
  ASSERT_EQ(installed.status, 0) << installed.err;
  EXPECT_TRUE(std::filesystem::exists(prefix + "/bin/vexact"));
  EXPECT_TRUE(std::filesystem::exists(prefix + "/include/vexact/client.h"));

  const Finished configured =
      RunLong({CMAKE_BINARY, "-G", "Ninja", "-S", EXAMPLE_SOURCE_DIR, "-B", build,
               "-DCMAKE_PREFIX_PATH=" + prefix, "-DCMAKE_BUILD_TYPE=Release",
               std::string("-DCMAKE_CXX_FLAGS=") + SANITIZER_FLAGS});
  ASSERT_EQ(configured.status, 0) << configured.out << configured.err;
  const Finished built = RunLong({CMAKE_BINARY, "--build", build});
  ASSERT_EQ(built.status, 0) << built.out << built.err;

  const ServerProcess server;
  const Finished example = testing::Run({build + "/nearest", server.address()});
  EXPECT_EQ(example.status, 0) << example.err;
  EXPECT_EQ(example.out, "orange at 96.9381\nred at 121.828\n");
  const Finished again = testing::Run({build + "/nearest", server.address()});
  EXPECT_EQ(again.out, example.out) << again.err;
}

}  // namespace
}  // namespace vexact::testing

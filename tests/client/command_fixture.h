// What tests of the command share: a server, and `vexact` run against it.
#pragma once

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "tests/client/command_line.h"
#include "tests/client/npy_bytes.h"
#include "tests/support/files.h"
#include "tests/support/server_process.h"

namespace vexact::testing {

using Json = nlohmann::json;

class CommandTest : public ::testing::Test {
 protected:
  Finished Try(const std::vector<std::string>& args) const {
    return Vexact(server_.address(), args);
  }

  // What a command prints that has to succeed without a word on stderr.
  std::string Do(const std::vector<std::string>& args) const {
    const Finished finished = Try(args);
    EXPECT_EQ(finished.status, 0) << finished.err;
    EXPECT_EQ(finished.err, "");
    return finished.out;
  }
  Json DoJson(std::vector<std::string> args) const {
    args.push_back("--json");
    return Json::parse(Do(args));
  }

  // Expects a failure with this exit status and first line on stderr, and nothing on stdout.
  void Refuse(const std::vector<std::string>& args, int status, const std::string& error) const {
    const Finished finished = Try(args);
    EXPECT_EQ(finished.status, status) << finished.err;
    EXPECT_EQ(finished.out, "");
    EXPECT_EQ(finished.err.substr(0, finished.err.find('\n')), "error: " + error);
  }

  std::string Put(const std::string& name, std::string_view bytes) const {
    const std::string path = (dir_.path() / name).string();
    WriteFile(path, bytes);
    return path;
  }

  // Four rows in the plane, ids 0 to 3 or those given.
  std::string Plane() const { return Put("plane.npy", NpyMatrix({1, 0, 0, 2, 3, 3, -1, 0}, 4, 2)); }

  // The collection "plane" with the four rows under the texts a, b, c and the number 7.
  void LoadPlane(const std::string& metric = "cosine") const {
    Do({"create", "plane", "--dim", "2", "--metric", metric});
    Do({"add", "plane", Plane(), "--ids", Put("plane.txt", "a\nb\nc\n7\n")});
  }

  TempDir dir_;
  ServerProcess server_;
};

}  // namespace vexact::testing

// The library and the command against servers that speak TLS and ask who calls: what works, and
// what a person is told when it does not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "tests/client/command_line.h"
#include "tests/support/certificates.h"
#include "tests/support/files.h"
#include "tests/support/server_process.h"
#include "vexact/client.h"

namespace vexact::client {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using vexact::testing::Finished;
using vexact::testing::ServerProcess;
using vexact::testing::TempDir;
using vexact::testing::Vexact;

class SecurityTest : public ::testing::Test {
 protected:
  void SetUp() override {
    vexact::testing::MakeAuthority(folder_.path(), "ca");
    vexact::testing::MakeAuthority(folder_.path(), "other_ca");
    for (const auto& [name, alt_names] :
         {std::pair("server", "IP:127.0.0.1"), std::pair("elsewhere", "DNS:elsewhere.example"),
          std::pair("person", "DNS:person")}) {
      vexact::testing::MakeCertificate(folder_.path(), {.name = name, .alt_names = alt_names});
    }
  }
  std::string Path(const std::string& name) const { return folder_.path() / name; }
  std::string Text(const std::string& name) const {
    std::ifstream file(Path(name));
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }
  // Makes a key with the command, adds it to the file "keys", and gives it.
  std::string NewKey(const std::string& name, const std::vector<std::string>& options) const {
    std::vector<std::string> args = {"key", "create", name, "--append", Path("keys")};
    args.insert(args.end(), options.begin(), options.end());
    const Finished made = Vexact("", args);
    EXPECT_EQ(made.status, 0) << made.err;
    std::ofstream(Path(name + ".key")) << made.out;
    return made.out.substr(0, made.out.find('\n'));
  }
  std::vector<std::string> Tls(const std::string& name = "server") const {
    return {"--tls-cert", Path(name + ".pem"), "--tls-key", Path(name + ".key")};
  }
  // What `vexact list` with these options says on stderr; its exit status must be `status`.
  static std::string Error(const ServerProcess& server, int status,
                           std::vector<std::string> options) {
    options.insert(options.end(), {"list", "--timeout", "20"});
    const Finished ended = Vexact(server.address(), options);
    EXPECT_EQ(ended.status, status) << ended.err;
    return ended.err;
  }

  TempDir folder_;
};

TEST_F(SecurityTest, AKeyThatTheCommandMadeOpensTheServer) {
  const std::string key = NewKey("reports", {"--role", "read"});
  EXPECT_THAT(key, MatchesRegex("vx_[0-9a-f]{64}"));
  EXPECT_NE(
      NewKey("ops", {"--role", "admin", "--collection", "a", "--collection", "b", "--rate", "20"}),
      key);
  EXPECT_THAT(Text("keys"), MatchesRegex("reports read \\* sha256:[0-9a-f]{64}\n"
                                         "ops admin a,b sha256:[0-9a-f]{64} rate:20\n"));
  const ServerProcess server({"--api-keys-file", Path("keys")});
  EXPECT_THAT(Error(server, 0, {"--api-key-file", Path("reports.key")}),
              HasSubstr("No collections yet"));
  const Finished ended = vexact::testing::Run(
      {VEXACT_BINARY, "list"}, {{"VEXACT_SERVER", server.address()}, {"VEXACT_API_KEY", key}});
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_THAT(Error(server, 1, {}), HasSubstr("VEXACT_API_KEY or --api-key-file"));
  std::ofstream(Path("wrong")) << "vx_wrong\n";
  EXPECT_THAT(Error(server, 1, {"--api-key-file", Path("wrong")}),
              HasSubstr("does not know the API key"));
}

TEST_F(SecurityTest, KeysAreMadeWithCare) {
  NewKey("reports", {"--role", "read"});
  Finished ended =
      Vexact("", {"key", "create", "reports", "--role", "read", "--append", Path("keys")});
  EXPECT_EQ(ended.status, 2);
  EXPECT_THAT(ended.err, HasSubstr("has a key \"reports\" already"));
  EXPECT_EQ(ended.out, "");
  EXPECT_EQ(Vexact("", {"key", "create", "a b", "--role", "read"}).status, 2);
  EXPECT_EQ(Vexact("", {"key", "create", "a", "--role", "read", "--rate", "-1"}).status, 2);
  EXPECT_EQ(Vexact("", {"key", "create", "a", "--role", "reader"}).status, 2);
  EXPECT_EQ(Vexact("", {"key", "create", "a", "--role", "read", "--collection", "*"}).status, 2);
  ended = Vexact("", {"key", "create", "a", "--role", "write", "--collection", "docs", "--json"});
  const auto json = nlohmann::json::parse(ended.out);
  EXPECT_EQ(json["collections"], nlohmann::json({"docs"}));
  EXPECT_THAT(json["line"].get<std::string>(), HasSubstr("a write docs sha256:"));
}

TEST_F(SecurityTest, SpeaksTls) {
  NewKey("ops", {"--role", "admin"});
  std::vector<std::string> args = Tls();
  args.insert(args.end(), {"--api-keys-file", Path("keys"), "--tls-client-ca", Path("ca.pem")});
  const ServerProcess server(args);
  EXPECT_THAT(Error(server, 0,
                    {"--ca", Path("ca.pem"), "--client-cert", Path("person.pem"), "--client-key",
                     Path("person.key"), "--api-key-file", Path("ops.key")}),
              HasSubstr("No collections yet"));
  const std::string key = Text("ops.key");
  const Client client(server.address(), {.tls = true,
                                         .ca = Text("ca.pem"),
                                         .certificate = Text("person.pem"),
                                         .key = Text("person.key"),
                                         .api_key = key.substr(0, key.find('\n'))});
  ASSERT_TRUE(client.CreateCollection({.name = "docs", .dimension = 1}).ok());
  BulkWriter writer = client.BulkUpsert("docs");
  EXPECT_TRUE(writer.Write({{1}, {2.0f}}).ok());
  const auto written = writer.Finish();
  ASSERT_TRUE(written.ok()) << written.status();
  EXPECT_EQ(written->rows, 1u);
  EXPECT_THAT(Error(server, 3, {"--ca", Path("ca.pem")}), HasSubstr("--client-cert"));
}

TEST_F(SecurityTest, SaysWhatIsWrongWithTheConnection) {
  const ServerProcess plain;
  const ServerProcess tls(Tls());
  const ServerProcess elsewhere(Tls("elsewhere"));
  EXPECT_THAT(Error(plain, 3, {"--ca", Path("ca.pem")}), HasSubstr("without --tls and --ca"));
  EXPECT_THAT(Error(tls, 3, {}), HasSubstr("--tls or --ca"));
  EXPECT_THAT(Error(tls, 3, {"--ca", Path("other_ca.pem")}),
              HasSubstr("its certificate is of no authority that is trusted here"));
  EXPECT_THAT(Error(elsewhere, 3, {"--ca", Path("ca.pem")}),
              HasSubstr("its certificate is for other names than 127.0.0.1"));
}

TEST_F(SecurityTest, NamesFilesThatCannotBeUsed) {
  const ServerProcess server;
  EXPECT_EQ(Error(server, 2, {"--ca", "/nowhere"}),
            "error: --ca: cannot read /nowhere: No such file or directory\n");
  std::ofstream(Path("text")) << "two words\n";
  EXPECT_THAT(Error(server, 2, {"--ca", Path("text")}), HasSubstr("is not PEM"));
  EXPECT_THAT(Error(server, 2, {"--client-cert", Path("person.pem")}), HasSubstr("give both"));
  EXPECT_THAT(Error(server, 2, {"--api-key-file", Path("text")}),
              HasSubstr("a key has no spaces in it"));
}

}  // namespace
}  // namespace vexact::client

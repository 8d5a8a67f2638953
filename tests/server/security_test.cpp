// TLS, who may listen where, and what changes while the server runs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "tests/server/running_server.h"
#include "tests/support/certificates.h"
#include "tests/support/files.h"

namespace vexact::testing {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

namespace fs = std::filesystem;

// Of the keys "one" and "two".
constexpr char kOne[] =
    "one admin * sha256:7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed\n";
constexpr char kTwo[] =
    "two read * sha256:3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3\n";

std::string Read(const fs::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

void Write(const fs::path& path, const std::string& text) { std::ofstream(path) << text; }

// Runs vexactd to its end, with nothing but these arguments.
Finished Start(const std::vector<std::string>& args, const Environment& environment = {}) {
  std::vector<std::string> argv = {ServerBinary()};
  argv.insert(argv.end(), args.begin(), args.end());
  return Run(argv, environment);
}

struct Called {
  grpc::Status status;
  std::string subject;  // of the server's certificate
};

// Asks the server at `address` for its information, over a connection of its own.
Called Ask(const std::string& address, const std::shared_ptr<grpc::ChannelCredentials>& credentials,
           const std::string& key = "") {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  const auto stub = v1::Server::NewStub(grpc::CreateCustomChannel(address, credentials, arguments));
  PatientContext context;
  if (!key.empty()) context.AddMetadata("authorization", "Bearer " + key);
  v1::GetInfoResponse response;
  Called called{stub->GetInfo(&context, v1::GetInfoRequest(), &response), ""};
  if (const auto peer = context.auth_context(); peer != nullptr) {
    for (const grpc::string_ref& value : peer->FindPropertyValues("x509_subject")) {
      called.subject = std::string(value.data(), value.size());
    }
  }
  return called;
}

class TlsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    MakeAuthority(folder_.path(), "ca");
    MakeAuthority(folder_.path(), "other_ca");
    MakeCertificate(folder_.path(), {.name = "first"});
    MakeCertificate(folder_.path(), {.name = "second"});
    MakeCertificate(folder_.path(), {.name = "ending", .days = 1});
    MakeCertificate(folder_.path(), {.name = "ended", .days = -1});
    MakeCertificate(folder_.path(), {.name = "other", .authority = "other_ca"});
    Install("first");
  }
  std::string Path(const std::string& name) const { return folder_.path() / name; }
  std::vector<std::string> Options(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> options = {"--tls-cert", Path("cert.pem"), "--tls-key",
                                        Path("key.pem")};
    options.insert(options.end(), more.begin(), more.end());
    return options;
  }
  // Of a client that trusts `ca`, with a certificate where a name is given.
  std::shared_ptr<grpc::ChannelCredentials> Client(const std::string& ca,
                                                   const std::string& name = "") const {
    grpc::SslCredentialsOptions options;
    options.pem_root_certs = Read(Path(ca + ".pem"));
    if (!name.empty()) {
      options.pem_cert_chain = Read(Path(name + ".pem"));
      options.pem_private_key = Read(Path(name + ".key"));
    }
    return grpc::SslCredentials(options);
  }
  void Install(const std::string& name) const {
    fs::copy_file(Path(name + ".pem"), Path("cert.pem"), fs::copy_options::overwrite_existing);
    fs::copy_file(Path(name + ".key"), Path("key.pem"), fs::copy_options::overwrite_existing);
  }

  TempDir folder_;
};

TEST_F(TlsTest, ServesWhoTrustsItsAuthorityAndNobodyInPlainText) {
  const ServerProcess server(Options());
  const Called called = Ask(server.address(), Client("ca"));
  EXPECT_THAT(called.status, IsOk());
  EXPECT_THAT(called.subject, HasSubstr("first"));
  EXPECT_EQ(Ask(server.address(), Client("other_ca")).status.error_code(),
            grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Ask(server.address(), grpc::InsecureChannelCredentials()).status.error_code(),
            grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(server.log(), HasSubstr("info tls subject=\"CN=first\" expires="));
  EXPECT_THAT(server.log(), Not(HasSubstr("PRIVATE KEY")));
}

TEST_F(TlsTest, AsksClientsForACertificate) {
  const ServerProcess server(Options({"--tls-client-ca", Path("ca.pem")}));
  EXPECT_THAT(Ask(server.address(), Client("ca", "second")).status, IsOk());
  const auto stub =
      v1::Collections::NewStub(grpc::CreateChannel(server.address(), Client("ca", "second")));
  PatientContext context;
  v1::GetCollectionRequest missing;
  missing.set_name("none");
  v1::GetCollectionResponse response;
  EXPECT_EQ(stub->GetCollection(&context, missing, &response).error_code(),
            grpc::StatusCode::NOT_FOUND);
  EXPECT_TRUE(server.WaitForLog(" code=NOT_FOUND peer="));
  EXPECT_THAT(server.log(), ContainsRegex(" peer=[^ ]+ subject=\"CN=second\" ms="));
  EXPECT_EQ(Ask(server.address(), Client("ca")).status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Ask(server.address(), Client("ca", "other")).status.error_code(),
            grpc::StatusCode::UNAVAILABLE);
}

TEST_F(TlsTest, ARenewedCertificateIsServedWithoutARestartAndABrokenOneNever) {
  const ServerProcess server(Options());
  EXPECT_THAT(Ask(server.address(), Client("ca")).subject, HasSubstr("first"));
  Install("second");
  ASSERT_TRUE(server.WaitForLog("info tls subject=\"CN=second\"")) << server.log();
  EXPECT_THAT(Ask(server.address(), Client("ca")).subject, HasSubstr("second"));

  Write(Path("cert.pem"), "-----BEGIN CERTIFICATE-----\n");
  ASSERT_TRUE(server.WaitForLog("error tls_unusable")) << server.log();
  EXPECT_THAT(server.log(), HasSubstr("cert.pem does not begin with a certificate in PEM"));
  EXPECT_THAT(Ask(server.address(), Client("ca")).subject, HasSubstr("second"));

  Install("ending");
  ASSERT_TRUE(server.WaitForLog("info tls subject=\"CN=ending\"")) << server.log();
  ASSERT_TRUE(server.WaitForLog("warning tls_expires")) << server.log();
  EXPECT_THAT(Ask(server.address(), Client("ca")).subject, HasSubstr("ending"));

  Install("ended");
  ASSERT_TRUE(server.WaitForLog("the certificate of CN=ended expired ")) << server.log();
  EXPECT_EQ(Ask(server.address(), Client("ca")).status.error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(TlsTest, RefusesToStartWithFilesThatDoNotFit) {
  const auto refusal = [&](const std::vector<std::string>& args) {
    std::vector<std::string> all = {"--listen", "127.0.0.1:0"};
    all.insert(all.end(), args.begin(), args.end());
    const Finished ended = Start(all);
    EXPECT_EQ(ended.status, 2);
    EXPECT_THAT(ended.err, Not(HasSubstr("PRIVATE KEY")));
    return ended.err;
  };
  EXPECT_EQ(refusal({"--tls-cert", Path("cert.pem")}),
            "error: tls_cert is given without tls_key; TLS needs both\n");
  EXPECT_THAT(refusal({"--tls-client-ca", Path("ca.pem")}),
              HasSubstr("tls_client_ca is given without tls_cert and tls_key"));
  EXPECT_EQ(refusal({"--tls-cert", Path("no.pem"), "--tls-key", Path("key.pem")}),
            "error: tls_cert: cannot read " + Path("no.pem") + ": No such file or directory\n");
  EXPECT_THAT(refusal({"--tls-cert", Path("key.pem"), "--tls-key", Path("key.pem")}),
              HasSubstr("tls_cert: " + Path("key.pem") + " does not begin with a certificate"));
  EXPECT_THAT(refusal({"--tls-cert", Path("cert.pem"), "--tls-key", Path("cert.pem")}),
              HasSubstr("holds no private key in PEM without a passphrase"));
  EXPECT_EQ(refusal({"--tls-cert", Path("cert.pem"), "--tls-key", Path("second.key")}),
            "error: tls_key: " + Path("second.key") + " is not the key of the certificate in " +
                Path("cert.pem") + "\n");
  EXPECT_THAT(refusal(Options({"--tls-client-ca", Path("first.key")})),
              HasSubstr("holds no certificate in PEM"));
}

TEST_F(TlsTest, IsOpenToOtherMachinesOnlyWithTlsAndKeysOrWhenToldTo) {
  Write(Path("keys"), kOne);
  const std::vector<std::string> keys = {"--api-keys-file", Path("keys")};
  for (const char* listen : {"0.0.0.0:0", "[::]:0"}) {
    for (const auto& args : {std::vector<std::string>(), keys, Options()}) {
      std::vector<std::string> all = {"--listen", listen};
      all.insert(all.end(), args.begin(), args.end());
      const Finished ended = Start(all);
      EXPECT_EQ(ended.status, 2);
      EXPECT_THAT(
          ended.err,
          AllOf(HasSubstr(std::string("error: listen ") + listen + " is reached from other"),
                HasSubstr("listen on 127.0.0.1:0"), HasSubstr("--tls-cert and --tls-key"),
                HasSubstr("--api-keys-file or --tls-client-ca"), HasSubstr("--insecure")));
    }
  }
  const auto serves = [](std::vector<std::string> args, const std::string& listen) {
    args.insert(args.end(), {"--listen", listen});
    EXPECT_THAT(ServerProcess(args).log(), HasSubstr(" ready "));
  };
  serves({}, "localhost:0");
  serves({"--insecure"}, "0.0.0.0:0");
  serves(Options(keys), "0.0.0.0:0");
  serves(Options({"--tls-client-ca", Path("ca.pem")}), "0.0.0.0:0");
}

TEST_F(TlsTest, ChecksAConfigurationWithoutStarting) {
  Write(Path("vexactd.toml"), "tls_cert = \"" + Path("ending.pem") + "\"\nthreads = 3\n");
  Finished ended = Start({"--check-config", "--config", Path("vexactd.toml"), "--tls-key",
                          Path("ending.key"), "--data-dir", Path("data"), "--insecure"},
                         {{"VEXACT_API_KEYS", kOne}, {"VEXACT_LISTEN", "0.0.0.0:7700"}});
  EXPECT_EQ(ended.status, 0);
  EXPECT_THAT(ended.out, ContainsRegex("\nlisten +0.0.0.0:7700 +VEXACT_LISTEN\n"));
  EXPECT_THAT(ended.out, ContainsRegex("\nthreads +3 +.*vexactd.toml:2\n"));
  EXPECT_THAT(ended.out, ContainsRegex("\ndrain_seconds +10 +default\n"));
  EXPECT_THAT(ended.out, ContainsRegex("\ntls_key +.*ending.key +--tls-key\n"));
  EXPECT_THAT(ended.out, ContainsRegex("\nkeys +1 API keys\n"));
  EXPECT_THAT(ended.out, ContainsRegex("\ntls +CN=ending, until "));
  EXPECT_THAT(ended.out, HasSubstr("will be made"));
  EXPECT_THAT(ended.out, Not(HasSubstr("7692c3ad")));
  EXPECT_THAT(ended.err, ContainsRegex("warning: the certificate of CN=ending expires "));
  EXPECT_FALSE(fs::exists(Path("data")));

  ended = Start({"--check-config", "--data-dir", Path("no/such")}, {{"VEXACT_IN_MEMORY", "false"}});
  EXPECT_EQ(ended.status, 2);
  EXPECT_THAT(ended.err, HasSubstr("the directory above it is missing"));
  ended = Start({"--check-config", "--tls-cert", Path("cert.pem")});
  EXPECT_EQ(ended.status, 2);
  EXPECT_THAT(ended.err, HasSubstr("tls_cert is given without tls_key"));
}

class ReloadTest : public ::testing::Test {
 protected:
  std::string Path(const std::string& name) const { return folder_.path() / name; }
  void SetUp() override {
    Write(Path("keys"), kOne);
    Write(Path("vexactd.toml"), "api_keys_file = \"" + Path("keys") + "\"\n");
    server_.emplace(std::vector<std::string>{"--config", Path("vexactd.toml")});
  }
  grpc::Status AskAs(const std::string& key) const {
    return Ask(server_->address(), grpc::InsecureChannelCredentials(), key).status;
  }
  // Sends SIGHUP and waits for what the log has about it.
  void Hangup(const std::string& expected) const {
    server_->Signal(SIGHUP);
    ASSERT_TRUE(server_->WaitForLog(expected)) << server_->log();
  }

  TempDir folder_;
  std::optional<ServerProcess> server_;
};

TEST_F(ReloadTest, TakesNewKeysAndForgetsOldOnes) {
  EXPECT_THAT(AskAs("one"), IsOk());
  EXPECT_EQ(AskAs("two").error_code(), grpc::StatusCode::UNAUTHENTICATED);
  Write(Path("keys"), kTwo);
  EXPECT_THAT(AskAs("one"), IsOk()) << "nothing changes before the signal";
  Hangup("info reloaded config=" + Path("vexactd.toml") + " api_keys=1 tls=off");
  EXPECT_THAT(AskAs("two"), IsOk());
  EXPECT_EQ(AskAs("one").error_code(), grpc::StatusCode::UNAUTHENTICATED);
}

TEST_F(ReloadTest, ARevokedKeyEndsAStreamThatIsOpen) {
  const auto stub = v1::Points::NewStub(
      grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials()));
  PatientContext context;
  context.AddMetadata("authorization", "Bearer one");
  const auto stream = stub->BulkUpsert(&context);
  Write(Path("keys"), kTwo);
  Hangup("info reloaded ");
  v1::UpsertRequest request;
  request.set_collection("docs");
  stream->Write(request);
  stream->WritesDone();
  EXPECT_THAT(stream->Finish(),
              IsRefusal(grpc::StatusCode::UNAUTHENTICATED, HasSubstr("does not know the API key")));
}

TEST_F(ReloadTest, WhatIsWrongChangesNothing) {
  Write(Path("keys"), "one admin *\n");
  Hangup("error reload_failed message=");
  EXPECT_THAT(server_->log(), HasSubstr("keys: line 1: there are 3 words"));
  EXPECT_THAT(AskAs("one"), IsOk());
  fs::remove(Path("keys"));
  Hangup("cannot read " + Path("keys"));
  EXPECT_THAT(AskAs("one"), IsOk());
  Write(Path("keys"), kTwo);
  Write(Path("vexactd.toml"), "threads = 0\n");
  Hangup("threads: \\\"0\\\" is not a whole number");
  EXPECT_THAT(AskAs("one"), IsOk());
}

TEST_F(ReloadTest, SaysWhatChangesAndWhatWaits) {
  EXPECT_EQ(AskAs("two").error_code(), grpc::StatusCode::UNAUTHENTICATED);
  ASSERT_TRUE(server_->WaitForLog("code=UNAUTHENTICATED"));
  const std::string keys = "api_keys_file = \"" + Path("keys") + "\"\n";
  Write(Path("vexactd.toml"), keys + "log_level = \"error\"\ndrain_seconds = 77\n");
  Hangup("info option_changed option=log_level from=info to=error");
  EXPECT_THAT(server_->log(),
              HasSubstr("warning option_waits option=drain_seconds now=10 wanted=77"));
  Write(Path("keys"), "");
  Hangup("error reload_failed message=");  // by now the first one is over
  const auto refusals = [&] {
    const std::string log = server_->log();
    size_t count = 0;
    for (size_t at = 0; (at = log.find("code=UNAUTHENTICATED", at)) != log.npos; ++at) ++count;
    return count;
  };
  EXPECT_EQ(AskAs("two").error_code(), grpc::StatusCode::UNAUTHENTICATED);
  server_->Signal(SIGTERM);
  EXPECT_EQ(server_->Wait(), 0);
  EXPECT_EQ(refusals(), 1) << "at level error there are no warnings";
}

}  // namespace
}  // namespace vexact::testing

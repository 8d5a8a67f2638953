// API keys: what each role may do with every method there is, and what a key that is limited to
// collections gets to see.
#include <gmock/gmock.h>
#include <google/protobuf/dynamic_message.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tests/server/running_server.h"
#include "tests/support/files.h"
#include "vexact/v1/snapshots.grpc.pb.h"

namespace vexact::testing {
namespace {

using ::google::protobuf::MethodDescriptor;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;

enum Role { kRead, kWrite, kAdmin };

// Every method of the protocol, and the least role that may call it.
const std::map<std::string, Role>& NeededRoles() {
  static const auto& roles = *new std::map<std::string, Role>{
      {"Collections/ListCollections", kRead},
      {"Collections/GetCollection", kRead},
      {"Collections/CreateCollection", kAdmin},
      {"Collections/DeleteCollection", kAdmin},
      {"Collections/SetMetric", kAdmin},
      {"Points/GetPoints", kRead},
      {"Points/CountPoints", kRead},
      {"Points/ScrollPoints", kRead},
      {"Points/Upsert", kWrite},
      {"Points/BulkUpsert", kWrite},
      {"Points/DeletePoints", kWrite},
      {"Search/Search", kRead},
      {"Search/Compare", kRead},
      {"Snapshots/ListSnapshots", kRead},
      {"Snapshots/CreateSnapshot", kAdmin},
      {"Snapshots/DeleteSnapshot", kAdmin},
      {"Snapshots/DownloadSnapshot", kAdmin},
      {"Snapshots/RestoreSnapshot", kAdmin},
      {"Server/GetInfo", kRead},
      {"Server/GetStatistics", kRead},
  };
  return roles;
}

// The keys are their names: the hashes are what `printf %s reader | sha256sum` says.
constexpr char kKeys[] =
    "reader read * sha256:3d0941964aa3ebdcb00ccef58b1bb399f9f898465e9886d5aec7f31090a0fb30\n"
    "writer write * sha256:b93006774cbdd4b299389a03ac3d88c3a76b460d538795bc12718011a909fba5\n"
    "admin admin * sha256:8c6976e5b5410415bde908bd4dee15dfb167a9c873fc4bb8a81f6f2ab448a918\n"
    "docs-admin admin docs,copy "
    "sha256:7cdfc1b93fe827b58cd6c06065e4e0b89c83b6d68581c74ccdd194cff919fb34\n";

// All methods of all .proto files of the project.
std::vector<const MethodDescriptor*> Methods() {
  std::vector<const MethodDescriptor*> methods;
  for (const auto& entry : std::filesystem::directory_iterator(VEXACT_PROTO_DIR "/vexact/v1")) {
    const std::string name = "vexact/v1/" + entry.path().filename().string();
    const auto* file = google::protobuf::DescriptorPool::generated_pool()->FindFileByName(name);
    EXPECT_NE(file, nullptr) << name << " is not linked into this test";
    for (int i = 0; file != nullptr && i < file->service_count(); ++i) {
      for (int j = 0; j < file->service(i)->method_count(); ++j) {
        methods.push_back(file->service(i)->method(j));
      }
    }
  }
  return methods;
}

std::string NameOf(const MethodDescriptor& method) {
  return method.service()->name() + "/" + method.name();
}

// A request that names `collection` wherever it may.
std::string Naming(const google::protobuf::Descriptor& type, const std::string& collection) {
  google::protobuf::DynamicMessageFactory factory;
  const std::unique_ptr<google::protobuf::Message> message(factory.GetPrototype(&type)->New());
  const auto set = [&](google::protobuf::Message& in, const char* field_name) {
    const auto* field = in.GetDescriptor()->FindFieldByName(field_name);
    if (field != nullptr) in.GetReflection()->SetString(&in, field, collection);
    return field != nullptr;
  };
  if (!set(*message, "collection")) set(*message, "name");
  if (const auto* target = type.FindFieldByName("target")) {
    set(*message->GetReflection()->MutableMessage(message.get(), target), "collection");
  }
  return message->SerializeAsString();
}

// Calls any method with one message; the authorization is left out where there is none.
grpc::Status CallMethod(const RunningServer& server, const MethodDescriptor& method,
                        const std::optional<std::string>& authorization,
                        const std::string& request) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kPatience);
  if (authorization) context.AddMetadata("authorization", *authorization);
  grpc::CompletionQueue queue;
  const std::string path = "/" + method.service()->full_name() + "/" + method.name();
  const auto stream = grpc::GenericStub(server.channel).PrepareCall(&context, path, &queue);
  const auto wait = [&queue] {
    void* tag;
    bool ok = false;
    queue.Next(&tag, &ok);
    return ok;
  };
  stream->StartCall(nullptr);
  if (wait()) {
    const grpc::Slice slice(request);
    stream->WriteLast(grpc::ByteBuffer(&slice, 1), grpc::WriteOptions(), nullptr);
    wait();
    grpc::ByteBuffer answer;
    do {
      stream->Read(&answer, nullptr);
    } while (wait());
  }
  grpc::Status status;
  stream->Finish(&status, nullptr);
  wait();
  return status;
}

class AccessTest : public ::testing::Test {
 protected:
  std::string KeysFile() {
    const std::string path = folder_.path() / "keys";
    std::ofstream(path) << kKeys;
    return path;
  }
  // Does `work` with a key, through stubs.
  template <typename Stub, typename Request, typename Response>
  grpc::Status Call(Stub& stub, const std::string& key,
                    grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                    const Request& request, Response* response) {
    PatientContext context;
    context.AddMetadata("authorization", "Bearer " + key);
    return (stub.*method)(&context, request, response);
  }
  void Create(const std::string& name) {
    v1::CreateCollectionRequest request;
    request.set_name(name);
    request.set_dimension(2);
    v1::CreateCollectionResponse response;
    ASSERT_THAT(Call(*server_.collections, "admin", &v1::Collections::Stub::CreateCollection,
                     request, &response),
                IsOk());
  }

  TempDir folder_;
  RunningServer server_{{"--api-keys-file", KeysFile(), "--data-dir", folder_.path() / "data"}};
};

TEST_F(AccessTest, EveryMethodNeedsItsRole) {
  std::set<std::string> seen;
  const std::vector<std::string> keys = {"reader", "writer", "admin"};
  const std::vector<std::string> roles = {"read", "write", "admin"};
  for (const MethodDescriptor* method : Methods()) {
    const std::string name = NameOf(*method);
    seen.insert(name);
    const auto needed = NeededRoles().find(name);
    ASSERT_NE(needed, NeededRoles().end()) << name << " has no role in this test's table";
    for (int role = kRead; role <= kAdmin; ++role) {
      // A collection that does not exist: nothing is changed, whoever asks.
      const grpc::Status status = CallMethod(server_, *method, "Bearer " + keys[role],
                                             Naming(*method->input_type(), "none"));
      SCOPED_TRACE(name + " as " + roles[role] + ": " + status.error_message());
      if (role >= needed->second) {
        EXPECT_NE(status.error_code(), grpc::StatusCode::PERMISSION_DENIED);
        EXPECT_NE(status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
      } else {
        EXPECT_THAT(status,
                    IsRefusal(grpc::StatusCode::PERMISSION_DENIED,
                              "the API key \"" + keys[role] + "\" has the role " + roles[role] +
                                  "; " + name + " needs " + roles[needed->second]));
      }
    }
  }
  EXPECT_EQ(seen.size(), NeededRoles().size()) << "the table names methods that do not exist";
}

TEST_F(AccessTest, NoMethodIsForStrangers) {
  for (const MethodDescriptor* method : Methods()) {
    SCOPED_TRACE(NameOf(*method));
    const auto call = [&](const std::optional<std::string>& authorization) {
      return CallMethod(server_, *method, authorization, "");
    };
    EXPECT_THAT(call(std::nullopt), IsRefusal(grpc::StatusCode::UNAUTHENTICATED,
                                              HasSubstr("this server asks for an API key")));
    EXPECT_THAT(call("Bearer vx_wrong"), IsRefusal(grpc::StatusCode::UNAUTHENTICATED,
                                                   HasSubstr("does not know the API key")));
    for (const char* other : {"admin", "Basic admin", "Beareradmin", ""}) {
      EXPECT_THAT(call(other), IsRefusal(grpc::StatusCode::UNAUTHENTICATED,
                                         HasSubstr("must be there once, as \"Bearer KEY\"")));
    }
    EXPECT_THAT(call("Bearer "), IsRefusal(grpc::StatusCode::UNAUTHENTICATED, HasSubstr("know")));
  }
  EXPECT_THAT(server_.process.log(), Not(HasSubstr("vx_wrong")));
}

TEST_F(AccessTest, HealthIsForEverybody) { EXPECT_EQ(server_.Health(), 1); }

TEST_F(AccessTest, AKeyIsNotGoodForOtherCollections) {
  Create("docs");
  Create("secret");
  for (const MethodDescriptor* method : Methods()) {
    SCOPED_TRACE(NameOf(*method));
    const auto call = [&](const std::string& collection) {
      return CallMethod(server_, *method, "Bearer docs-admin",
                        Naming(*method->input_type(), collection));
    };
    const bool names_one = Naming(*method->input_type(), "docs") != "";
    if (!names_one) {
      EXPECT_THAT(call(""), IsOk());
      continue;
    }
    // The same, whether it exists or not.
    for (const std::string collection : {"secret", "none"}) {
      EXPECT_THAT(call(collection),
                  IsRefusal(grpc::StatusCode::PERMISSION_DENIED,
                            HasSubstr("the API key \"docs-admin\" is not good for collection \"" +
                                      collection + "\"")));
    }
    EXPECT_NE(call("docs").error_code(), grpc::StatusCode::PERMISSION_DENIED);
  }
  v1::ListCollectionsResponse all;
  ASSERT_THAT(Call(*server_.collections, "reader", &v1::Collections::Stub::ListCollections,
                   v1::ListCollectionsRequest(), &all),
              IsOk());
  // The loop above dropped what the key is good for, and nothing else.
  ASSERT_EQ(all.collections_size(), 1);
  EXPECT_EQ(all.collections(0).name(), "secret");
}

TEST_F(AccessTest, WhatAKeyIsNotGoodForIsNotListedEither) {
  const auto snapshots = v1::Snapshots::NewStub(server_.channel);
  for (const char* name : {"docs", "secret"}) {
    Create(name);
    v1::CreateSnapshotRequest request;
    request.set_collection(name);
    v1::CreateSnapshotResponse response;
    ASSERT_THAT(Call(*snapshots, "admin", &v1::Snapshots::Stub::CreateSnapshot, request, &response),
                IsOk());
  }
  v1::ListCollectionsResponse collections;
  ASSERT_THAT(Call(*server_.collections, "docs-admin", &v1::Collections::Stub::ListCollections,
                   v1::ListCollectionsRequest(), &collections),
              IsOk());
  ASSERT_EQ(collections.collections_size(), 1);
  EXPECT_EQ(collections.collections(0).name(), "docs");
  v1::ListSnapshotsResponse kept;
  ASSERT_THAT(Call(*snapshots, "docs-admin", &v1::Snapshots::Stub::ListSnapshots,
                   v1::ListSnapshotsRequest(), &kept),
              IsOk());
  ASSERT_EQ(kept.snapshots_size(), 1);
  EXPECT_EQ(kept.snapshots(0).collection(), "docs");
  v1::GetInfoResponse info;
  ASSERT_THAT(
      Call(*server_.server, "docs-admin", &v1::Server::Stub::GetInfo, v1::GetInfoRequest(), &info),
      IsOk());
  EXPECT_EQ(info.collections(), 1);
  v1::GetStatisticsResponse statistics;
  ASSERT_THAT(Call(*server_.server, "docs-admin", &v1::Server::Stub::GetStatistics,
                   v1::GetStatisticsRequest(), &statistics),
              IsOk());
  ASSERT_EQ(statistics.collections_size(), 1);
  EXPECT_EQ(statistics.collections(0).name(), "docs");
}

// The names there are help who has mistyped one; those that a key is not good for are not among
// them.
TEST_F(AccessTest, ACollectionThatIsMissingDoesNotTellOfOthers) {
  Create("secret");
  for (const MethodDescriptor* method : Methods()) {
    const std::string request = Naming(*method->input_type(), "copy");
    for (const char* key : {"docs-admin", "admin"}) {
      const grpc::Status status =
          CallMethod(server_, *method, std::string("Bearer ") + key, request);
      SCOPED_TRACE(NameOf(*method) + " as " + key + ": " + status.error_message());
      if (status.error_code() != grpc::StatusCode::NOT_FOUND) continue;
      if (key == std::string("docs-admin")) {
        EXPECT_THAT(status.error_message(), Not(HasSubstr("secret")));
      } else if (status.error_message().find("no snapshot") == std::string::npos) {
        EXPECT_THAT(status.error_message(), HasSubstr("There is: secret."));
      }
    }
  }
}

TEST_F(AccessTest, TheLogNamesTheKeyAndNeverShowsIt) {
  const auto describe = [&](const std::string& key) {
    v1::GetCollectionRequest request;
    request.set_name("none");
    v1::GetCollectionResponse response;
    return Call(*server_.collections, key, &v1::Collections::Stub::GetCollection, request,
                &response);
  };
  EXPECT_EQ(describe("docs-admin").error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_TRUE(server_.process.WaitForLog(" code=PERMISSION_DENIED peer="));
  EXPECT_THAT(server_.process.log(), ContainsRegex(" peer=[^ ]+ key=docs-admin ms="));
  EXPECT_EQ(describe("vx_wrong").error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_TRUE(server_.process.WaitForLog(" code=UNAUTHENTICATED peer="));
  EXPECT_THAT(server_.process.log(), ContainsRegex(" code=UNAUTHENTICATED peer=[^ ]+ ms="));
  EXPECT_THAT(server_.process.log(), Not(HasSubstr("vx_wrong")));
}

class RateTest : public AccessTest {
 protected:
  // Asks until the key has asked too often; gives that answer, and its retry hint. That it comes is
  // a matter of the rate alone: a request takes less than the second that gives a new one.
  grpc::Status AskTooOften(RunningServer& server, const std::string& key, std::string& retry) {
    for (int i = 0; i < 1'000; ++i) {
      PatientContext context;
      context.AddMetadata("authorization", "Bearer " + key);
      v1::GetInfoResponse response;
      grpc::Status status = server.server->GetInfo(&context, v1::GetInfoRequest(), &response);
      if (status.ok()) continue;
      const auto& metadata = context.GetServerTrailingMetadata();
      const auto found = metadata.find("grpc-retry-pushback-ms");
      if (found != metadata.end()) retry = {found->second.data(), found->second.size()};
      return status;
    }
    return grpc::Status::OK;
  }
  grpc::Status Info(RunningServer& server, const std::string& key, v1::GetInfoResponse* response) {
    return Call(*server.server, key, &v1::Server::Stub::GetInfo, v1::GetInfoRequest(), response);
  }
};

TEST_F(RateTest, AKeyThatAsksTooOftenIsRefusedAndOthersAreNot) {
  std::string keys = kKeys;
  keys.insert(keys.find('\n'), " rate:1");  // the reader's
  std::ofstream(folder_.path() / "limited") << keys;
  RunningServer server({"--api-keys-file", folder_.path() / "limited"});
  std::string retry;
  EXPECT_THAT(AskTooOften(server, "reader", retry),
              IsRefusal(grpc::StatusCode::RESOURCE_EXHAUSTED,
                        MatchesRegex("the API key \"reader\" makes more requests than its limit of "
                                     "1 a second; try again in [0-9]+ ms")));
  EXPECT_GT(std::stoi(retry), 0);
  EXPECT_LE(std::stoi(retry), 1'000);
  for (int i = 0; i < 20; ++i) {
    v1::GetInfoResponse info;
    ASSERT_THAT(Info(server, "writer", &info), IsOk());
    EXPECT_EQ(info.limits().max_key_requests_per_second(), 0);
  }
  EXPECT_EQ(server.Health(), 1);
  v1::GetStatisticsResponse statistics;
  ASSERT_THAT(Call(*server.server, "admin", &v1::Server::Stub::GetStatistics,
                   v1::GetStatisticsRequest(), &statistics),
              IsOk());
  for (const auto& refusal : statistics.refusals()) {
    EXPECT_EQ(refusal.count(), refusal.reason() == "rate" ? 1 : 0) << refusal.reason();
  }
  EXPECT_TRUE(
      server.process.WaitForLog("warning overload refused=1 queue=0 bytes_in_flight=0 "
                                "rate=1"));
}

TEST_F(RateTest, TheLimitOfAllKeysChangesWhileTheServerRuns) {
  const std::string config = folder_.path() / "vexactd.toml";
  const std::string options = "api_keys_file = \"" + KeysFile() + "\"\n";
  std::ofstream(config) << options;
  RunningServer server({"--config", config});
  v1::GetInfoResponse info;
  ASSERT_THAT(Info(server, "reader", &info), IsOk());
  EXPECT_EQ(info.limits().max_key_requests_per_second(), 0);
  std::ofstream(config) << options << "max_key_requests_per_second = 1\n";
  server.process.Signal(SIGHUP);
  ASSERT_TRUE(server.process.WaitForLog(
      "info option_changed option=max_key_requests_per_second from=0 to=1"));
  ASSERT_TRUE(server.process.WaitForLog("info reloaded "));
  std::string retry;
  EXPECT_THAT(
      AskTooOften(server, "reader", retry),
      IsRefusal(grpc::StatusCode::RESOURCE_EXHAUSTED, HasSubstr("its limit of 1 a second")));
}

// What is sent over a stream is not counted: its client waits for the server as it is.
TEST_F(RateTest, AStreamCountsAsOneRequest) {
  RunningServer server({"--api-keys-file", KeysFile(), "--max-key-requests-per-second", "1"});
  const auto create = [&](const std::string& name) {
    v1::CreateCollectionRequest request;
    request.set_name(name);
    request.set_dimension(1);
    v1::CreateCollectionResponse response;
    return Call(*server.collections, "admin", &v1::Collections::Stub::CreateCollection, request,
                &response);
  };
  ASSERT_THAT(create("docs"), IsOk());
  PatientContext context;
  context.AddMetadata("authorization", "Bearer writer");
  const auto stream = server.points->BulkUpsert(&context);
  v1::BulkUpsertResponse acknowledgement;
  for (uint64_t i = 0; i < 30; ++i) {
    ASSERT_TRUE(stream->Write(Block("docs", i, {{1}})));
    ASSERT_TRUE(stream->Read(&acknowledgement));
  }
  stream->WritesDone();
  EXPECT_FALSE(stream->Read(&acknowledgement));
  EXPECT_THAT(stream->Finish(), IsOk());
}

TEST_F(AccessTest, ASnapshotOfAnotherCollectionIsNotRestored) {
  Create("secret");
  const auto snapshots = v1::Snapshots::NewStub(server_.channel);
  v1::CreateSnapshotRequest request;
  request.set_collection("secret");
  request.set_name("s");
  v1::CreateSnapshotResponse kept;
  ASSERT_THAT(Call(*snapshots, "admin", &v1::Snapshots::Stub::CreateSnapshot, request, &kept),
              IsOk());
  PatientContext context;
  context.AddMetadata("authorization", "Bearer docs-admin");
  v1::RestoreSnapshotResponse restored;
  const auto stream = snapshots->RestoreSnapshot(&context, &restored);
  v1::RestoreSnapshotRequest restore;
  restore.mutable_target()->set_collection("copy");
  restore.mutable_target()->mutable_snapshot()->set_collection("secret");
  restore.mutable_target()->mutable_snapshot()->set_name("s");
  stream->Write(restore);
  stream->WritesDone();
  EXPECT_THAT(stream->Finish(), IsRefusal(grpc::StatusCode::PERMISSION_DENIED,
                                          HasSubstr("not good for collection \"secret\"")));
}

TEST(AccessStartTest, KeysMayComeFromTheEnvironment) {
  const ServerProcess server({}, {{"VEXACT_API_KEYS", kKeys}});
  EXPECT_THAT(server.log(), Not(HasSubstr("sha256")));
}

TEST(AccessStartTest, KeysThatCannotBeReadKeepTheServerFromStarting) {
  const auto start = [](const std::vector<std::string>& args, const Environment& environment) {
    std::vector<std::string> argv = {ServerBinary(), "--in-memory", "--listen", "127.0.0.1:0"};
    argv.insert(argv.end(), args.begin(), args.end());
    return vexact::testing::Run(argv, environment);
  };
  Finished ended = start({"--api-keys-file", "/nowhere"}, {});
  EXPECT_EQ(ended.status, 2);
  EXPECT_EQ(ended.err, "error: api_keys_file: cannot read /nowhere: No such file or directory\n");
  ended = start({"--api-keys-file", "/"}, {});
  EXPECT_EQ(ended.status, 2);
  EXPECT_THAT(ended.err, HasSubstr("cannot read /: Is a directory"));
  ended = start({}, {{"VEXACT_API_KEYS", "a read *"}});
  EXPECT_EQ(ended.status, 2);
  EXPECT_THAT(ended.err, HasSubstr("VEXACT_API_KEYS: line 1: there are 3 words"));
  ended = start({"--max-key-requests-per-second", "5"}, {});
  EXPECT_EQ(ended.status, 2);
  EXPECT_EQ(ended.err,
            "error: max_key_requests_per_second is 5, and there are no API keys that it could "
            "limit; give --api-keys-file, or leave it out\n");
  ended = start({}, {{"VEXACT_API_KEYS", ""}});
  EXPECT_EQ(ended.status, 2);
  EXPECT_THAT(ended.err, HasSubstr("VEXACT_API_KEYS: there is no key"));
}

}  // namespace
}  // namespace vexact::testing

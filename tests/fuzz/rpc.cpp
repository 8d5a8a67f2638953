// Every method of every service of a server in memory: any bytes as its messages. They go over the
// loopback interface: over gRPC's channel within a process, a call hangs when the server ends a
// stream that the client still writes to.
//
// An input is the method's number (1 byte) and its messages, each behind its length (2 bytes,
// little-endian); the last one may be shorter than it says.
#include <google/protobuf/descriptor.h>
#include <google/protobuf/stubs/logging.h>
#include <google/protobuf/text_format.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <future>
#include <memory>

#include "server/security.h"
#include "server/server.h"
#include "tests/fuzz/target.h"
#include "vexact/v1/collections.pb.h"
#include "vexact/v1/points.pb.h"
#include "vexact/v1/search.pb.h"
#include "vexact/v1/server.pb.h"
#include "vexact/v1/snapshots.pb.h"

// The server lives as long as the process, and core/published.h keeps its addresses in a part of a
// word, where LeakSanitizer does not see them.
extern "C" const char* __lsan_default_suppressions();  // NOLINT: its name
extern "C" const char* __lsan_default_suppressions() { return "leak:vexact::Published<"; }

namespace vexact::fuzz {
namespace {

using google::protobuf::Message;
using google::protobuf::MethodDescriptor;

std::vector<const MethodDescriptor*> Methods() {
  std::vector<const MethodDescriptor*> methods;
  for (const Message* any : std::initializer_list<const Message*>{
           &v1::GetCollectionRequest::default_instance(), &v1::UpsertRequest::default_instance(),
           &v1::SearchRequest::default_instance(), &v1::GetInfoRequest::default_instance(),
           &v1::CreateSnapshotRequest::default_instance()}) {
    const auto* file = any->GetDescriptor()->file();
    for (int s = 0; s < file->service_count(); ++s) {
      for (int m = 0; m < file->service(s)->method_count(); ++m) {
        methods.push_back(file->service(s)->method(m));
      }
    }
  }
  return methods;
}

std::string Path(const MethodDescriptor& method) {
  return "/" + method.service()->full_name() + "/" + method.name();
}

class World {
 public:
  World() {
    spdlog::set_level(spdlog::level::off);
    google::protobuf::SetLogHandler(nullptr);
    server::Config config;
    config.listen = "127.0.0.1:0";
    config.in_memory = true;
    config.threads = 2;
    config.max_message_bytes = 1 << 20;
    auto security = server::ReadSecurity(config);
    Require(security.ok(), "there are no keys to read");
    std::promise<bool> opened;
    auto started = server::Server::Start(
        config, *std::move(security), [&](const auto& result) { opened.set_value(result.ok()); });
    Require(started.ok() && opened.get_future().get(), "the server starts");
    server_ = *std::move(started);
    stub_ = std::make_unique<grpc::GenericStub>(
        grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials()));
  }

  // Sends the messages and takes all answers.
  struct Outcome {
    grpc::Status status;
    std::vector<std::string> answers;
  };
  Outcome Call(const std::string& path, const std::vector<std::string>& messages) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::minutes(1));
    grpc::CompletionQueue queue;
    const auto call = stub_->PrepareCall(&context, path, &queue);
    const auto wait = [&] {
      void* tag = nullptr;
      bool done = false;
      Require(queue.Next(&tag, &done), "the call goes on");
      return done;
    };
    call->StartCall(nullptr);
    bool open = wait();
    for (const std::string& message : messages) {
      if (!open) break;
      const grpc::Slice slice(message);
      call->Write(grpc::ByteBuffer(&slice, 1), nullptr);
      open = wait();
    }
    if (open) {
      call->WritesDone(nullptr);
      (void)wait();
    }
    Outcome outcome;
    for (grpc::ByteBuffer answer;;) {
      call->Read(&answer, nullptr);
      if (!wait()) break;
      grpc::Slice slice;
      Require(answer.DumpToSingleSlice(&slice).ok(), "an answer has bytes");
      outcome.answers.emplace_back(reinterpret_cast<const char*>(slice.begin()), slice.size());
    }
    call->Finish(&outcome.status, nullptr);
    (void)wait();
    return outcome;
  }

  // There is always the collection "docs", and now and then nothing else.
  void Restore() {
    if (calls_++ % 256 == 0) Clear();
    v1::CreateCollectionRequest create;
    create.set_name("docs");
    create.set_dimension(4);
    Call("/vexact.v1.Collections/CreateCollection", {create.SerializeAsString()});
  }

 private:
  void Clear() {
    v1::ListCollectionsResponse list;
    const Outcome listed = Call("/vexact.v1.Collections/ListCollections", {""});
    Require(listed.status.ok() && list.ParseFromString(listed.answers.at(0)),
            "collections are listed");
    for (const v1::Collection& collection : list.collections()) {
      v1::DeleteCollectionRequest request;
      request.set_name(collection.name());
      const Outcome deleted =
          Call("/vexact.v1.Collections/DeleteCollection", {request.SerializeAsString()});
      Require(deleted.status.ok(), "what is listed can be deleted");
    }
  }

  std::unique_ptr<server::Server> server_;
  std::unique_ptr<grpc::GenericStub> stub_;
  uint64_t calls_ = 0;
};

std::string Input(size_t method, const std::vector<std::string>& messages) {
  std::string input(1, static_cast<char>(method));
  for (const std::string& message : messages) {
    input += static_cast<char>(message.size());
    input += static_cast<char>(message.size() >> 8);
    input += message;
  }
  return input;
}

std::vector<std::string> Messages(std::string_view input) {
  std::vector<std::string> messages;
  while (input.size() >= 2) {
    const size_t bytes = static_cast<uint8_t>(input[0]) | static_cast<uint8_t>(input[1]) << 8;
    messages.emplace_back(input.substr(2, bytes));
    input.remove_prefix(std::min(input.size(), 2 + bytes));
  }
  return messages;
}

World& TheWorld() {
  static auto* const world = new World;  // gRPC's threads may outlive static objects
  return *world;
}

// Of methods, messages as text.
const std::pair<const char*, std::vector<const char*>> kSeeds[] = {
    {"CreateCollection",
     {R"(name: "a" dimension: 3 metric: METRIC_L2 normalization: NORMALIZATION_L2)"}},
    {"GetCollection", {R"(name: "docs")"}},
    {"ListCollections", {""}},
    {"DeleteCollection", {R"(name: "docs")"}},
    {"SetMetric", {R"(name: "docs" metric: METRIC_INNER_PRODUCT)"}},
    {"Upsert", {R"(collection: "docs"
         points { id { number: 1 } vector { values: [1, 2, 3, 4] } }
         points { id { text: "vim" } vector { packed: "\0\0\200?\0\0\0@\0\0\0\0\0\0\0\0" } })"}},
    {"Upsert",
     {R"(collection: "docs" block { numbers: [5] vectors: "\0\0\200?\0\0\0@\0\0\0\0\0\0\0\0" })"}},
    {"BulkUpsert",
     {R"(collection: "docs" points { id { number: 7 } vector { values: [0, 1, 0, 0] } })",
      R"(collection: "docs" points { id { number: 8 } vector { values: [0, 0, 1, 0] } })"}},
    {"GetPoints", {R"(collection: "docs" ids { number: 1 } ids { text: "vim" })"}},
    {"DeletePoints", {R"(collection: "docs" ids { number: 1 } ids { text: "emacs" })"}},
    {"CountPoints", {R"(collection: "docs")"}},
    {"ScrollPoints", {R"(collection: "docs" page_size: 1 page_token: "x" with_vectors: true)"}},
    {"Search",
     {R"(collection: "docs" k: 2 metric: METRIC_L2 engine: ENGINE_REFERENCE with_vectors: true
         queries { vector { values: [1, 2, 3, 4] } } queries { id { number: 1 } exclude_self: true })"}},
    {"Search",
     {R"(collection: "docs" k: 100 engine: ENGINE_FAISS queries { id { text: "vim" } })"}},
    {"Compare", {R"(a { vector { values: [1, 2] } } b { vector { values: [3, 4] } })"}},
    {"Compare", {R"(collection: "docs" a { id { number: 1 } } b { id { text: "vim" } })"}},
    {"GetInfo", {""}},
    {"GetStatistics", {""}},
    {"CreateSnapshot", {R"(collection: "docs" name: "monday")"}},
    {"ListSnapshots", {R"(collection: "docs")"}},
    {"DeleteSnapshot", {R"(collection: "docs" name: "monday")"}},
    {"DownloadSnapshot", {R"(collection: "docs" offset: 10)"}},
    {"RestoreSnapshot",
     {R"(target { collection: "copy" snapshot { collection: "docs" name: "monday" } })"}},
};

std::string Encode(const MethodDescriptor& method, const char* text) {
  auto* const factory = google::protobuf::MessageFactory::generated_factory();
  const std::unique_ptr<Message> message(factory->GetPrototype(method.input_type())->New());
  Require(google::protobuf::TextFormat::ParseFromString(text, message.get()), text);
  return message->SerializeAsString();
}

// Brings "docs" and restores it.
std::vector<std::string> Restoration() {
  World& world = TheWorld();
  v1::DownloadSnapshotRequest request;
  request.set_collection("docs");
  v1::RestoreSnapshotRequest message;
  message.mutable_target()->set_collection("copy");
  std::vector<std::string> messages = {message.SerializeAsString()};
  for (const std::string& answer :
       world.Call("/vexact.v1.Snapshots/DownloadSnapshot", {request.SerializeAsString()}).answers) {
    v1::DownloadSnapshotResponse piece;
    Require(piece.ParseFromString(answer), "a piece of a snapshot");
    message.set_data(piece.data());
    messages.push_back(message.SerializeAsString());
  }
  return messages;
}

}  // namespace

std::vector<std::string> Seeds() {
  const std::vector<const MethodDescriptor*> methods = Methods();
  World& world = TheWorld();
  world.Restore();
  std::vector<std::string> seeds;
  for (const auto& [name, texts] : kSeeds) {
    const auto found =
        std::find_if(methods.begin(), methods.end(),
                     [&, wanted = name](const auto* one) { return one->name() == wanted; });
    Require(found != methods.end(), name);
    std::vector<std::string> messages;
    for (const char* text : texts) messages.push_back(Encode(**found, text));
    seeds.push_back(Input(static_cast<size_t>(found - methods.begin()), messages));
    Try(seeds.back());
    if ((*found)->name() == "RestoreSnapshot") {
      seeds.push_back(Input(static_cast<size_t>(found - methods.begin()), Restoration()));
    }
  }
  return seeds;
}

void Try(std::string_view input) {
  static const std::vector<const MethodDescriptor*> methods = Methods();
  if (input.empty()) return;
  World& world = TheWorld();
  world.Restore();
  const MethodDescriptor& method = *methods[static_cast<uint8_t>(input[0]) % methods.size()];
  std::vector<std::string> messages = Messages(input.substr(1));
  if (!method.client_streaming()) messages.resize(1);
  const World::Outcome outcome = world.Call(Path(method), messages);
  switch (outcome.status.error_code()) {
    case grpc::StatusCode::UNKNOWN:
    case grpc::StatusCode::INTERNAL:
    case grpc::StatusCode::DATA_LOSS:
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      // Damage is only ever the caller's own: a snapshot that it sends.
      if (method.name() == "RestoreSnapshot" &&
          outcome.status.error_code() == grpc::StatusCode::DATA_LOSS) {
        break;
      }
      Require(false, Path(method) + ": " + outcome.status.error_message());
      break;
    case grpc::StatusCode::OK:
      Require(!outcome.answers.empty() || method.server_streaming(),
              "a call that succeeds is answered");
      break;
    default:
      Require(!outcome.status.error_message().empty(), "a refusal says why");
  }
}

}  // namespace vexact::fuzz

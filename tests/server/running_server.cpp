#include "tests/server/running_server.h"

#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

namespace vexact::testing {
namespace {

std::shared_ptr<grpc::Channel> Connect(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  // A channel of its own: not one that another server's stubs, at an address used again, left
  // behind.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

std::vector<std::string> With(std::vector<std::string> args, const std::vector<std::string>& more) {
  args.insert(args.end(), more.begin(), more.end());
  return args;
}

// Makes a unary call through `method` of `stub`, into `response` or nowhere.
template <typename Stub, typename Request, typename Response>
grpc::Status Call(Stub& stub,
                  grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                  const Request& request, Response* response) {
  PatientContext context;
  Response unused;
  return (stub.*method)(&context, request, response != nullptr ? response : &unused);
}

}  // namespace

RunningServer::RunningServer(const std::vector<std::string>& args)
    : process(args),
      channel(Connect(process.address())),
      collections(v1::Collections::NewStub(channel)),
      points(v1::Points::NewStub(channel)),
      search(v1::Search::NewStub(channel)),
      server(v1::Server::NewStub(channel)) {}

RunningServer::RunningServer(const std::vector<std::string>& args, const std::string& address)
    : process(With(args, {"--listen", address}), {}, ServerProcess::kStarted),
      channel(Connect(address)),
      collections(v1::Collections::NewStub(channel)),
      points(v1::Points::NewStub(channel)),
      search(v1::Search::NewStub(channel)),
      server(v1::Server::NewStub(channel)) {}

void RunningServer::Create(const std::string& name, uint32_t dimension, v1::Metric metric,
                           v1::Normalization normalization) {
  v1::CreateCollectionRequest request;
  request.set_name(name);
  request.set_dimension(dimension);
  request.set_metric(metric);
  request.set_normalization(normalization);
  v1::CreateCollectionResponse response;
  ASSERT_THAT(Call(*collections, &v1::Collections::Stub::CreateCollection, request, &response),
              IsOk());
  ASSERT_TRUE(response.created());
}

grpc::Status RunningServer::Upsert(const v1::UpsertRequest& request, v1::UpsertResponse* response) {
  return Call(*points, &v1::Points::Stub::Upsert, request, response);
}

grpc::Status RunningServer::Search(const v1::SearchRequest& request, v1::SearchResponse* response) {
  return Call(*search, &v1::Search::Stub::Search, request, response);
}

grpc::Status RunningServer::Compare(const v1::CompareRequest& request,
                                    v1::CompareResponse* response) {
  return Call(*search, &v1::Search::Stub::Compare, request, response);
}

grpc::Status RunningServer::Get(const v1::GetPointsRequest& request,
                                v1::GetPointsResponse* response) {
  return Call(*points, &v1::Points::Stub::GetPoints, request, response);
}

grpc::Status RunningServer::Delete(const v1::DeletePointsRequest& request,
                                   v1::DeletePointsResponse* response) {
  return Call(*points, &v1::Points::Stub::DeletePoints, request, response);
}

grpc::Status RunningServer::Scroll(const v1::ScrollPointsRequest& request,
                                   v1::ScrollPointsResponse* response) {
  return Call(*points, &v1::Points::Stub::ScrollPoints, request, response);
}

grpc::Status RunningServer::SetMetric(const std::string& name, v1::Metric metric) {
  v1::SetMetricRequest request;
  request.set_name(name);
  request.set_metric(metric);
  v1::SetMetricResponse response;
  return Call(*collections, &v1::Collections::Stub::SetMetric, request, &response);
}

grpc::Status RunningServer::List(v1::ListCollectionsResponse* response) {
  return Call(*collections, &v1::Collections::Stub::ListCollections, v1::ListCollectionsRequest(),
              response);
}

grpc::Status RunningServer::Describe(const std::string& name, v1::GetCollectionResponse* response) {
  v1::GetCollectionRequest request;
  request.set_name(name);
  return Call(*collections, &v1::Collections::Stub::GetCollection, request, response);
}

grpc::Status RunningServer::Drop(const std::string& name) {
  v1::DeleteCollectionRequest request;
  request.set_name(name);
  v1::DeleteCollectionResponse* const nowhere = nullptr;
  return Call(*collections, &v1::Collections::Stub::DeleteCollection, request, nowhere);
}

grpc::Status RunningServer::Info(v1::GetInfoResponse* response) {
  return Call(*server, &v1::Server::Stub::GetInfo, v1::GetInfoRequest(), response);
}

grpc::Status RunningServer::CallRaw(const std::string& method, std::string_view message,
                                    std::string* answer) {
  PatientContext context;
  context.set_wait_for_ready(true);
  grpc::CompletionQueue queue;
  const grpc::Slice slice(message.data(), message.size());
  const auto call = grpc::GenericStub(channel).PrepareUnaryCall(
      &context, method, grpc::ByteBuffer(&slice, 1), &queue);
  call->StartCall();
  grpc::ByteBuffer bytes;
  grpc::Status status;
  call->Finish(&bytes, &status, nullptr);
  void* tag;
  bool ok;
  queue.Next(&tag, &ok);
  grpc::Slice whole;
  if (answer != nullptr && bytes.DumpToSingleSlice(&whole).ok()) {
    answer->assign(reinterpret_cast<const char*>(whole.begin()), whole.size());
  }
  return status;
}

// The messages are written and read as bytes here: the request is empty, the answer is field 1 as a
// varint.
int RunningServer::Health() {
  std::string answer;
  EXPECT_THAT(CallRaw("/grpc.health.v1.Health/Check", "", &answer), IsOk());
  return answer.size() == 2 && answer[0] == 8 ? answer[1] : -1;
}

std::string RunningServer::Contents() {
  v1::ListCollectionsResponse listed;
  EXPECT_THAT(List(&listed), IsOk());
  std::string contents = listed.DebugString();
  for (const v1::Collection& collection : listed.collections()) {
    v1::ScrollPointsRequest request;
    request.set_collection(collection.name());
    request.set_with_vectors(true);
    v1::ScrollPointsResponse page;
    do {
      const grpc::Status status = Scroll(request, &page);
      EXPECT_THAT(status, IsOk());
      if (!status.ok()) return contents;
      contents += page.DebugString();
      request.set_page_token(page.next_page_token());
    } while (!page.next_page_token().empty());
  }
  return contents;
}

v1::Id NumberId(uint64_t number) {
  v1::Id id;
  id.set_number(number);
  return id;
}

v1::Id TextId(const std::string& text) {
  v1::Id id;
  id.set_text(text);
  return id;
}

v1::Vector Values(const std::vector<float>& components) {
  v1::Vector vector;
  vector.mutable_values()->Add(components.begin(), components.end());
  return vector;
}

v1::Vector Packed(const std::vector<float>& components) {
  v1::Vector vector;
  vector.set_packed(components.data(), components.size() * sizeof(float));
  return vector;
}

v1::Point MakePoint(const v1::Id& id, const v1::Vector& vector) {
  v1::Point point;
  *point.mutable_id() = id;
  *point.mutable_vector() = vector;
  return point;
}

v1::UpsertRequest Points(const std::string& collection, const std::vector<v1::Point>& points) {
  v1::UpsertRequest request;
  request.set_collection(collection);
  request.mutable_points()->Add(points.begin(), points.end());
  return request;
}

v1::UpsertRequest Block(const std::string& collection, uint64_t first,
                        const std::vector<std::vector<float>>& rows) {
  v1::UpsertRequest request;
  request.set_collection(collection);
  v1::PointBlock& block = *request.mutable_block();
  for (const std::vector<float>& row : rows) {
    block.add_numbers(first++);
    block.mutable_vectors()->append(reinterpret_cast<const char*>(row.data()),
                                    row.size() * sizeof(float));
  }
  return request;
}

v1::Query ByVector(const std::vector<float>& components) {
  v1::Query query;
  *query.mutable_vector() = Values(components);
  return query;
}

v1::Query ById(const v1::Id& id, bool exclude_self) {
  v1::Query query;
  *query.mutable_id() = id;
  query.set_exclude_self(exclude_self);
  return query;
}

v1::SearchRequest MakeSearch(const std::string& collection, uint32_t k,
                             const std::vector<v1::Query>& queries) {
  v1::SearchRequest request;
  request.set_collection(collection);
  request.set_k(k);
  request.mutable_queries()->Add(queries.begin(), queries.end());
  return request;
}

}  // namespace vexact::testing

// A real vexactd and raw stubs to it.
#pragma once

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/server_process.h"
#include "vexact/v1/collections.grpc.pb.h"
#include "vexact/v1/points.grpc.pb.h"
#include "vexact/v1/search.grpc.pb.h"
#include "vexact/v1/server.grpc.pb.h"

namespace vexact::testing {

// A status with that code and a message that is, or matches, `message`.
MATCHER_P2(IsRefusal, code, message, "") {
  *result_listener << "which has code " << arg.error_code() << " and says: " << arg.error_message();
  return arg.error_code() == code && ::testing::Value(arg.error_message(), message);
}
MATCHER(IsOk, "") {
  *result_listener << "which has code " << arg.error_code() << " and says: " << arg.error_message();
  return arg.ok();
}

// A call's time limit in tests: only there so that a defect does not hang them.
inline constexpr std::chrono::minutes kPatience{5};

// Every call below is made with this, unless a test needs a context of its own.
struct PatientContext : grpc::ClientContext {
  PatientContext() { set_deadline(std::chrono::system_clock::now() + kPatience); }
};

struct RunningServer {
  explicit RunningServer(const std::vector<std::string>& args = {});
  // One that need not be ready yet; it is to listen on `address`.
  RunningServer(const std::vector<std::string>& args, const std::string& address);

  ServerProcess process;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::Collections::Stub> collections;
  std::unique_ptr<v1::Points::Stub> points;
  std::unique_ptr<v1::Search::Stub> search;
  std::unique_ptr<v1::Server::Stub> server;

  // Makes a collection. Fails the test when that is refused.
  void Create(const std::string& name, uint32_t dimension, v1::Metric metric = v1::METRIC_COSINE,
              v1::Normalization normalization = v1::NORMALIZATION_NONE);

  grpc::Status Upsert(const v1::UpsertRequest& request, v1::UpsertResponse* response = nullptr);
  grpc::Status Search(const v1::SearchRequest& request, v1::SearchResponse* response = nullptr);
  grpc::Status Compare(const v1::CompareRequest& request, v1::CompareResponse* response = nullptr);
  grpc::Status Get(const v1::GetPointsRequest& request, v1::GetPointsResponse* response = nullptr);
  grpc::Status Delete(const v1::DeletePointsRequest& request,
                      v1::DeletePointsResponse* response = nullptr);
  grpc::Status Scroll(const v1::ScrollPointsRequest& request,
                      v1::ScrollPointsResponse* response = nullptr);
  grpc::Status SetMetric(const std::string& name, v1::Metric metric);
  grpc::Status List(v1::ListCollectionsResponse* response);
  grpc::Status Describe(const std::string& name, v1::GetCollectionResponse* response = nullptr);
  grpc::Status Drop(const std::string& name);
  grpc::Status Info(v1::GetInfoResponse* response);

  // Calls a method by its path with any bytes as the message; leaves those of the answer. Waits
  // until the server listens.
  grpc::Status CallRaw(const std::string& method, std::string_view message,
                       std::string* answer = nullptr);

  // What grpc.health.v1.Health/Check says of the whole server: 1 is SERVING, 2 is NOT_SERVING.
  // Waits until the server listens.
  int Health();

  // Everything the server holds, as text: each collection's description and each of its points. Two
  // that are equal mean that nothing has changed.
  std::string Contents();
};

v1::Id NumberId(uint64_t number);
v1::Id TextId(const std::string& text);
v1::Vector Values(const std::vector<float>& components);
v1::Vector Packed(const std::vector<float>& components);

v1::Point MakePoint(const v1::Id& id, const v1::Vector& vector);
v1::UpsertRequest Points(const std::string& collection, const std::vector<v1::Point>& points);
// Rows under the numbers from `first`, in the form for bulk loads.
v1::UpsertRequest Block(const std::string& collection, uint64_t first,
                        const std::vector<std::vector<float>>& rows);

v1::Query ByVector(const std::vector<float>& components);
v1::Query ById(const v1::Id& id, bool exclude_self = false);
v1::SearchRequest MakeSearch(const std::string& collection, uint32_t k,
                             const std::vector<v1::Query>& queries);

inline constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
inline constexpr float kInfinity = std::numeric_limits<float>::infinity();

}  // namespace vexact::testing

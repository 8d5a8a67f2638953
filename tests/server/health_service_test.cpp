#include "server/health_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

namespace vexact::server {
namespace {

using grpc::health::v1::Health;
using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;
using ::testing::HasSubstr;

HealthCheckRequest For(const std::string& service) {
  HealthCheckRequest request;
  request.set_service(service);
  return request;
}

class HealthServiceTest : public ::testing::Test {
 protected:
  struct Context : grpc::ClientContext {
    Context() { set_deadline(std::chrono::system_clock::now() + std::chrono::minutes(5)); }
  };

  HealthServiceTest() {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&health_);
    server_ = builder.BuildAndStart();
    stub_ = Health::NewStub(grpc::CreateChannel("127.0.0.1:" + std::to_string(port),
                                                grpc::InsecureChannelCredentials()));
  }
  ~HealthServiceTest() override { server_->Shutdown(std::chrono::system_clock::now()); }

  int Check(const std::string& service) {
    Context context;
    HealthCheckResponse response;
    const grpc::Status status = stub_->Check(&context, For(service), &response);
    return status.ok() ? response.status() : -1;
  }

  HealthService health_{{"a.One", "a.Two"}};
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<Health::Stub> stub_;
};

TEST_F(HealthServiceTest, DoesNotServeBeforeItIsToldSoNorAfterTheStop) {
  const std::vector<std::string> services = {"", "a.One", "a.Two"};
  for (const auto& name : services) EXPECT_EQ(Check(name), HealthCheckResponse::NOT_SERVING);
  health_.Serve();
  for (const auto& name : services) EXPECT_EQ(Check(name), HealthCheckResponse::SERVING);
  health_.Stop();
  health_.Serve();  // a start that ends after the stop
  for (const auto& name : services) EXPECT_EQ(Check(name), HealthCheckResponse::NOT_SERVING);
}

TEST_F(HealthServiceTest, SaysWhichServicesThereAre) {
  Context context;
  HealthCheckResponse response;
  const grpc::Status status = stub_->Check(&context, For("a.Three"), &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(status.error_message(),
            "no service \"a.Three\". There are a.One, a.Two, and \"\" for the server.");
}

TEST_F(HealthServiceTest, TellsWatchersEachChangeOnce) {
  Context whole_context, one_context, unknown_context;
  const auto whole = stub_->Watch(&whole_context, For(""));
  const auto one = stub_->Watch(&one_context, For("a.One"));
  const auto unknown = stub_->Watch(&unknown_context, For("a.Three"));
  HealthCheckResponse response;
  ASSERT_TRUE(unknown->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVICE_UNKNOWN);
  const auto expect = [&](HealthCheckResponse::ServingStatus status) {
    ASSERT_TRUE(whole->Read(&response));
    EXPECT_EQ(response.status(), status);
    ASSERT_TRUE(one->Read(&response));
    EXPECT_EQ(response.status(), status);
  };
  expect(HealthCheckResponse::NOT_SERVING);
  health_.Serve();
  health_.Serve();
  expect(HealthCheckResponse::SERVING);
  one_context.TryCancel();
  EXPECT_FALSE(one->Read(&response));
  EXPECT_EQ(one->Finish().error_code(), grpc::StatusCode::CANCELLED);
  health_.Stop();
  ASSERT_TRUE(whole->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
  // What still watches does not hold up the end.
  server_->Shutdown(std::chrono::system_clock::now());
  EXPECT_FALSE(whole->Read(&response));
  EXPECT_FALSE(unknown->Read(&response)) << "it has nothing more to hear";
}

}  // namespace
}  // namespace vexact::server

#include "server/lone_poller.h"

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace vexact::server {
namespace {

// Ends every call at once, and knows on which threads calls began.
class AnyService : public grpc::CallbackGenericService {
 public:
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext*) override {
    struct Reactor : grpc::ServerGenericBidiReactor {
      Reactor() { Finish(grpc::Status(grpc::StatusCode::ALREADY_EXISTS, "here")); }
      void OnDone() override { delete this; }
    };
    const std::lock_guard lock(mutex_);
    threads_.insert(std::this_thread::get_id());
    return new Reactor();
  }

  void ForgetThreads() {
    const std::lock_guard lock(mutex_);
    threads_.clear();
  }
  size_t threads() {
    const std::lock_guard lock(mutex_);
    return threads_.size();
  }

 private:
  std::mutex mutex_;
  std::set<std::thread::id> threads_;
};

struct RunningService {
  RunningService() {
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterCallbackGenericService(&service);
    server = builder.BuildAndStart();
    poller = std::make_unique<LonePoller>(*server);
    service.ForgetThreads();  // of its own call
  }
  ~RunningService() {
    poller.reset();
    server->Shutdown();
  }

  // From several threads, each over a connection of its own.
  void CallManyTimes() const {
    std::vector<std::jthread> callers;
    for (int caller = 0; caller < 4; ++caller) {
      callers.emplace_back([this, caller] {
        grpc::ChannelArguments arguments;
        arguments.SetInt("caller", caller);
        grpc::GenericStub stub(grpc::CreateCustomChannel(
            "127.0.0.1:" + std::to_string(port), grpc::InsecureChannelCredentials(), arguments));
        for (int i = 0; i < 50; ++i) ASSERT_EQ(Call(stub), grpc::StatusCode::ALREADY_EXISTS);
      });
    }
  }

  static grpc::StatusCode Call(grpc::GenericStub& stub) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::minutes(1));
    const grpc::Slice nothing;
    grpc::CompletionQueue queue;
    auto call =
        stub.PrepareUnaryCall(&context, "/any/Method", grpc::ByteBuffer(&nothing, 1), &queue);
    call->StartCall();
    grpc::ByteBuffer answer;
    grpc::Status status;
    call->Finish(&answer, &status, nullptr);
    void* tag = nullptr;
    bool ok = false;
    queue.Next(&tag, &ok);
    return status.error_code();
  }

  AnyService service;
  grpc::ServerBuilder builder;
  int port = 0;
  std::unique_ptr<grpc::Server> server;
  std::unique_ptr<LonePoller> poller;
};

TEST(LonePollerTest, OneThreadTakesAllCalls) {
  if (!LonePoller::IsForThisMachine()) GTEST_SKIP() << "gRPC polls with more threads here";
  RunningService running;
  running.CallManyTimes();
  EXPECT_EQ(running.service.threads(), 1u);
}

// Were a thread kept for each of two servers of the process, none would be left.
TEST(LonePollerTest, LeavesAThreadToAllServersOfAProcess) {
  auto first = std::make_unique<RunningService>();
  RunningService second;
  first->CallManyTimes();
  second.CallManyTimes();
  first.reset();
  second.CallManyTimes();
  RunningService third;
  third.CallManyTimes();
}

}  // namespace
}  // namespace vexact::server

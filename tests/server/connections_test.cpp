// Connections: how many, and how long.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/server/running_server.h"

namespace vexact::testing {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

// A connection in raw bytes.
class RawConnection {
 public:
  explicit RawConnection(const std::string& address) : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(fd_, reinterpret_cast<const sockaddr*>(&name), sizeof name), 0);
    // HTTP/2's preface and an empty SETTINGS frame.
    constexpr std::string_view kHello("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 33);
    (void)!send(fd_, kHello.data(), kHello.size(), MSG_NOSIGNAL);
  }
  RawConnection(RawConnection&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  RawConnection& operator=(RawConnection&&) = delete;
  ~RawConnection() {
    if (fd_ >= 0) close(fd_);
  }

  // Waits until the server says something; false when it ends the connection instead.
  bool Answers() const {
    char byte;
    return recv(fd_, &byte, 1, 0) == 1;
  }
  // Waits until the server ends the connection.
  void AwaitEnd() const {
    while (Answers()) {
    }
  }

 private:
  int fd_;
};

grpc::Status AskAnew(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  const auto stub = v1::Server::NewStub(
      grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments));
  PatientContext context;
  v1::GetInfoResponse info;
  return stub->GetInfo(&context, v1::GetInfoRequest(), &info);
}

TEST(ConnectionLimitTest, ClosesWhatIsBeyondAndLeavesTheOthersAlone) {
  RunningServer server({"--max-connections", "3"});
  const std::string& address = server.process.address();
  v1::GetInfoResponse info;
  ASSERT_THAT(server.Info(&info), IsOk());  // over the first connection
  EXPECT_EQ(info.limits().max_connections(), 3);
  std::vector<RawConnection> taken;
  for (int i = 0; i < 2; ++i) {
    taken.emplace_back(address);
    ASSERT_TRUE(taken.back().Answers());
  }
  for (int i = 0; i < 5; ++i) EXPECT_FALSE(RawConnection(address).Answers());
  EXPECT_EQ(AskAnew(address).error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(server.Info(&info), IsOk());
  EXPECT_TRUE(server.process.WaitForLog("warning overload refused="));
  EXPECT_THAT(server.process.log(),
              ContainsRegex("overload refused=[0-9]+ queue=0 bytes_in_flight=0 rate=0 "
                            "connections=[1-9]"));
  PatientContext context;
  v1::GetStatisticsResponse statistics;
  ASSERT_THAT(server.server->GetStatistics(&context, v1::GetStatisticsRequest(), &statistics),
              IsOk());
  for (const auto& refusal : statistics.refusals()) {
    const uint64_t least = refusal.reason() == "connections" ? 6 : 0;
    EXPECT_GE(refusal.count(), least) << refusal.reason();
  }
  EXPECT_EQ(statistics.process().connections(), 3);
  // When one is closed there is room for another, as soon as the server has noticed.
  taken.pop_back();
  while (!RawConnection(address).Answers()) {
  }
  EXPECT_THAT(server.Info(&info), IsOk());
}

TEST(ConnectionLimitTest, IsHalfOfTheDescriptorsAtMostAndTheLogSaysSo) {
  rlimit limit{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  // The server raises its own as far as it may.
  const uint64_t half = limit.rlim_max / 2;
  RunningServer server({"--max-connections", "1000000"});
  v1::GetInfoResponse info;
  ASSERT_THAT(server.Info(&info), IsOk());
  EXPECT_EQ(info.limits().max_connections(), std::min<uint64_t>(half, 1'000'000));
  const auto warning = HasSubstr("warning connections_limited wanted=1000000 limit=");
  if (half < 1'000'000) {
    EXPECT_THAT(server.process.log(), warning);
  } else {
    EXPECT_THAT(server.process.log(), Not(warning));
  }
}

// A stream of upserts that stays open until it is cancelled.
class OpenStream {
 public:
  OpenStream(v1::Points::Stub& points, grpc::CompletionQueue& queue)
      : stream_(points.PrepareAsyncBulkUpsert(&context_, &queue)) {
    stream_->StartCall(nullptr);
  }
  void Cancel() { context_.TryCancel(); }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientAsyncReaderWriter<v1::UpsertRequest, v1::BulkUpsertResponse>> stream_;
};

TEST(ConnectionLimitTest, OneConnectionHasSoManyCallsAtOnce) {
  RunningServer server;
  v1::GetInfoResponse info;
  ASSERT_THAT(server.Info(&info), IsOk());
  const uint32_t most = info.limits().max_calls_per_connection();
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  const auto channel = grpc::CreateCustomChannel(server.process.address(),
                                                 grpc::InsecureChannelCredentials(), arguments);
  const auto points = v1::Points::NewStub(channel);
  const auto info_stub = v1::Server::NewStub(channel);
  grpc::CompletionQueue queue;
  std::deque<OpenStream> streams;
  void* tag = nullptr;
  bool ok = false;
  for (uint32_t i = 0; i < most; ++i) {
    streams.emplace_back(*points, queue);
    ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
  }
  // The connection is full: the next call is held back, while others' connections are served.
  grpc::ClientContext late;
  late.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(1));
  EXPECT_EQ(info_stub->GetInfo(&late, v1::GetInfoRequest(), &info).error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_THAT(server.Info(&info), IsOk());
  for (OpenStream& stream : streams) stream.Cancel();
  PatientContext patient;
  EXPECT_THAT(info_stub->GetInfo(&patient, v1::GetInfoRequest(), &info), IsOk());
  streams.clear();
  queue.Shutdown();
  while (queue.Next(&tag, &ok)) {
  }
}

TEST(ConnectionLimitTest, AConnectionThatDoesNothingIsClosedInTime) {
  RunningServer server({"--max-idle-seconds", "1"});
  const RawConnection idle(server.process.address());
  ASSERT_TRUE(idle.Answers());
  idle.AwaitEnd();
  // A client whose connection was closed makes another.
  v1::GetInfoResponse info;
  EXPECT_THAT(server.Info(&info), IsOk());
}

}  // namespace
}  // namespace vexact::testing

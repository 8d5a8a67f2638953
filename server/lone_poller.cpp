#include "server/lone_poller.h"

#include <grpcpp/generic/generic_stub.h>
#include <unistd.h>

#include <atomic>

#include "absl/synchronization/notification.h"

namespace vexact::server {
namespace {

// gRPC polls with half as many threads as there are processors, and at least two.
constexpr long kProcessorsOfTwoThreads = 5;

// Of this process, which has one set of such threads: whether one of them is kept.
std::atomic<bool> kept = false;

}  // namespace

// A call within the process, whose answer (there is no such method) comes on a polling thread and
// stays there. No client's connection hangs on it.
struct LonePoller::Call {
  explicit Call(grpc::Server& server) : stub(server.InProcessChannel({})) {
    stub.UnaryCall(&context, "/vexact.LonePoller/Keep", {}, &request, &response,
                   [this](const grpc::Status&) {
                     begun.Notify();
                     release.WaitForNotification();
                     released.Notify();
                   });
    begun.WaitForNotification();
  }
  ~Call() {
    release.Notify();
    released.WaitForNotification();
  }

  grpc::GenericStub stub;
  grpc::ClientContext context;
  const grpc::Slice nothing;
  const grpc::ByteBuffer request{&nothing, 1};
  grpc::ByteBuffer response;
  absl::Notification begun, release, released;
};

bool LonePoller::IsForThisMachine() {
  return sysconf(_SC_NPROCESSORS_CONF) <= kProcessorsOfTwoThreads;
}

LonePoller::LonePoller(grpc::Server& server) {
  if (IsForThisMachine() && !kept.exchange(true)) call_ = std::make_unique<Call>(server);
}

LonePoller::~LonePoller() {
  if (call_ == nullptr) return;
  call_.reset();
  kept = false;
}

}  // namespace vexact::server

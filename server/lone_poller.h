// How many of gRPC's threads wait for events.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>

namespace vexact::server {

// On a machine of few processors two threads of gRPC poll, and each event makes one of them wake
// the other to poll meanwhile: for a small call that is a good part of what it costs, and for a
// search that is alone it takes a processor from the scan. While this lives, one of the two does
// nothing; the other takes whatever has come, one after the other. What runs on it must be brief.
//
// Where gRPC has more threads all of them poll.
class LonePoller {
 public:
  // Whether gRPC has two such threads here.
  static bool IsForThisMachine();

  // REQUIRES: the server runs. In a process with several servers the first one's does for all.
  explicit LonePoller(grpc::Server& server);
  // Gives the thread back. To be called before the server is shut down.
  ~LonePoller();
  LonePoller(const LonePoller&) = delete;
  LonePoller& operator=(const LonePoller&) = delete;

 private:
  struct Call;
  std::unique_ptr<Call> call_;  // null where nothing is kept
};

}  // namespace vexact::server

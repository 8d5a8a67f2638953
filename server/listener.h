// The port: takes connections in, as many as may be open at one time, and gives them to gRPC.
#pragma once

#include <grpcpp/grpcpp.h>
#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"

namespace vexact::server {

// Sockets that somebody else closes, who does not say so. Each is known by its descriptor and its
// inode, which no later one has, so that one may look which are still open.
//
// Thread safety: every method may be called from any thread.
class OpenSockets {
 public:
  // REQUIRES: `fd` is open.
  void Add(int fd);
  // How many of those added are still open: some tenths of a microsecond for each.
  size_t Count();
  // The same without looking: at least as many.
  size_t AtMost() const;

 private:
  struct Socket {
    int fd;
    ino_t inode;
  };
  mutable std::mutex mutex_;
  std::vector<Socket> sockets_;  // guarded by mutex_
};

// gRPC's own listener takes whatever comes, and this version of it has no limit that one could set.
class Listener {
 public:
  using Acceptor = grpc::experimental::ExternalConnectionAcceptor;

  // Listens at every address of HOST:PORT; port 0 takes a free one. Connections wait until Start.
  // UNAVAILABLE says why it cannot be, and what to do.
  static absl::StatusOr<std::unique_ptr<Listener>> Open(const std::string& address);

  // Stops.
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  int port() const { return port_; }

  // From here on takes connections in, and gives them to `acceptor`, whose server runs. Closes
  // those that come while `most` are open, and calls `refused` for each, from a thread of its own.
  void Start(std::unique_ptr<Acceptor> acceptor, size_t most, std::function<void()> refused);

  // Takes no more in. Those that are open stay.
  void Stop();

  // Connections that are open.
  size_t connections() { return open_.Count(); }

 private:
  Listener();
  absl::Status Listen(const std::string& address);
  void Run(const std::stop_token& stop);
  void Accept(int listener);
  bool HasRoom();
  void Pause() const;

  int port_ = 0;
  std::vector<int> listeners_;
  int wake_;  // an eventfd
  OpenSockets open_;
  std::unique_ptr<Acceptor> acceptor_;
  size_t most_ = 0;
  std::function<void()> refused_;
  std::chrono::steady_clock::time_point counted_at_{};
  std::jthread thread_;
};

// How many connections may be open where `wanted` is what the operator wants: at most half of the
// descriptors that the system allows this process, so that there are always some for files.
int64_t MostConnections(int64_t wanted);

}  // namespace vexact::server

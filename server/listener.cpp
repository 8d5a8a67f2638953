#include "server/listener.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_format.h"
#include "server/address.h"

namespace vexact::server {
namespace {

// Beyond the limit, how often it is looked whether one was closed meanwhile: for many connections
// that takes milliseconds, and who is refused is to cost little.
constexpr std::chrono::milliseconds kCountEvery{50};

// How long nothing is accepted when the system has no descriptor or memory for it.
constexpr int kPauseMs = 100;

absl::Status ListenError(const std::string& address, int error) {
  if (error == EADDRINUSE) {
    return absl::UnavailableError(
        absl::StrFormat("%s is in use by another process; choose another with --listen", address));
  }
  return absl::UnavailableError(absl::StrFormat(
      "cannot listen on %s: %s; choose another with --listen", address, std::strerror(error)));
}

// A socket that listens at `at`, or at its host and `port` where that is not 0; -1 and errno.
int ListenAt(const addrinfo& at, int port) {
  sockaddr_storage name{};
  std::memcpy(&name, at.ai_addr, at.ai_addrlen);
  if (port != 0) {
    // The port is at the same place in both kinds of address.
    reinterpret_cast<sockaddr_in&>(name).sin_port = htons(static_cast<uint16_t>(port));
  }
  const int fd = socket(at.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  const int on = 1, off = 0;
  // What is accepted has the listener's options. TCP_NODELAY: messages do not wait for one another.
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  // [::] is IPv4 as well.
  if (at.ai_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  if (bind(fd, reinterpret_cast<const sockaddr*>(&name), at.ai_addrlen) == 0 &&
      listen(fd, SOMAXCONN) == 0) {
    return fd;
  }
  const int error = errno;
  close(fd);
  errno = error;
  return -1;
}

int PortOf(int fd) {
  sockaddr_storage name{};
  socklen_t size = sizeof name;
  getsockname(fd, reinterpret_cast<sockaddr*>(&name), &size);
  return ntohs(reinterpret_cast<const sockaddr_in&>(name).sin_port);
}

}  // namespace

void OpenSockets::Add(int fd) {
  struct stat status {};
  fstat(fd, &status);
  const std::lock_guard lock(mutex_);
  sockets_.push_back({fd, status.st_ino});
}

size_t OpenSockets::Count() {
  const std::lock_guard lock(mutex_);
  std::erase_if(sockets_, [](const Socket& socket) {
    struct stat status {};
    return fstat(socket.fd, &status) != 0 || !S_ISSOCK(status.st_mode) ||
           status.st_ino != socket.inode;
  });
  return sockets_.size();
}

size_t OpenSockets::AtMost() const {
  const std::lock_guard lock(mutex_);
  return sockets_.size();
}

Listener::Listener() : wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

Listener::~Listener() {
  Stop();
  close(wake_);
}

absl::StatusOr<std::unique_ptr<Listener>> Listener::Open(const std::string& address) {
  std::unique_ptr<Listener> listener(new Listener());
  if (absl::Status status = listener->Listen(address); !status.ok()) return status;
  return listener;
}

absl::Status Listener::Listen(const std::string& address) {
  const auto [host, port] = SplitAddress(address);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(host.c_str(), port.c_str(), &hints, &found); error != 0) {
    return absl::UnavailableError(absl::StrFormat(
        "cannot listen on %s: %s; choose another with --listen", address, gai_strerror(error)));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> all(found, freeaddrinfo);
  int error = 0;
  for (const addrinfo* at = found; at != nullptr; at = at->ai_next) {
    // All of them have the port that the first one found free.
    const int fd = ListenAt(*at, port_);
    if (fd < 0) {
      error = errno;
      if (error == EADDRNOTAVAIL || error == EAFNOSUPPORT) continue;  // one of the others may do
      return ListenError(address, error);
    }
    listeners_.push_back(fd);
    port_ = PortOf(fd);
  }
  return listeners_.empty() ? ListenError(address, error) : absl::OkStatus();
}

void Listener::Start(std::unique_ptr<Acceptor> acceptor, size_t most,
                     std::function<void()> refused) {
  acceptor_ = std::move(acceptor);
  most_ = most;
  refused_ = std::move(refused);
  thread_ = std::jthread([this](const std::stop_token& stop) { Run(stop); });
}

void Listener::Stop() {
  if (thread_.joinable()) {
    thread_.request_stop();
    const uint64_t one = 1;
    (void)!write(wake_, &one, sizeof one);
    thread_.join();
  }
  for (const int fd : std::exchange(listeners_, {})) close(fd);
}

void Listener::Run(const std::stop_token& stop) {
  std::vector<pollfd> polled = {{wake_, POLLIN, 0}};
  for (const int fd : listeners_) polled.push_back({fd, POLLIN, 0});
  while (!stop.stop_requested()) {
    if (poll(polled.data(), polled.size(), -1) < 0) continue;  // a signal came
    for (size_t i = 1; i < polled.size(); ++i) {
      if (polled[i].revents != 0) Accept(polled[i].fd);
    }
  }
}

void Listener::Accept(int listener) {
  const int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) {
    // Otherwise the connection went away, which is its own affair.
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) Pause();
    return;
  }
  if (!HasRoom()) {
    close(fd);
    return refused_();
  }
  open_.Add(fd);
  Acceptor::NewConnectionParameters connection;
  connection.listener_fd = listener;
  connection.fd = fd;
  acceptor_->HandleNewConnection(&connection);
}

bool Listener::HasRoom() {
  if (open_.AtMost() < most_) return true;
  const auto now = std::chrono::steady_clock::now();
  if (now - counted_at_ < kCountEvery) return false;
  counted_at_ = now;
  return open_.Count() < most_;
}

void Listener::Pause() const {
  pollfd wake{wake_, POLLIN, 0};
  poll(&wake, 1, kPauseMs);
}

int64_t MostConnections(int64_t wanted) {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return wanted;
  return std::min(wanted, static_cast<int64_t>(std::min<rlim_t>(limit.rlim_cur / 2, INT64_MAX)));
}

}  // namespace vexact::server

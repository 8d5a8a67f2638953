// A TCP proxy on the loopback interface that a test can break at will.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace vexact::testing {

// Forwards every connection to `target` ("127.0.0.1:PORT"). When told to, it cuts all of them after
// some more bytes have gone towards the target; new ones are taken all the same, unless it refuses.
class Proxy {
 public:
  explicit Proxy(const std::string& target)
      : target_port_(std::stoi(target.substr(target.rfind(':') + 1))) {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = Loopback(0);
    socklen_t size = sizeof(address);
    if (bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
        listen(listener_, 16) != 0 ||
        getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
      throw std::runtime_error("the proxy cannot listen");
    }
    address_ = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
    acceptor_ = std::thread([this] { Accept(); });
  }
  Proxy(const Proxy&) = delete;
  Proxy& operator=(const Proxy&) = delete;
  ~Proxy() {
    stop_ = true;
    acceptor_.join();
    for (std::thread& pump : pumps_) pump.join();
    close(listener_);
  }

  const std::string& address() const { return address_; }
  // Cuts what is connected once `bytes` more have gone to the target, and does so `times` times in
  // a row.
  void CutAfter(int64_t bytes, int times) {
    every_ = bytes;
    left_ = bytes;
    cuts_ = times;
  }
  // From now on connections are closed as soon as they are made, and those that exist are cut.
  void Refuse() { refuse_ = true; }
  // Cuts that happened.
  int cuts() const { return done_; }

 private:
  static sockaddr_in Loopback(int port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
  }

  static bool Readable(int fd) {
    pollfd entry{.fd = fd, .events = POLLIN, .revents = 0};
    return poll(&entry, 1, 20) > 0;
  }

  void Accept() {
    while (!stop_) {
      if (!Readable(listener_)) continue;
      const int client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (client < 0) continue;
      pumps_.emplace_back([this, client] { Serve(client); });
    }
  }

  void Serve(int client) {
    const int target = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const sockaddr_in address = Loopback(target_port_);
    if (!refuse_ &&
        connect(target, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
      while (!stop_ && !refuse_ && Forward(client, target)) {
      }
    }
    close(client);
    close(target);
  }

  // Moves what there is, both ways; false when a side ended or the cut is due.
  bool Forward(int client, int target) {
    std::array<pollfd, 2> entries{pollfd{.fd = client, .events = POLLIN, .revents = 0},
                                  pollfd{.fd = target, .events = POLLIN, .revents = 0}};
    if (poll(entries.data(), 2, 20) <= 0) return true;
    std::array<char, 65536> buffer;
    if (entries[0].revents != 0) {
      const ssize_t got = read(client, buffer.data(), buffer.size());
      if (got <= 0 || !WriteAll(target, buffer.data(), got)) return false;
      if (cuts_ > 0 && (left_ -= got) <= 0) {
        left_ = every_.load();
        --cuts_;
        ++done_;
        return false;
      }
    }
    if (entries[1].revents != 0) {
      const ssize_t got = read(target, buffer.data(), buffer.size());
      if (got <= 0 || !WriteAll(client, buffer.data(), got)) return false;
    }
    return true;
  }

  static bool WriteAll(int fd, const char* from, ssize_t size) {
    while (size > 0) {
      const ssize_t wrote = send(fd, from, static_cast<size_t>(size), MSG_NOSIGNAL);
      if (wrote <= 0) return false;
      from += wrote;
      size -= wrote;
    }
    return true;
  }

  const int target_port_;
  int listener_ = -1;
  std::string address_;
  std::atomic<bool> stop_ = false, refuse_ = false;
  std::atomic<int64_t> every_ = 0, left_ = 0;
  std::atomic<int> cuts_ = 0, done_ = 0;
  std::vector<std::thread>
      pumps_;  // only the acceptor adds, only the destructor reads, after it ended
  std::thread acceptor_;
};

}  // namespace vexact::testing

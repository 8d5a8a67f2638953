// The real vexactd, run as a child process on an ephemeral port of the loopback interface.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace vexact::testing {

// The path of the vexactd that this build made.
std::string ServerBinary();

// Names and values put into a child's environment, over what it inherits. A child inherits no
// VEXACT_* variable but VEXACT_FORCE_ISA, so that a developer's own settings cannot decide a test;
// and it gets VEXACT_IN_MEMORY=true, so that a server leaves files only where a test says so, with
// --data-dir.
using Environment = std::vector<std::pair<std::string, std::string>>;

// One running vexactd. The destructor ends it: SIGTERM, then SIGKILL after 10 seconds.
//
// Should the test die, or the thread that started the server end, the kernel sends the server a
// SIGTERM.
//
// Thread safety: log() and Signal() may be called from any thread; everything else from one thread
// at a time.
class ServerProcess {
 public:
  enum Until { kReady, kStarted };

  // Starts `vexactd --listen 127.0.0.1:0` followed by `args` and returns once it is ready. Throws
  // std::runtime_error, with what the server said, when it ends before that or is not ready within
  // 60 seconds. With kStarted it returns at once, and address() is empty.
  explicit ServerProcess(const std::vector<std::string>& args = {},
                         const Environment& environment = {}, Until until = kReady);
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;
  ~ServerProcess();

  // "127.0.0.1:40123": where it listens.
  const std::string& address() const { return address_; }
  pid_t pid() const { return pid_; }

  // Everything it has written to stderr so far.
  std::string log() const;
  // Waits until the log contains `text`; false when it does not within `timeout` or by the server's
  // end.
  bool WaitForLog(std::string_view text,
                  std::chrono::milliseconds timeout = std::chrono::seconds(30)) const;

  // REQUIRES: Wait() has not returned.
  void Signal(int signal) const;

  // Waits for its end: the exit status, or 128 + the signal that killed it. The log is complete
  // afterwards. Throws std::runtime_error after `timeout`.
  int Wait(std::chrono::milliseconds timeout = std::chrono::seconds(60));

 private:
  void ReadLog(int fd);
  void Stop();

  pid_t pid_ = -1;
  std::optional<int> status_;
  std::string address_;

  mutable std::mutex mutex_;
  mutable std::condition_variable log_changed_;
  std::string log_;         // guarded by mutex_
  bool log_ended_ = false;  // guarded by mutex_
  std::thread reader_;
};

// A program that was run to its end.
struct Finished {
  int status = 0;  // the exit status, or 128 + the signal that killed it
  std::string out;
  std::string err;
};

// Runs a program with an empty stdin, for at most `timeout`; argv[0] is its path, or a name to look
// up in PATH. Throws std::runtime_error when it cannot be started or takes longer (it is killed
// then).
Finished Run(const std::vector<std::string>& argv, const Environment& environment = {},
             std::chrono::milliseconds timeout = std::chrono::seconds(60));

}  // namespace vexact::testing

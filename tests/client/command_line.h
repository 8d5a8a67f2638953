// Runs the real `vexact` against a real server.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <fstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/server_process.h"

namespace vexact::testing {

// Runs `vexact` with `args` against the server at `address`, to its end.
inline Finished Vexact(const std::string& address, const std::vector<std::string>& args) {
  std::vector<std::string> argv = {VEXACT_BINARY};
  argv.insert(argv.end(), args.begin(), args.end());
  return Run(argv, {{"VEXACT_SERVER", address}});
}

// A line of shell in which $VEXACT is the command, for pipes.
inline Finished Shell(const std::string& address, const std::string& line) {
  return Run({"/bin/bash", "-c", "set -o pipefail; " + line},
             {{"VEXACT_SERVER", address}, {"VEXACT", VEXACT_BINARY}});
}

// A `vexact` that still runs, with a pipe for its stdin. Killed by the destructor when nobody
// waited for it.
class RunningVexact {
 public:
  explicit RunningVexact(std::vector<std::string> args) {
    std::array<int, 2> in, err;
    if (pipe2(in.data(), O_CLOEXEC) != 0 || pipe2(err.data(), O_CLOEXEC) != 0) {
      throw std::runtime_error("pipe2");
    }
    args.insert(args.begin(), VEXACT_BINARY);
    std::vector<char*> argv;
    for (std::string& arg : args) argv.push_back(arg.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, err[1], STDERR_FILENO);
    const int failed = posix_spawn(&pid_, argv[0], &actions, nullptr, argv.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    close(in[0]);
    close(err[1]);
    in_ = in[1];
    err_ = err[0];
    if (failed != 0) throw std::runtime_error("posix_spawn");
  }
  RunningVexact(const RunningVexact&) = delete;
  RunningVexact& operator=(const RunningVexact&) = delete;
  ~RunningVexact() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    CloseStdin();
    close(err_);
  }

  // False when the process does not read any more.
  bool Write(std::string_view bytes) const {
    while (!bytes.empty()) {
      const ssize_t wrote = write(in_, bytes.data(), bytes.size());
      if (wrote < 0 && errno == EINTR) continue;
      if (wrote <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(wrote));
    }
    return true;
  }
  void CloseStdin() {
    if (in_ >= 0) close(std::exchange(in_, -1));
  }
  // Waits until everything that was written has been read and the reader sleeps, waiting for more;
  // false after 30 seconds.
  bool WaitUntilRead() const {
    for (int i = 0; i < 3000; ++i) {
      int left = 0;
      if (ioctl(in_, FIONREAD, &left) == 0 && left == 0 && State() == 'S') return true;
      usleep(10'000);
    }
    return false;
  }
  void Signal(int signal) const { kill(pid_, signal); }

  // Waits for its end; stdout is not collected.
  Finished Wait() {
    Finished finished;
    std::array<char, 4096> buffer;
    ssize_t got;
    while ((got = read(err_, buffer.data(), buffer.size())) > 0) {
      finished.err.append(buffer.data(), static_cast<size_t>(got));
    }
    int status = 0;
    wait4(std::exchange(pid_, -1), &status, 0, &usage_);
    finished.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return finished;
  }
  // Of the process that was waited for: the most memory it ever held, in bytes.
  size_t peak_memory() const { return static_cast<size_t>(usage_.ru_maxrss) * 1024; }

 private:
  // As in proc(5): R runs, S sleeps.
  char State() const {
    std::ifstream stat("/proc/" + std::to_string(pid_) + "/stat");
    std::string line;
    std::getline(stat, line);
    const size_t name_end = line.rfind(')');
    return name_end == std::string::npos ? '?' : line[name_end + 2];
  }

  pid_t pid_ = -1;
  int in_ = -1, err_ = -1;
  rusage usage_{};
};

}  // namespace vexact::testing

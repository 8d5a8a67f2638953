#include "tests/support/server_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <stdexcept>

extern char** environ;

namespace vexact::testing {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kReadyTimeout{60};
constexpr std::chrono::seconds kStopTimeout{10};
constexpr std::chrono::milliseconds kPollInterval{2};

std::runtime_error SystemError(const std::string& what) {
  return std::runtime_error(what + ": " + std::strerror(errno));
}

struct Pipe {
  int read_end, write_end;
};

Pipe MakePipe() {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) throw SystemError("pipe2");
  return {fds[0], fds[1]};
}

std::vector<std::string> MergedEnvironment(const Environment& environment) {
  std::vector<std::string> merged;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    if (text.starts_with("VEXACT_") && !text.starts_with("VEXACT_FORCE_ISA=")) continue;
    merged.emplace_back(text);
  }
  merged.emplace_back("VEXACT_IN_MEMORY=true");
  for (const auto& [name, value] : environment) {
    std::erase_if(merged, [&](const std::string& entry) { return entry.starts_with(name + "="); });
    merged.push_back(name + "=" + value);
  }
  return merged;
}

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& string : strings) pointers.push_back(string.data());
  pointers.push_back(nullptr);
  return pointers;
}

// Starts a program with an empty stdin and its stderr, and stdout where given, going to those
// descriptors.
pid_t Spawn(std::vector<std::string> argv, const Environment& environment,
            std::optional<int> out_fd, int err_fd) {
  std::vector<std::string> env = MergedEnvironment(environment);
  // Made before the fork: the child of a process with threads may not allocate.
  const std::vector<char*> arg_pointers = Pointers(argv);
  const std::vector<char*> env_pointers = Pointers(env);
  const pid_t pid = fork();
  if (pid < 0) throw SystemError("fork");
  if (pid > 0) return pid;

  prctl(PR_SET_PDEATHSIG, SIGTERM);
  const int null_fd = open("/dev/null", O_RDONLY);
  dup2(null_fd, STDIN_FILENO);
  dup2(err_fd, STDERR_FILENO);
  if (out_fd) dup2(*out_fd, STDOUT_FILENO);
  execvpe(arg_pointers[0], arg_pointers.data(), env_pointers.data());
  constexpr std::string_view kMessage = "the program cannot be started\n";
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, kMessage.data(), kMessage.size());
  _exit(127);
}

int StatusOf(int wait_status) {
  return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

// The status of a child once it has ended, which reaps it; absent when it has not by `deadline`.
std::optional<int> Reap(pid_t pid, Clock::time_point deadline) {
  for (;;) {
    int wait_status = 0;
    const pid_t result = waitpid(pid, &wait_status, WNOHANG);
    if (result == pid) return StatusOf(wait_status);
    if (result < 0 && errno != EINTR) throw SystemError("waitpid");
    if (Clock::now() >= deadline) return std::nullopt;
    std::this_thread::sleep_for(kPollInterval);
  }
}

// The value of `listen=` on the line that says ready; absent until that line is whole.
std::optional<std::string> ReadyAddress(std::string_view log) {
  size_t begin = 0;
  for (;;) {
    const size_t end = log.find('\n', begin);
    if (end == std::string_view::npos) return std::nullopt;
    const std::string_view line = log.substr(begin, end - begin);
    begin = end + 1;
    constexpr std::string_view kListen = " listen=";
    const size_t listen = line.find(kListen);
    if (line.find(" ready ") == std::string_view::npos || listen == std::string_view::npos)
      continue;
    const std::string_view value = line.substr(listen + kListen.size());
    return std::string(value.substr(0, value.find(' ')));
  }
}

}  // namespace

std::string ServerBinary() { return VEXACT_SERVER_BINARY; }

ServerProcess::ServerProcess(const std::vector<std::string>& args, const Environment& environment,
                             Until until) {
  std::vector<std::string> argv = {ServerBinary(), "--listen", "127.0.0.1:0"};
  argv.insert(argv.end(), args.begin(), args.end());
  const Pipe err = MakePipe();
  pid_ = Spawn(std::move(argv), environment, std::nullopt, err.write_end);
  close(err.write_end);
  reader_ = std::thread(&ServerProcess::ReadLog, this, err.read_end);

  if (until == kStarted) return;
  std::unique_lock lock(mutex_);
  log_changed_.wait_for(lock, kReadyTimeout, [&] {
    const std::optional<std::string> address = ReadyAddress(log_);
    if (address) address_ = *address;
    return address || log_ended_;
  });
  if (!address_.empty()) return;
  lock.unlock();
  Stop();
  throw std::runtime_error("vexactd did not get ready; it ended with status " +
                           std::to_string(*status_) + " and said:\n" + log());
}

ServerProcess::~ServerProcess() { Stop(); }

std::string ServerProcess::log() const {
  const std::lock_guard lock(mutex_);
  return log_;
}

bool ServerProcess::WaitForLog(std::string_view text, std::chrono::milliseconds timeout) const {
  std::unique_lock lock(mutex_);
  log_changed_.wait_for(lock, timeout,
                        [&] { return log_ended_ || log_.find(text) != std::string::npos; });
  return log_.find(text) != std::string::npos;
}

void ServerProcess::Signal(int signal) const {
  if (kill(pid_, signal) != 0) throw SystemError("kill");
}

int ServerProcess::Wait(std::chrono::milliseconds timeout) {
  if (!status_) status_ = Reap(pid_, Clock::now() + timeout);
  if (!status_) throw std::runtime_error("vexactd still runs; it said:\n" + log());
  if (reader_.joinable()) reader_.join();
  return *status_;
}

void ServerProcess::ReadLog(int fd) {
  std::array<char, 4096> buffer;
  for (;;) {
    const ssize_t count = read(fd, buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    const std::lock_guard lock(mutex_);
    if (count > 0) {
      log_.append(buffer.data(), static_cast<size_t>(count));
    } else {
      log_ended_ = true;
    }
    log_changed_.notify_all();
    if (count <= 0) break;
  }
  close(fd);
}

void ServerProcess::Stop() {
  if (!status_) {
    kill(pid_, SIGTERM);
    status_ = Reap(pid_, Clock::now() + kStopTimeout);
  }
  if (!status_) {
    kill(pid_, SIGKILL);
    status_ = Reap(pid_, Clock::time_point::max());
  }
  if (reader_.joinable()) reader_.join();
}

Finished Run(const std::vector<std::string>& argv, const Environment& environment,
             std::chrono::milliseconds timeout) {
  const Pipe out = MakePipe();
  const Pipe err = MakePipe();
  const pid_t pid = Spawn(argv, environment, out.write_end, err.write_end);
  close(out.write_end);
  close(err.write_end);

  const Clock::time_point deadline = Clock::now() + timeout;
  Finished finished;
  std::array<pollfd, 2> streams = {pollfd{out.read_end, POLLIN, 0},
                                   pollfd{err.read_end, POLLIN, 0}};
  std::array<std::string*, 2> texts = {&finished.out, &finished.err};
  size_t open_streams = streams.size();
  while (open_streams > 0 && Clock::now() < deadline) {
    if (poll(streams.data(), streams.size(), 100) < 0) {
      if (errno == EINTR) continue;
      throw SystemError("poll");
    }
    for (size_t i = 0; i < streams.size(); ++i) {
      if (streams[i].fd < 0 || streams[i].revents == 0) continue;
      std::array<char, 4096> buffer;
      const ssize_t count = read(streams[i].fd, buffer.data(), buffer.size());
      if (count > 0) {
        texts[i]->append(buffer.data(), static_cast<size_t>(count));
      } else if (count == 0) {
        close(streams[i].fd);
        streams[i].fd = -1;  // poll ignores it from here on
        --open_streams;
      }
    }
  }
  for (const pollfd& stream : streams) {
    if (stream.fd >= 0) close(stream.fd);
  }

  const std::optional<int> status = Reap(pid, deadline);
  if (!status) {
    kill(pid, SIGKILL);
    Reap(pid, Clock::time_point::max());
    throw std::runtime_error(argv[0] + " ran too long; it said:\n" + finished.out + finished.err);
  }
  finished.status = *status;
  return finished;
}

}  // namespace vexact::testing

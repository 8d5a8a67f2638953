// vexactd: reads its configuration, serves until it is told to stop, and says so in the log.
#include <malloc.h>
#include <semaphore.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <exception>
#include <filesystem>
#include <future>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "core/kernel/kernel.h"
#include "server/build_info.h"
#include "server/check.h"
#include "server/check_config.h"
#include "server/config.h"
#include "server/log.h"
#include "server/reload.h"
#include "server/security.h"
#include "server/server.h"
#include "server/service_manager.h"
#include "server/version.h"

namespace vexact::server {
namespace {

constexpr int kExitFailure = 1;
constexpr int kExitUsage = 2;

int Fail(int exit_status, const std::string& message) {
  std::fprintf(stderr, "error: %s\n", message.c_str());
  return exit_status;
}

std::optional<std::string> Variable(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  if (value == nullptr) return std::nullopt;
  return value;
}

void WarnOfUnknownVariables() {
  std::vector<std::string> names;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text(*entry);
    names.push_back(text.substr(0, text.find('=')));
  }
  for (const std::string& name : UnknownVariables(names)) {
    spdlog::warn("unknown_variable name={} message=\"no option has this name; see --help\"", name);
  }
}

// The first signal that stops the server, once there is one; a handler may touch nothing else.
volatile sig_atomic_t stop_signal = 0;
volatile sig_atomic_t reload_signal = 0;
sem_t wake;  // posted by a signal, and when the storage is open

// How often the files of certificates are looked at.
constexpr timespec kPollEvery{.tv_sec = 1, .tv_nsec = 0};

// A second signal ends the process with the status that a shell would give it. (The default action
// would not do: it does nothing to the first process of a container.)
void EndAtOnce(int number) { _exit(128 + number); }

void RequestStop(int number) {
  signal(SIGTERM, EndAtOnce);
  signal(SIGINT, EndAtOnce);
  stop_signal = number;
  sem_post(&wake);
}

void RequestReload(int) {
  reload_signal = 1;
  sem_post(&wake);
}

// A handler, and not sigwait: libraries start threads before main does, which block no signal.
void HandleSignals() {
  sem_init(&wake, 0, 0);
  signal(SIGTERM, RequestStop);
  signal(SIGINT, RequestStop);
  signal(SIGHUP, RequestReload);
  // A reader of the log that goes away must not take the server with it.
  signal(SIGPIPE, SIG_IGN);
}

// Every connection takes a descriptor, and a system gives a process few until it asks for more.
void RaiseDescriptorLimit() {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  (void)setrlimit(RLIMIT_NOFILE, &limit);
}

// Returns when something has happened, or when the files of certificates want a look.
void Wait() {
  timespec until{};
  clock_gettime(CLOCK_MONOTONIC, &until);
  until.tv_sec += kPollEvery.tv_sec;
  while (sem_clockwait(&wake, CLOCK_MONOTONIC, &until) != 0 && errno == EINTR) {
  }
}

// Reads the configuration as main was given it.
absl::StatusOr<std::variant<Config, Information>> Read(const std::vector<std::string>& arguments) {
  auto read = ReadConfig(arguments, Variable);
  if (!read.ok()) return read;
  if (auto* config = std::get_if<Config>(&*read)) {
    // What names it may be read elsewhere: a log, an answer to GetInfo, a command to repeat.
    config->data_dir = std::filesystem::absolute(config->data_dir).lexically_normal().string();
  }
  return read;
}

void LogReady(const Config& config, const std::string& address, const Server::Opened& opened) {
  const std::string storage =
      config.in_memory ? "storage=memory"
                       : absl::StrFormat("storage=disk data_dir=%s durability=%s",
                                         LogValue(config.data_dir), Name(config.durability));
  spdlog::info(
      "ready version={} isa={} listen={} threads={} engine={} max_message_bytes={} "
      "drain_seconds={} log_level={} config={} {} collections={} damaged={} rows={} seconds={:.3f}",
      kVersion, ActiveKernel().isa, address, config.threads, Name(config.engine),
      config.max_message_bytes, config.drain_seconds, config.log_level,
      config.file.empty() ? "none" : LogValue(config.file), storage, opened.collections,
      opened.damaged, opened.rows, absl::ToDoubleSeconds(opened.time));
}

int FailToStart(const absl::Status& status) {
  return Fail(absl::IsInvalidArgument(status) ? kExitUsage : kExitFailure,
              std::string(status.message()));
}

// Until a signal stops the server, or it cannot open its storage.
absl::Status Attend(const Config& config, Server& server, Reload& reload,
                    std::future<absl::StatusOr<Server::Opened>> opening) {
  while (stop_signal == 0) {
    Wait();
    if (opening.valid() && opening.wait_for(std::chrono::seconds(0)) == std::future_status::ready) {
      const absl::StatusOr<Server::Opened> opened = opening.get();
      if (stop_signal != 0) break;
      if (!opened.ok()) return opened.status();
      LogReady(config, server.address(), *opened);
      TellServiceManager("READY=1");
    }
    if (std::exchange(reload_signal, 0) != 0) reload.Run();
    server.Poll();
  }
  return absl::OkStatus();
}

int Serve(const Config& config, const std::vector<std::string>& arguments) {
  auto security = ReadSecurity(config);
  if (!security.ok()) return FailToStart(security.status());
  HandleSignals();
  RaiseDescriptorLimit();
  StartLog(config.log_level);
  WarnOfUnknownVariables();
  std::promise<absl::StatusOr<Server::Opened>> promise;
  auto server =
      Server::Start(config, *std::move(security), [&](absl::StatusOr<Server::Opened> opened) {
        promise.set_value(std::move(opened));
        sem_post(&wake);
      });
  if (!server.ok()) return Fail(kExitFailure, std::string(server.status().message()));
  const auto read_again = [&arguments]() -> absl::StatusOr<Config> {
    auto read = Read(arguments);
    if (!read.ok()) return read.status();
    return std::get<Config>(*std::move(read));
  };
  Reload reload(read_again, config, **server);
  const absl::Status attended = Attend(config, **server, reload, promise.get_future());
  if (!attended.ok()) return Fail(kExitFailure, std::string(attended.message()));
  const int signal = stop_signal;
  TellServiceManager("STOPPING=1");
  const uint64_t running = (*server)->Close();
  spdlog::info("stopping signal={} running={} drain_seconds={}",
               signal == SIGINT ? "SIGINT" : "SIGTERM", running, config.drain_seconds);
  const uint64_t cancelled = (*server)->Drain();
  server->reset();  // what goes on in the background may have something to say before it ends
  spdlog::info("stopped drained={} cancelled={}", running - cancelled, cancelled);
  return EXIT_SUCCESS;
}

// Requests of some megabytes that follow one another use the same memory again. By default each
// would have fresh pages, which the kernel clears, and give them back: a tenth of a bulk load.
void KeepFreedMemory() {
  constexpr int kMiB = 1 << 20;
  mallopt(M_MMAP_THRESHOLD, 32 * kMiB);
  mallopt(M_TRIM_THRESHOLD, 32 * kMiB);
}

int Main(const std::vector<std::string>& arguments) {
  const auto read = Read(arguments);
  if (!read.ok()) return Fail(kExitUsage, std::string(read.status().message()));
  if (const auto* information = std::get_if<Information>(&*read)) {
    std::fputs(information->text.c_str(), stdout);
    return EXIT_SUCCESS;
  }
  const char* isa = std::getenv("VEXACT_FORCE_ISA");
  if (std::string error; SelectKernel(isa == nullptr ? "" : isa, error) == nullptr) {
    return Fail(kExitUsage, error);
  }
  const Config& config = std::get<Config>(*read);
  switch (config.task) {
    case Task::kServe:
      return Serve(config, arguments);
    case Task::kCheckConfig: {
      const absl::Status status = CheckConfig(config);
      if (!status.ok()) return Fail(kExitUsage, std::string(status.message()));
      return EXIT_SUCCESS;
    }
    case Task::kVersion:
      std::fputs(BuildInfo().c_str(), stdout);
      return EXIT_SUCCESS;
    case Task::kVerify: {
      const absl::StatusOr<bool> sound = Verify(config);
      if (!sound.ok()) return Fail(kExitFailure, std::string(sound.status().message()));
      return *sound ? EXIT_SUCCESS : kExitFailure;
    }
    case Task::kRepair: {
      const absl::Status status = Repair(config);
      if (!status.ok()) return Fail(kExitFailure, std::string(status.message()));
      return EXIT_SUCCESS;
    }
  }
  return kExitFailure;
}

}  // namespace
}  // namespace vexact::server

int main(int argc, char** argv) {
  vexact::server::KeepFreedMemory();
  // Debian's Abseil looks for deadlocks at each of gRPC's locks, which costs a tenth of a call.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  try {
    return vexact::server::Main({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    return vexact::server::Fail(vexact::server::kExitFailure, error.what());
  }
}

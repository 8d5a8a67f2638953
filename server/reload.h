// What SIGHUP does: the configuration is read anew, and what may change while the server runs does.
#pragma once

#include <functional>

#include "absl/status/statusor.h"
#include "server/config.h"
#include "server/server.h"

namespace vexact::server {

// Thread safety: used by one thread at a time.
class Reload {
 public:
  // `read` reads the configuration as the start did; `config` is what the start read.
  Reload(std::function<absl::StatusOr<Config>()> read, const Config& config, Server& server)
      : read_(std::move(read)), started_(config), current_(config), server_(server) {}

  // Applies the options marked live, and the content of the files of keys and certificates. The log
  // has what changed, and a warning for what waits for the next start. What is wrong is logged, and
  // then nothing changes.
  void Run();

 private:
  void LogChanges(const Config& next) const;

  const std::function<absl::StatusOr<Config>()> read_;
  const Config started_;
  Config current_;  // what was read last
  Server& server_;
};

}  // namespace vexact::server

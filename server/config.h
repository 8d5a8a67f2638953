// What an operator may decide, and the one place where it is read.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "core/engine.h"
#include "core/store.h"

namespace vexact::server {

// The number of processors that this process may use, at least 1.
int AvailableProcessors();

// Calls that are open at one time on one connection: more than a client needs, few enough that a
// connection's calls, which take some 20 kB each before they have sent anything, do not fill the
// memory. gRPC's clients hold back what is beyond.
inline constexpr int kMaxCallsPerConnection = 4'096;

// What the program is started for.
enum class Task {
  kServe,
  kVerify,       // check the data directory and report
  kRepair,       // keep what is good of it
  kCheckConfig,  // say what it would start with
  kVersion,      // say which program it is
};

struct Config {
  // Given by a flag alone: nobody means it to happen at every start.
  Task task = Task::kServe;
  // HOST:PORT; port 0 takes a free one.
  std::string listen = "127.0.0.1:7700";
  // Where collections are kept, unless they are to live in memory alone.
  std::string data_dir = "vexact-data";
  bool in_memory = false;
  Durability durability = Durability::kFsync;
  // Threads that searches share.
  int threads = AvailableProcessors();
  // Of searches that name none.
  EngineKind engine = EngineKind::kScan;
  // Of one message, either way.
  int64_t max_message_bytes = 64 << 20;
  // Of the requests that are in hand at one time.
  int64_t max_request_bytes = int64_t{1} << 30;
  // Of the collections; 0: as many as there are.
  int64_t max_memory_bytes = 0;
  // Queries that may wait for a scan.
  int64_t max_waiting_queries = 4096;
  // That each API key may make, unless it says otherwise; 0: as many as it likes.
  int64_t max_key_requests_per_second = 0;
  // Open at one time; fewer where the system allows few descriptors.
  int64_t max_connections = 16'384;
  // How long one may be open without a request; 0: as long as it likes. Not a time after which
  // people ask again, as by the clock: a call that crosses the closing fails.
  int max_idle_seconds = 1000;
  // How long a stopping server waits for the requests that run.
  int drain_seconds = 10;
  // The least severe lines to log: debug, info, warning or error.
  std::string log_level = "info";
  // How long a search or a write takes at least that is logged as slow; 0: none is.
  int slow_query_ms = 1000;
  // HOST:PORT where Prometheus may ask for metrics; empty: nowhere.
  std::string metrics_listen;
  // The server's certificate and its key, and the authorities of clients' certificates: PEM files.
  // Without the first two, connections are in plain text; with the third, clients need one.
  std::string tls_cert, tls_key, tls_client_ca;
  // Whoever reaches the server may be let in, from other machines as well.
  bool insecure = false;
  // The file of the API keys (server/api_keys.h), or their text; with neither, everybody is let in.
  std::string api_keys_file;
  std::optional<std::string> api_keys;
  // The file that was read; empty when there was none.
  std::string file;
  // By option: where its value stands (FILE:LINE, a variable, a flag). The others have defaults.
  std::map<std::string, std::string, std::less<>> sources;
};

// Text that the caller of the program asked for instead of a server.
struct Information {
  std::string text;
};

// The value of an environment variable, absent where it is not set.
using EnvironmentLookup = std::function<std::optional<std::string>(const std::string& name)>;

// Reads the configuration: the defaults, then the TOML file (--config, or VEXACT_CONFIG), then the
// environment (VEXACT_LISTEN for --listen), then the flags; what is read later wins, also between a
// data directory and memory alone, which contradict each other within one source. `arguments` are
// those of main without the program's name. INVALID_ARGUMENT names the source, the option, the
// value and what is allowed.
absl::StatusOr<std::variant<Config, Information>> ReadConfig(
    const std::vector<std::string>& arguments, const EnvironmentLookup& environment);

// "fsync" or "async", as it is written in the configuration.
std::string_view Name(Durability durability);

// The names of environment variables among `names` that look like options of this server but are
// none: typing errors.
std::vector<std::string> UnknownVariables(const std::vector<std::string>& names);

}  // namespace vexact::server

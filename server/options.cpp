#include "server/options.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "server/rate_limit.h"

namespace vexact::server {
namespace {

constexpr int64_t kMaxThreads = 1024;
constexpr int64_t kMinMessageBytes = 1024;
// gRPC counts the bytes of a message in an int.
constexpr int64_t kMaxMessageBytes = std::numeric_limits<int>::max();
constexpr int64_t kMostBytes = int64_t{1} << 50;
constexpr int64_t kMaxWaitingQueries = 1'000'000;
constexpr int64_t kMostConnections = 1'000'000;
constexpr int64_t kMaxIdleSeconds = 1'000'000;
constexpr int64_t kMaxDrainSeconds = 3600;
constexpr int64_t kMaxSlowQueryMs = 3'600'000;
constexpr std::string_view kLogLevels[] = {"debug", "info", "warning", "error"};

template <typename Number>
OptionValue WholeNumber(Number Config::*field, int64_t least, int64_t most) {
  return {OptionValue::kNumber,
          [=](Config& config, const std::string& value) {
            int64_t number = 0;
            if (!absl::SimpleAtoi(value, &number) || number < least || number > most) {
              return absl::InvalidArgumentError(absl::StrFormat(
                  "\"%s\" is not a whole number from %d to %d", value, least, most));
            }
            config.*field = static_cast<Number>(number);
            return absl::OkStatus();
          },
          [=](const Config& config) { return absl::StrCat(config.*field); }};
}

OptionValue Switch(bool Config::*field) {
  return {
      OptionValue::kSwitch,
      [=](Config& config, const std::string& value) {
        if (value != "true" && value != "false") {
          return absl::InvalidArgumentError(absl::StrFormat("\"%s\" is not true or false", value));
        }
        config.*field = value == "true";
        return absl::OkStatus();
      },
      [=](const Config& config) { return config.*field ? "true" : "false"; }};
}

// `set` takes what is good into the field.
OptionValue Text(std::string Config::*field,
                 std::function<absl::Status(Config&, const std::string&)> set) {
  return {OptionValue::kText, std::move(set), [=](const Config& config) { return config.*field; }};
}

absl::Status CheckAddress(const std::string& value) {
  const size_t colon = value.rfind(':');
  uint32_t port = 0;
  if (colon == std::string::npos || colon == 0 ||
      !absl::SimpleAtoi(value.substr(colon + 1), &port) || port > 65'535) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "\"%s\" is not HOST:PORT with a port from 0 to 65535, as in 127.0.0.1:7700", value));
  }
  return absl::OkStatus();
}

absl::Status SetListen(Config& config, const std::string& value) {
  absl::Status status = CheckAddress(value);
  if (status.ok()) config.listen = value;
  return status;
}

// Empty, to take back what an earlier source says.
absl::Status SetMetricsListen(Config& config, const std::string& value) {
  absl::Status status = value.empty() ? absl::OkStatus() : CheckAddress(value);
  if (status.ok()) config.metrics_listen = value;
  return status;
}

absl::Status SetDataDir(Config& config, const std::string& value) {
  if (value.empty()) {
    return absl::InvalidArgumentError("\"\" is not a directory; name one, or use --in-memory");
  }
  config.data_dir = value;
  config.in_memory = false;
  return absl::OkStatus();
}

template <std::string Config::*kField>
absl::Status SetFile(Config& config, const std::string& value) {
  if (value.empty()) return absl::InvalidArgumentError("\"\" is not a file");
  config.*kField = value;
  return absl::OkStatus();
}

absl::Status SetDurability(Config& config, const std::string& value) {
  for (const Durability durability : {Durability::kFsync, Durability::kAsync}) {
    if (value != Name(durability)) continue;
    config.durability = durability;
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrFormat("\"%s\" is not a durability; there are fsync and async", value));
}

absl::Status SetEngine(Config& config, const std::string& value) {
  const std::optional<EngineKind> kind = ParseEngineKind(value);
  if (!kind) {
    return absl::InvalidArgumentError(
        absl::StrFormat("\"%s\" is not an engine; there are scan, reference and faiss", value));
  }
  config.engine = *kind;
  return absl::OkStatus();
}

absl::Status SetLogLevel(Config& config, const std::string& value) {
  if (std::ranges::find(kLogLevels, value) == std::end(kLogLevels)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("\"%s\" is not a level; there are debug, info, warning and error", value));
  }
  config.log_level = value;
  return absl::OkStatus();
}

}  // namespace

std::string Option::flag() const { return "--" + absl::StrReplaceAll(key, {{"_", "-"}}); }

std::string Option::variable() const { return kVariablePrefix + absl::AsciiStrToUpper(key); }

const std::vector<Option>& Options() {
  static const auto& options = *new std::vector<Option>{
      {"listen", "HOST:PORT", Option::kAtStart,
       "Where to listen; port 0 takes a free one [127.0.0.1:7700]",
       Text(&Config::listen, SetListen)},
      {kDataDir, "DIR", Option::kAtStart,
       "Where collections are kept; made where it is missing [vexact-data]",
       Text(&Config::data_dir, SetDataDir)},
      {kInMemory, "", Option::kAtStart,
       "Keep collections in memory alone; they are gone when the server stops",
       Switch(&Config::in_memory)},
      {"durability",
       "MODE",
       Option::kAtStart,
       "fsync: acknowledged writes survive a power cut; async: it may take the last of them "
       "[fsync]",
       {OptionValue::kText, SetDurability,
        [](const Config& config) { return std::string(Name(config.durability)); }}},
      {"threads", "N", Option::kAtStart, "Threads that searches share [number of processors]",
       WholeNumber(&Config::threads, 1, kMaxThreads)},
      {"engine",
       "NAME",
       Option::kAtStart,
       "Engine of searches that name none: scan, reference or faiss [scan]",
       {OptionValue::kText, SetEngine,
        [](const Config& config) { return std::string(Name(config.engine)); }}},
      {"max_message_bytes", "N", Option::kAtStart, "Bytes of one message, either way [67108864]",
       WholeNumber(&Config::max_message_bytes, kMinMessageBytes, kMaxMessageBytes)},
      {"max_request_bytes", "N", Option::kAtStart,
       "Bytes of the requests in hand; more are refused at once [1073741824]",
       WholeNumber(&Config::max_request_bytes, kMinMessageBytes, kMostBytes)},
      {"max_memory_bytes", "N", Option::kAtStart,
       "Bytes that collections may take in memory; writes beyond are refused; 0: no limit [0]",
       WholeNumber(&Config::max_memory_bytes, 0, kMostBytes)},
      {"max_waiting_queries", "N", Option::kAtStart,
       "Queries that may wait for a scan; more are refused at once [4096]",
       WholeNumber(&Config::max_waiting_queries, 1, kMaxWaitingQueries)},
      {kMaxKeyRequestsPerSecond, "N", Option::kLive,
       "Requests a second of each API key that says nothing else; 0: no limit [0]",
       WholeNumber(&Config::max_key_requests_per_second, 0, RateLimit::kMostPerSecond)},
      {kMaxConnections, "N", Option::kAtStart,
       "Connections open at one time; more are closed at once [16384]",
       WholeNumber(&Config::max_connections, 1, kMostConnections)},
      {"max_idle_seconds", "N", Option::kAtStart,
       "How long a connection may be open without a request; 0: no limit [1000]",
       WholeNumber(&Config::max_idle_seconds, 0, kMaxIdleSeconds)},
      {"drain_seconds", "N", Option::kAtStart,
       "How long to wait for running requests when stopping [10]",
       WholeNumber(&Config::drain_seconds, 0, kMaxDrainSeconds)},
      {kTlsCert, "FILE", Option::kAtStart,
       "Speak TLS, with this certificate (PEM) and those that lead to its authority [plain text]",
       Text(&Config::tls_cert, SetFile<&Config::tls_cert>)},
      {kTlsKey, "FILE", Option::kAtStart, "The key of the certificate (PEM)",
       Text(&Config::tls_key, SetFile<&Config::tls_key>)},
      {kTlsClientCa, "FILE", Option::kAtStart,
       "Let in only clients with a certificate of these authorities (PEM)",
       Text(&Config::tls_client_ca, SetFile<&Config::tls_client_ca>)},
      {"insecure", "", Option::kAtStart,
       "Listen beyond this machine without TLS and API keys all the same",
       Switch(&Config::insecure)},
      {kApiKeysFile, "FILE", Option::kLive,
       "Let in only who brings a key of this file [everybody is let in]",
       Text(&Config::api_keys_file, SetFile<&Config::api_keys_file>)},
      {"log_level", "LEVEL", Option::kLive,
       "Least severe lines to log: debug, info, warning, error [info]",
       Text(&Config::log_level, SetLogLevel)},
      {"slow_query_ms", "N", Option::kLive,
       "Log searches and writes that take so long, with the reason; 0: none [1000]",
       WholeNumber(&Config::slow_query_ms, 0, kMaxSlowQueryMs)},
      {"metrics_listen", "HOST:PORT", Option::kAtStart,
       "Serve metrics for Prometheus at http://HOST:PORT/metrics, to anybody [nowhere]",
       Text(&Config::metrics_listen, SetMetricsListen)},
  };
  return options;
}

}  // namespace vexact::server

#include "server/config.h"

#include <toml++/toml.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <string_view>
#include <thread>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "server/version.h"

namespace vexact::server {
namespace {

constexpr int64_t kMaxThreads = 1024;
constexpr int64_t kMinMessageBytes = 1024;
// gRPC counts the bytes of a message in an int.
constexpr int64_t kMaxMessageBytes = std::numeric_limits<int>::max();
constexpr int64_t kMaxDrainSeconds = 3600;
constexpr std::string_view kLogLevels[] = {"debug", "info", "warning", "error"};

constexpr std::string_view kVariablePrefix = "VEXACT_";
// Not options: the configuration file, and what the kernels, the tests and the command-line client
// read.
constexpr std::string_view kOtherVariables[] = {"VEXACT_CONFIG", "VEXACT_TEST_DATA_DIR",
                                                "VEXACT_FORCE_ISA", "VEXACT_SERVER"};

absl::StatusOr<int64_t> ParseNumber(const std::string& value, int64_t least, int64_t most) {
  int64_t number = 0;
  if (!absl::SimpleAtoi(value, &number) || number < least || number > most) {
    return absl::InvalidArgumentError(
        absl::StrFormat("\"%s\" is not a whole number from %d to %d", value, least, most));
  }
  return number;
}

absl::Status SetListen(Config& config, const std::string& value) {
  const size_t colon = value.rfind(':');
  uint32_t port = 0;
  if (colon == std::string::npos || colon == 0 ||
      !absl::SimpleAtoi(value.substr(colon + 1), &port) || port > 65'535) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "\"%s\" is not HOST:PORT with a port from 0 to 65535, as in 127.0.0.1:7700", value));
  }
  config.listen = value;
  return absl::OkStatus();
}

absl::Status SetThreads(Config& config, const std::string& value) {
  const absl::StatusOr<int64_t> number = ParseNumber(value, 1, kMaxThreads);
  if (number.ok()) config.threads = static_cast<int>(*number);
  return number.status();
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

absl::Status SetMaxMessageBytes(Config& config, const std::string& value) {
  const absl::StatusOr<int64_t> number = ParseNumber(value, kMinMessageBytes, kMaxMessageBytes);
  if (number.ok()) config.max_message_bytes = *number;
  return number.status();
}

absl::Status SetDrainSeconds(Config& config, const std::string& value) {
  const absl::StatusOr<int64_t> number = ParseNumber(value, 0, kMaxDrainSeconds);
  if (number.ok()) config.drain_seconds = static_cast<int>(*number);
  return number.status();
}

absl::Status SetLogLevel(Config& config, const std::string& value) {
  if (std::ranges::find(kLogLevels, value) == std::end(kLogLevels)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("\"%s\" is not a level; there are debug, info, warning and error", value));
  }
  config.log_level = value;
  return absl::OkStatus();
}

// One option, under its three names: --max-message-bytes, VEXACT_MAX_MESSAGE_BYTES,
// max_message_bytes.
struct Option {
  std::string key;  // as in TOML
  std::string placeholder;
  bool is_number;
  std::string help;
  absl::Status (*set)(Config&, const std::string& value);

  std::string flag() const { return "--" + absl::StrReplaceAll(key, {{"_", "-"}}); }
  std::string variable() const { return std::string(kVariablePrefix) + absl::AsciiStrToUpper(key); }
};

const std::vector<Option>& Options() {
  static const auto& options = *new std::vector<Option>{
      {"listen", "HOST:PORT", false, "Where to listen; port 0 takes a free one [127.0.0.1:7700]",
       SetListen},
      {"threads", "N", true, "Threads that searches share [number of processors]", SetThreads},
      {"engine", "NAME", false,
       "Engine of searches that name none: scan, reference or faiss [scan]", SetEngine},
      {"max_message_bytes", "N", true, "Bytes of one message, either way [67108864]",
       SetMaxMessageBytes},
      {"drain_seconds", "N", true, "How long to wait for running requests when stopping [10]",
       SetDrainSeconds},
      {"log_level", "LEVEL", false, "Least severe lines to log: debug, info, warning, error [info]",
       SetLogLevel},
  };
  return options;
}

// Sets an option, naming in an error where its value came from.
absl::Status Set(Config& config, const Option& option, const std::string& source,
                 const std::string& value) {
  absl::Status status = option.set(config, value);
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrFormat("%s: %s", source, status.message()));
}

absl::Status ReadTable(Config& config, const std::string& path, const toml::table& table) {
  for (const auto& [key, node] : table) {
    const std::string source =
        absl::StrFormat("%s:%d: %s", path, node.source().begin.line, std::string(key.str()));
    const auto option = std::ranges::find(Options(), key.str(), &Option::key);
    if (option == Options().end()) {
      return absl::InvalidArgumentError(source +
                                        ": there is no such option; vexactd --help lists them");
    }
    std::string value;
    if (option->is_number && node.is_integer()) {
      value = std::to_string(node.as_integer()->get());
    } else if (!option->is_number && node.is_string()) {
      value = node.as_string()->get();
    } else {
      return absl::InvalidArgumentError(absl::StrFormat(
          "%s: must be a %s", source, option->is_number ? "whole number" : "string"));
    }
    absl::Status status = Set(config, *option, source, value);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status ReadFile(Config& config, const std::string& path) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) {
    return absl::InvalidArgumentError(path + ": there is no such configuration file");
  }
  try {
    return ReadTable(config, path, toml::parse_file(path));
  } catch (const toml::parse_error& error) {
    return absl::InvalidArgumentError(absl::StrFormat("%s:%d: %s", path, error.source().begin.line,
                                                      std::string(error.description())));
  }
}

constexpr std::string_view kDescription =
    "vexactd: exact vector similarity search over gRPC. Data lives in memory.";

constexpr std::string_view kExamples = R"(
Every option may also be given in the environment (VEXACT_LISTEN for --listen) or in a
TOML file (listen = "127.0.0.1:7700"). A flag wins over the environment, the environment
over the file.

Examples:
  vexactd
  vexactd --listen 0.0.0.0:7700 --threads 8
  vexactd --config /etc/vexactd.toml --log-level debug
  VEXACT_MAX_MESSAGE_BYTES=268435456 vexactd

It stops on SIGTERM or SIGINT, once the requests that run are done; a second signal ends
it at once.
)";

}  // namespace

int AvailableProcessors() {
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

absl::StatusOr<std::variant<Config, Information>> ReadConfig(
    const std::vector<std::string>& arguments, const EnvironmentLookup& environment) {
  CLI::App app{std::string(kDescription), "vexactd"};
  app.footer(std::string(kExamples));
  app.get_formatter()->column_width(32);
  app.set_help_flag("-h,--help", "Print this and exit");
  bool version = false;
  app.add_flag("--version", version, "Print the version and exit");
  std::string file;
  app.add_option("--config", file, "Read a TOML file first")
      ->type_name("FILE")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  std::vector<std::string> flags(Options().size());
  std::vector<CLI::Option*> parsed;
  for (size_t i = 0; i < Options().size(); ++i) {
    const Option& option = Options()[i];
    parsed.push_back(app.add_option(option.flag(), flags[i], option.help)
                         ->type_name(option.placeholder)
                         ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast));
  }
  try {
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::CallForHelp&) {
    return Information{app.help()};
  } catch (const CLI::ParseError& error) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s; vexactd --help lists the options", error.what()));
  }
  if (version) return Information{absl::StrFormat("vexactd %s\n", kVersion)};

  Config config;
  if (file.empty()) file = environment("VEXACT_CONFIG").value_or("");
  config.file = file;
  absl::Status status;
  if (!file.empty()) status.Update(ReadFile(config, file));
  for (const Option& option : Options()) {
    const std::optional<std::string> value = environment(option.variable());
    if (value) status.Update(Set(config, option, option.variable(), *value));
  }
  for (size_t i = 0; i < Options().size(); ++i) {
    if (parsed[i]->count() == 0) continue;
    status.Update(Set(config, Options()[i], Options()[i].flag(), flags[i]));
  }
  if (!status.ok()) return status;
  return config;
}

std::vector<std::string> UnknownVariables(const std::vector<std::string>& names) {
  std::vector<std::string> unknown;
  for (const std::string& name : names) {
    if (!name.starts_with(kVariablePrefix)) continue;
    if (std::ranges::find(kOtherVariables, name) != std::end(kOtherVariables)) continue;
    if (std::ranges::find(Options(), name, &Option::variable) != Options().end()) continue;
    unknown.push_back(name);
  }
  return unknown;
}

}  // namespace vexact::server

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

constexpr char kDataDir[] = "data_dir";
constexpr char kInMemory[] = "in_memory";

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

absl::Status SetDataDir(Config& config, const std::string& value) {
  if (value.empty()) {
    return absl::InvalidArgumentError("\"\" is not a directory; name one, or use --in-memory");
  }
  config.data_dir = value;
  config.in_memory = false;
  return absl::OkStatus();
}

absl::Status SetInMemory(Config& config, const std::string& value) {
  if (value != "true" && value != "false") {
    return absl::InvalidArgumentError(absl::StrFormat("\"%s\" is not true or false", value));
  }
  config.in_memory = value == "true";
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
  enum Kind { kText, kNumber, kSwitch };

  std::string key;  // as in TOML
  std::string placeholder;
  Kind kind;
  std::string help;
  absl::Status (*set)(Config&, const std::string& value);

  std::string flag() const { return "--" + absl::StrReplaceAll(key, {{"_", "-"}}); }
  std::string variable() const { return std::string(kVariablePrefix) + absl::AsciiStrToUpper(key); }
};

const std::vector<Option>& Options() {
  static const auto& options = *new std::vector<Option>{
      {"listen", "HOST:PORT", Option::kText,
       "Where to listen; port 0 takes a free one [127.0.0.1:7700]", SetListen},
      {kDataDir, "DIR", Option::kText,
       "Where collections are kept; made where it is missing [vexact-data]", SetDataDir},
      {kInMemory, "", Option::kSwitch,
       "Keep collections in memory alone; they are gone when the server stops", SetInMemory},
      {"durability", "MODE", Option::kText,
       "fsync: acknowledged writes survive a power cut; async: it may take the last of them "
       "[fsync]",
       SetDurability},
      {"threads", "N", Option::kNumber, "Threads that searches share [number of processors]",
       SetThreads},
      {"engine", "NAME", Option::kText,
       "Engine of searches that name none: scan, reference or faiss [scan]", SetEngine},
      {"max_message_bytes", "N", Option::kNumber, "Bytes of one message, either way [67108864]",
       SetMaxMessageBytes},
      {"drain_seconds", "N", Option::kNumber,
       "How long to wait for running requests when stopping [10]", SetDrainSeconds},
      {"log_level", "LEVEL", Option::kText,
       "Least severe lines to log: debug, info, warning, error [info]", SetLogLevel},
  };
  return options;
}

// What one source says: the file, the environment or the flags.
class Source {
 public:
  explicit Source(Config& config) : config_(config) {}

  // Sets an option, naming in an error what it is called in this source.
  absl::Status Set(const Option& option, const std::string& name, const std::string& value) {
    if (absl::Status status = option.set(config_, value); !status.ok()) {
      return absl::Status(status.code(), absl::StrFormat("%s: %s", name, status.message()));
    }
    if (option.key == kDataDir) data_dir_ = name;
    if (option.key == kInMemory && config_.in_memory) in_memory_ = name;
    if (data_dir_.empty() || in_memory_.empty()) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s contradicts %s: collections live either in a directory or in memory alone", in_memory_,
        data_dir_));
  }

 private:
  Config& config_;
  std::string data_dir_, in_memory_;  // what they are called, once they are set
};

// A value as text; nothing when it is of another kind than the option's.
std::optional<std::string> ValueOf(const toml::node& node, Option::Kind kind) {
  if (kind == Option::kNumber && node.is_integer()) {
    return std::to_string(node.as_integer()->get());
  }
  if (kind == Option::kText && node.is_string()) return node.as_string()->get();
  if (kind == Option::kSwitch && node.is_boolean()) {
    return node.as_boolean()->get() ? "true" : "false";
  }
  return std::nullopt;
}

absl::Status ReadTable(Config& config, const std::string& path, const toml::table& table) {
  constexpr const char* kKinds[] = {"string", "whole number", "boolean"};
  Source source(config);
  for (const auto& [key, node] : table) {
    const std::string name =
        absl::StrFormat("%s:%d: %s", path, node.source().begin.line, std::string(key.str()));
    const auto option = std::ranges::find(Options(), key.str(), &Option::key);
    if (option == Options().end()) {
      return absl::InvalidArgumentError(name +
                                        ": there is no such option; vexactd --help lists them");
    }
    const std::optional<std::string> value = ValueOf(node, option->kind);
    if (!value) {
      return absl::InvalidArgumentError(
          absl::StrFormat("%s: must be a %s", name, kKinds[option->kind]));
    }
    if (absl::Status status = source.Set(*option, name, *value); !status.ok()) return status;
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
    "vexactd: exact vector similarity search over gRPC. What it acknowledged is on the disk.";

constexpr std::string_view kExamples = R"(
Every option may also be given in the environment (VEXACT_LISTEN for --listen) or in a
TOML file (listen = "127.0.0.1:7700"). A flag wins over the environment, the environment
over the file.

Examples:
  vexactd
  vexactd --data-dir /var/lib/vexact --listen 0.0.0.0:7700
  vexactd --in-memory --threads 8
  vexactd --config /etc/vexactd.toml --log-level debug
  VEXACT_MAX_MESSAGE_BYTES=268435456 vexactd
  vexactd --verify --data-dir /var/lib/vexact

It stops on SIGTERM or SIGINT, once the requests that run are done; a second signal ends
it at once. docs/operations.md says what to do when a disk is full or damaged.
)";

// The arguments as CLI11 takes them.
struct CommandLine {
  CommandLine();

  CLI::App app{std::string(kDescription), "vexactd"};
  bool version = false, verify = false, repair = false;
  std::string file;
  // By option: its value, and whether it was given.
  std::vector<std::string> flags = std::vector<std::string>(Options().size());
  std::vector<CLI::Option*> parsed;
};

CommandLine::CommandLine() {
  app.footer(std::string(kExamples));
  app.get_formatter()->column_width(32);
  app.set_help_flag("-h,--help", "Print this and exit");
  app.add_flag("--version", version, "Print the version and exit");
  app.add_flag("--verify", verify, "Check everything in the data directory, say so, and exit");
  app.add_flag("--repair", repair,
               "Keep what is good in the data directory, say what was lost, and exit");
  app.add_option("--config", file, "Read a TOML file first")
      ->type_name("FILE")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  for (size_t i = 0; i < Options().size(); ++i) {
    const Option& option = Options()[i];
    CLI::Option* added =
        option.kind == Option::kSwitch
            ? app.add_flag(option.flag(), flags[i], option.help)
            : app.add_option(option.flag(), flags[i], option.help)->type_name(option.placeholder);
    parsed.push_back(added->multi_option_policy(CLI::MultiOptionPolicy::TakeLast));
  }
}

absl::Status ReadEnvironment(Config& config, const EnvironmentLookup& environment) {
  Source source(config);
  for (const Option& option : Options()) {
    const std::optional<std::string> value = environment(option.variable());
    if (!value) continue;
    absl::Status status = source.Set(option, option.variable(), *value);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status ReadFlags(Config& config, const CommandLine& line) {
  Source source(config);
  for (size_t i = 0; i < Options().size(); ++i) {
    if (line.parsed[i]->count() == 0) continue;
    const Option& option = Options()[i];
    absl::Status status = source.Set(option, option.flag(), line.flags[i]);
    if (!status.ok()) return status;
  }
  if (line.verify && line.repair) {
    return absl::InvalidArgumentError("--repair contradicts --verify: choose one of them");
  }
  if (line.verify) config.task = Task::kVerify;
  if (line.repair) config.task = Task::kRepair;
  if (config.task != Task::kServe && config.in_memory) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s wants a data directory, and collections are to live in memory alone; "
                        "name it with --data-dir",
                        line.verify ? "--verify" : "--repair"));
  }
  return absl::OkStatus();
}

}  // namespace

int AvailableProcessors() {
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

std::string_view Name(Durability durability) {
  return durability == Durability::kFsync ? "fsync" : "async";
}

absl::StatusOr<std::variant<Config, Information>> ReadConfig(
    const std::vector<std::string>& arguments, const EnvironmentLookup& environment) {
  CommandLine line;
  try {
    line.app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::CallForHelp&) {
    return Information{line.app.help()};
  } catch (const CLI::ParseError& error) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s; vexactd --help lists the options", error.what()));
  }
  if (line.version) return Information{absl::StrFormat("vexactd %s\n", kVersion)};

  Config config;
  config.file = line.file.empty() ? environment("VEXACT_CONFIG").value_or("") : line.file;
  absl::Status status;
  if (!config.file.empty()) status = ReadFile(config, config.file);
  if (status.ok()) status = ReadEnvironment(config, environment);
  if (status.ok()) status = ReadFlags(config, line);
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

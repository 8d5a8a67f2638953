#include "server/config.h"

#include <toml++/toml.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <filesystem>
#include <string_view>
#include <thread>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "server/options.h"

namespace vexact::server {
namespace {

// Not options: the configuration file, and what the kernels, the tests and the command-line client
// read.
constexpr std::string_view kOtherVariables[] = {
    "VEXACT_CONFIG",      "VEXACT_TEST_DATA_DIR", "VEXACT_FORCE_ISA", "VEXACT_SERVER",
    "VEXACT_API_KEY",     "VEXACT_API_KEY_FILE",  "VEXACT_TLS",       "VEXACT_CA",
    "VEXACT_CLIENT_CERT", "VEXACT_CLIENT_KEY",    kApiKeysVariable};

// What one source says: the file, the environment or the flags.
class Source {
 public:
  explicit Source(Config& config) : config_(config) {}

  // Sets an option, naming in an error what it is called in this source; `place` is where it
  // stands.
  absl::Status Set(const Option& option, const std::string& name, const std::string& place,
                   const std::string& value) {
    if (absl::Status status = option.value.set(config_, value); !status.ok()) {
      return absl::Status(status.code(), absl::StrFormat("%s: %s", name, status.message()));
    }
    config_.sources[option.key] = place;
    if (option.key == kDataDir) {
      data_dir_ = name;
      // Memory alone, where it was said before, is given up for the directory.
      if (const auto before = config_.sources.find(kInMemory); before != config_.sources.end()) {
        before->second = place;
      }
    }
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
std::optional<std::string> ValueOf(const toml::node& node, OptionValue::Kind kind) {
  if (kind == OptionValue::kNumber && node.is_integer()) {
    return std::to_string(node.as_integer()->get());
  }
  if (kind == OptionValue::kText && node.is_string()) return node.as_string()->get();
  if (kind == OptionValue::kSwitch && node.is_boolean()) {
    return node.as_boolean()->get() ? "true" : "false";
  }
  return std::nullopt;
}

absl::Status ReadTable(Config& config, const std::string& path, const toml::table& table) {
  constexpr const char* kKinds[] = {"string", "whole number", "boolean"};
  Source source(config);
  for (const auto& [key, node] : table) {
    const std::string place = absl::StrFormat("%s:%d", path, node.source().begin.line);
    const std::string name = absl::StrFormat("%s: %s", place, std::string(key.str()));
    const auto option = std::ranges::find(Options(), key.str(), &Option::key);
    if (option == Options().end()) {
      return absl::InvalidArgumentError(name +
                                        ": there is no such option; vexactd --help lists them");
    }
    const std::optional<std::string> value = ValueOf(node, option->value.kind);
    if (!value) {
      return absl::InvalidArgumentError(
          absl::StrFormat("%s: must be a %s", name, kKinds[option->value.kind]));
    }
    if (absl::Status status = source.Set(*option, name, place, *value); !status.ok()) return status;
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
over the file. SIGHUP rereads the file, the API keys and the certificates.

Examples:
  vexactd
  vexactd --data-dir /var/lib/vexact --listen 0.0.0.0:7700
  vexactd --in-memory --threads 8
  vexactd --config /etc/vexactd.toml --log-level debug
  VEXACT_MAX_MESSAGE_BYTES=268435456 vexactd
  vexactd --listen 0.0.0.0:7700 --tls-cert cert.pem --tls-key key.pem --api-keys-file keys
  vexactd --check-config --config /etc/vexactd.toml
  vexactd --verify --data-dir /var/lib/vexact

It stops on SIGTERM or SIGINT, once the requests that run are done; a second signal ends
it at once. docs/operations.md says what to do when a disk is full or damaged.
)";

// The arguments as CLI11 takes them.
struct CommandLine {
  CommandLine();

  CLI::App app{std::string(kDescription), "vexactd"};
  bool version = false, verify = false, repair = false, check_config = false;
  std::string file;
  // By option: its value, and whether it was given.
  std::vector<std::string> flags = std::vector<std::string>(Options().size());
  std::vector<CLI::Option*> parsed;
};

CommandLine::CommandLine() {
  app.footer(std::string(kExamples));
  app.get_formatter()->column_width(32);
  app.set_help_flag("-h,--help", "Print this and exit");
  app.add_flag("--version", version, "Print which version this is and exit");
  app.add_flag("--check-config", check_config,
               "Say whether the server would start and with what, and exit");
  app.add_flag("--verify", verify, "Check everything in the data directory, say so, and exit");
  app.add_flag("--repair", repair,
               "Keep what is good in the data directory, say what was lost, and exit");
  app.add_option("--config", file, "Read a TOML file first")
      ->type_name("FILE")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  for (size_t i = 0; i < Options().size(); ++i) {
    const Option& option = Options()[i];
    CLI::Option* added =
        option.value.kind == OptionValue::kSwitch
            ? app.add_flag(option.flag(), flags[i], option.help)
            : app.add_option(option.flag(), flags[i], option.help)->type_name(option.placeholder);
    parsed.push_back(added->multi_option_policy(CLI::MultiOptionPolicy::TakeLast));
  }
}

absl::Status ReadEnvironment(Config& config, const EnvironmentLookup& environment) {
  Source source(config);
  config.api_keys = environment(kApiKeysVariable);
  for (const Option& option : Options()) {
    const std::optional<std::string> value = environment(option.variable());
    if (!value) continue;
    absl::Status status = source.Set(option, option.variable(), option.variable(), *value);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status ReadFlags(Config& config, const CommandLine& line) {
  Source source(config);
  for (size_t i = 0; i < Options().size(); ++i) {
    if (line.parsed[i]->count() == 0) continue;
    const Option& option = Options()[i];
    absl::Status status = source.Set(option, option.flag(), option.flag(), line.flags[i]);
    if (!status.ok()) return status;
  }
  if (line.check_config) config.task = Task::kCheckConfig;
  if (line.verify && line.repair) {
    return absl::InvalidArgumentError("--repair contradicts --verify: choose one of them");
  }
  if (line.verify) config.task = Task::kVerify;
  if (line.repair) config.task = Task::kRepair;
  if ((line.verify || line.repair) && config.in_memory) {
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
  Config config;
  config.task = line.version ? Task::kVersion : Task::kServe;
  if (line.version) return config;
  config.file = line.file.empty() ? environment("VEXACT_CONFIG").value_or("") : line.file;
  absl::Status status;
  if (!config.file.empty()) status = ReadFile(config, config.file);
  if (status.ok()) status = ReadEnvironment(config, environment);
  if (status.ok()) status = ReadFlags(config, line);
  if (!status.ok()) return status;
  if (config.api_keys && !config.api_keys_file.empty()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s contradicts %s: keys are either there or in a file", kApiKeysVariable,
                        config.sources[kApiKeysFile]));
  }
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

// What all commands share: the options that every one of them takes, and how they end.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "vexact/client.h"

namespace vexact::client {

// Of the process. Documented in docs/cli.md.
enum ExitStatus {
  kDone = 0,
  kRefused = 1,       // the server refused or failed
  kBadUsage = 2,      // wrong arguments, or input that cannot be read
  kUnreachable = 3,   // no server there, or no answer in time
  kInterrupted = 130  // by SIGINT or SIGTERM, in order
};

// Options that may stand before or after the command's name.
struct Globals {
  std::string server = "127.0.0.1:7700";
  double timeout_s = 0;  // 0: none
  bool json = false;
  bool tls = false;
  // Files.
  std::string ca, client_cert, client_key, api_key_file;
  // What they and VEXACT_API_KEY hold.
  ConnectOptions connect;

  // Fills in `connect`; the error, if any.
  std::string ReadConnectOptions();
  Client client() const { return Client(server, connect); }
  CallOptions call() const;
};

struct Program {
  CLI::App app;
  Globals globals;
  std::function<int()> run;  // the command that was chosen; gives the exit status
};

// Adds a command under `parent`. `options` is shared with what `run` captures.
template <typename Options>
CLI::App* AddCommand(Program& program, CLI::App& parent, const char* name, const char* description,
                     const char* examples, const std::shared_ptr<Options>& options,
                     int (*run)(const Globals&, const Options&)) {
  CLI::App* command = parent.add_subcommand(name, description);
  command->footer(std::string("Examples:\n") + examples);
  command->callback([&program, options, run] {
    program.run = [&program, options, run] { return run(program.globals, *options); };
  });
  return command;
}
template <typename Options>
CLI::App* AddCommand(Program& program, const char* name, const char* description,
                     const char* examples, const std::shared_ptr<Options>& options,
                     int (*run)(const Globals&, const Options&)) {
  return AddCommand(program, program.app, name, description, examples, options, run);
}

// Each adds the commands of one file.
void AddCollectionCommands(Program& program);  // create, list, describe, set-metric, drop
void AddAddCommand(Program& program);          // add
void AddPointCommands(Program& program);       // get, delete, count
void AddSearchCommand(Program& program);       // search
void AddCompareCommand(Program& program);      // compare
void AddBenchCommand(Program& program);        // bench
void AddSnapshotCommands(Program& program);    // snapshot ..., restore
void AddKeyCommands(Program& program);         // key create
void AddTopCommand(Program& program);          // top
void AddServerCommands(Program& program);      // health, info, completion

// Options of how the server is reached, and who asks.
void AddConnectOptions(CLI::App& app, Globals& globals);

// Reads the arguments and runs the command: the whole program.
int RunProgram(int argc, const char* const* argv, const std::string& version);

// Options that several commands have.
void AddCollectionArgument(CLI::App* command, std::string* collection);
// For options of few words; the type name of such an option is the words with | between.
CLI::Validator OneOf(std::vector<std::string> words);
void AddMetricOption(CLI::App* command, std::string* metric, const char* description);

// Prints "error: ..." to stderr; the status says how the process ends. A hint, where there is one,
// follows on its own line.
int Fail(const absl::Status& status, std::string_view hint = "");
int BadInput(std::string_view message);

// The shapes that docs/cli.md documents.
using Json = nlohmann::ordered_json;
Json ToJson(const Id& id);
Json ToJson(const MemoryUse& memory);
// "225 MiB rows, 60 MiB codes, 6 MiB ids, 2 MiB overhead".
std::string Describe(const MemoryUse& memory);
// One line on stdout.
void Print(const Json& json);

}  // namespace vexact::client

#include "client/command/command.h"

#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/command/format.h"

namespace vexact::client {
namespace {

constexpr const char* kFooter = R"(Examples:
  vexact create docs --dim 384
  vexact add docs embeddings.npy --ids ids.txt
  vexact search docs --from queries.npy -k 10

Results go to stdout, everything else to stderr. Exit status: 0 done, 1 refused
by the server, 2 bad usage or unreadable input, 3 no server or no answer in
time, 130 interrupted.)";

void AddGlobals(Program& program, const std::string& version) {
  CLI::App& app = program.app;
  Globals& globals = program.globals;
  app.set_version_flag("--version", "vexact " + version);
  app.add_option("--server", globals.server, "Where vexactd listens")
      ->type_name("HOST:PORT")
      ->envname("VEXACT_SERVER")
      ->capture_default_str();
  app.add_option("--timeout", globals.timeout_s,
                 "Give up on an answer after so long; for add, on the whole load (default: never)")
      ->type_name("SECONDS")
      ->check(CLI::Validator(
          [](const std::string& text) {
            double seconds = 0;
            const bool good = CLI::detail::lexical_cast(text, seconds) && seconds > 0;
            return good ? "" : absl::StrCat("\"", text, "\" is not a number of seconds above 0");
          },
          ""));
  AddConnectOptions(app, globals);
  app.add_flag("--json", globals.json, "Print JSON, for programs");
}

// For a command that is a group of others, of which none was named, or one that there is not.
int GroupError(const CLI::App& group, const std::vector<std::string>& rest) {
  std::vector<std::string> commands;
  for (const CLI::App* command : group.get_subcommands([](const CLI::App*) { return true; })) {
    commands.push_back(command->get_name());
  }
  const std::string there_are = absl::StrJoin(commands, ", ");
  if (!rest.empty()) {
    return BadInput(absl::StrCat("there is no command \"", group.get_name(), " ",
                                 Printable(rest[0]), "\"; there are: ", there_are));
  }
  return BadInput(
      absl::StrCat("\"vexact ", group.get_name(), "\" needs to be told what to do: ", there_are));
}

bool IsCallersMistake(const absl::Status& status) {
  return absl::IsInvalidArgument(status) || absl::IsNotFound(status) ||
         absl::IsAlreadyExists(status) || absl::IsFailedPrecondition(status) ||
         absl::IsOutOfRange(status);
}

// CLI11's own messages, in the style of the others.
int UsageError(const CLI::App& app, const CLI::ParseError& error) {
  std::string path;
  const std::vector<CLI::App*> chosen = app.get_subcommands();
  const CLI::App* last = nullptr;
  for (std::vector<CLI::App*> at = chosen; !at.empty(); at = at[0]->get_subcommands()) {
    last = at[0];
    path += last->get_name() + " ";
  }
  const std::vector<std::string> rest = app.remaining(/*recurse=*/true);
  const bool group = last != nullptr && last->get_require_subcommand_min() > 0;
  if (group && (rest.empty() || !rest[0].starts_with('-'))) {
    GroupError(*last, rest);
  } else if (!chosen.empty()) {
    BadInput(error.what());
  } else if (!rest.empty() && !rest[0].starts_with('-')) {
    BadInput("there is no command \"" + Printable(rest[0]) + "\"");
  } else if (dynamic_cast<const CLI::RequiredError*>(&error) != nullptr && rest.empty()) {
    BadInput("a command is needed, such as create, add or search");
  } else {
    BadInput(rest.empty() ? error.what() : "there is no option " + Printable(rest[0]));
  }
  std::cerr << "See: vexact " << path << "--help\n";
  return kBadUsage;
}

}  // namespace

CallOptions Globals::call() const {
  return {.timeout = timeout_s > 0 ? absl::Seconds(timeout_s) : absl::InfiniteDuration()};
}

int RunProgram(int argc, const char* const* argv, const std::string& version) {
  Program program;
  CLI::App& app = program.app;
  app.name("vexact");
  app.description("Exact vector similarity search, from the command line.");
  app.footer(kFooter);
  app.require_subcommand(1);
  app.fallthrough();
  AddGlobals(program, version);
  AddCollectionCommands(program);
  AddAddCommand(program);
  AddPointCommands(program);
  AddSearchCommand(program);
  AddCompareCommand(program);
  AddSnapshotCommands(program);
  AddBenchCommand(program);
  AddKeyCommands(program);
  AddTopCommand(program);
  AddServerCommands(program);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    return UsageError(app, error);
  }
  if (const std::string error = program.globals.ReadConnectOptions(); !error.empty()) {
    return BadInput(error);
  }
  const int status = program.run();
  if (std::cout.flush()) return status;
  return BadInput("the result could not be written to stdout");
}

void AddCollectionArgument(CLI::App* command, std::string* collection) {
  command->add_option("collection", *collection, "The collection's name")
      ->required()
      ->type_name("NAME");
}

CLI::Validator OneOf(std::vector<std::string> words) {
  CLI::Validator validator = CLI::IsMember(std::move(words));
  // The words stand in the type name already.
  validator.description("");
  return validator;
}

void AddMetricOption(CLI::App* command, std::string* metric, const char* description) {
  command->add_option("--metric", *metric, description)
      ->check(OneOf({"inner_product", "cosine", "l2"}))
      ->type_name("inner_product|cosine|l2");
}

int Fail(const absl::Status& status, std::string_view hint) {
  std::cerr << "error: " << Printable(std::string(status.message())) << '\n';
  if (!hint.empty()) std::cerr << hint << '\n';
  // Where the log has more to say than the message, which tells a caller's own mistake in full.
  if (const std::string id = RequestId(status); !id.empty() && !IsCallersMistake(status)) {
    std::cerr << "request id: " << Printable(id) << '\n';
  }
  const bool unreachable = absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status);
  return unreachable ? kUnreachable : kRefused;
}

int BadInput(std::string_view message) {
  std::cerr << "error: " << message << '\n';
  return kBadUsage;
}

Json ToJson(const Id& id) { return id.is_number() ? Json(id.number()) : Json(id.text()); }

Json ToJson(const MemoryUse& memory) {
  return {{"rows_bytes", memory.rows_bytes},
          {"codes_bytes", memory.codes_bytes},
          {"ids_bytes", memory.ids_bytes},
          {"overhead_bytes", memory.overhead_bytes}};
}

std::string Describe(const MemoryUse& memory) {
  return absl::StrCat(Bytes(memory.rows_bytes), " rows, ", Bytes(memory.codes_bytes), " codes, ",
                      Bytes(memory.ids_bytes), " ids, ", Bytes(memory.overhead_bytes), " overhead");
}

void Print(const Json& json) {
  std::cout << json.dump(-1, ' ', false, Json::error_handler_t::replace) << '\n';
}

}  // namespace vexact::client

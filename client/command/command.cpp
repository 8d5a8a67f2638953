#include "client/command/command.h"

#include <iostream>

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
      ->check(CLI::PositiveNumber);
  app.add_flag("--json", globals.json, "Print JSON, for programs");
}

// CLI11's own messages, in the style of the others.
int UsageError(const CLI::App& app, const CLI::ParseError& error) {
  std::string message = error.what();
  if (message.empty()) message = error.get_name();
  BadInput(message);
  const std::vector<CLI::App*> chosen = app.get_subcommands();
  std::cerr << "See: vexact " << (chosen.empty() ? "" : chosen[0]->get_name() + " ") << "--help\n";
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
  AddServerCommands(program);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    return UsageError(app, error);
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
  const bool unreachable = absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status);
  return unreachable ? kUnreachable : kRefused;
}

int BadInput(std::string_view message) {
  std::cerr << "error: " << message << '\n';
  return kBadUsage;
}

Json ToJson(const Id& id) { return id.is_number() ? Json(id.number()) : Json(id.text()); }

void Print(const Json& json) {
  std::cout << json.dump(-1, ' ', false, Json::error_handler_t::replace) << '\n';
}

}  // namespace vexact::client

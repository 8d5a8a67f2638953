// health, info, completion.
#include <iostream>

#include "client/command/command.h"
#include "client/command/completion.h"
#include "client/command/format.h"

namespace vexact::client {
namespace {

struct NoOptions {};

struct CompletionOptions {
  std::string shell;
  const CLI::App* app = nullptr;
};

int RunHealth(const Globals& globals, const NoOptions&) {
  const auto health = globals.client().CheckHealth(globals.call());
  if (!health.ok()) return Fail(health.status());
  if (globals.json) {
    Print({{"status", Name(*health)}});
  } else {
    std::cout << Name(*health) << '\n';
  }
  return *health == Health::kServing ? kDone : kRefused;
}

Json ToJson(const ServerInfo& info) {
  const Limits& limits = info.limits;
  return {{"version", info.version},
          {"isa", info.isa},
          {"threads", info.threads},
          {"default_engine", Name(info.default_engine)},
          {"uptime_s", absl::ToInt64Seconds(info.uptime)},
          {"collections", info.collections},
          {"rows", info.rows},
          {"memory", ToJson(info.memory)},
          {"limits",
           {{"max_dimension", limits.max_dimension},
            {"max_queries", limits.max_queries},
            {"max_k", limits.max_k},
            {"max_page_size", limits.max_page_size},
            {"max_id_bytes", limits.max_id_bytes},
            {"max_name_length", limits.max_name_length},
            {"max_message_bytes", limits.max_message_bytes}}}};
}

int RunInfo(const Globals& globals, const NoOptions&) {
  const auto info = globals.client().GetInfo(globals.call());
  if (!info.ok()) return Fail(info.status());
  if (globals.json) {
    Print(ToJson(*info));
    return kDone;
  }
  const Limits& limits = info->limits;
  std::cout << "vexactd     " << info->version << " at " << globals.server << ", up "
            << Clock(info->uptime) << '\n'
            << "data        " << Thousands(info->collections)
            << (info->collections == 1 ? " collection, " : " collections, ") << Rows(info->rows)
            << '\n'
            << "memory      " << Describe(info->memory) << '\n'
            << "engine      " << Name(info->default_engine) << ", " << info->isa << ", "
            << info->threads << (info->threads == 1 ? " thread" : " threads") << '\n'
            << "limits      " << Thousands(limits.max_dimension) << " dimensions, "
            << Thousands(limits.max_queries) << " queries a request, k " << Thousands(limits.max_k)
            << ", messages of " << Bytes(limits.max_message_bytes) << '\n';
  return kDone;
}

int RunCompletion(const Globals&, const CompletionOptions& options) {
  std::cout << BashCompletion(*options.app);
  return kDone;
}

}  // namespace

void AddServerCommands(Program& program) {
  auto none = std::make_shared<NoOptions>();
  AddCommand<NoOptions>(program, "health",
                        "Ask whether the server serves; exit status 0 only if it does",
                        "  vexact health --timeout 2", none, RunHealth);
  AddCommand<NoOptions>(program, "info", "Show the server: version, engine, limits",
                        "  vexact info\n  vexact info --json | jq .limits.max_k", none, RunInfo);
  auto options = std::make_shared<CompletionOptions>();
  options->app = &program.app;
  CLI::App* completion =
      AddCommand<CompletionOptions>(program, "completion", "Print a completion script for a shell",
                                    "  source <(vexact completion bash)\n"
                                    "  vexact completion bash > /etc/bash_completion.d/vexact",
                                    options, RunCompletion);
  completion->add_option("shell", options->shell, "The shell")
      ->required()
      ->check(OneOf({"bash"}))
      ->type_name("bash");
}

}  // namespace vexact::client

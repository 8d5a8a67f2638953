// health, info, completion.
#include <iostream>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
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

// Bytes written to the disk for each byte of rows and ids that was sent; absent before any was.
std::optional<double> WriteAmplification(const Storage& storage) {
  if (storage.received_bytes == 0) return std::nullopt;
  return static_cast<double>(storage.written_bytes) / static_cast<double>(storage.received_bytes);
}

Json ToJson(const Storage& storage) {
  Json json = {{"durability", Name(storage.durability)}};
  if (storage.durability == Durability::kNone) return json;
  const std::optional<double> amplification = WriteAmplification(storage);
  json.update({{"data_dir", storage.data_dir},
               {"store_bytes", storage.store_bytes},
               {"codes_bytes", storage.codes_bytes},
               {"received_bytes", storage.received_bytes},
               {"written_bytes", storage.written_bytes},
               {"write_amplification", amplification ? Json(*amplification) : Json()},
               {"commits", storage.commits},
               {"syncs", storage.syncs},
               {"compactions_running", storage.compactions_running},
               {"compactions_pending_bytes", storage.compactions_pending_bytes}});
  return json;
}

Json ToJson(const ServerInfo& info) {
  const Limits& limits = info.limits;
  return {{"version", info.version},
          {"commit", info.commit},
          {"isa", info.isa},
          {"threads", info.threads},
          {"default_engine", Name(info.default_engine)},
          {"uptime_s", absl::ToInt64Seconds(info.uptime)},
          {"collections", info.collections},
          {"rows", info.rows},
          {"memory", ToJson(info.memory)},
          {"storage", ToJson(info.storage)},
          {"limits",
           {{"max_dimension", limits.max_dimension},
            {"max_queries", limits.max_queries},
            {"max_k", limits.max_k},
            {"max_page_size", limits.max_page_size},
            {"max_id_bytes", limits.max_id_bytes},
            {"max_name_length", limits.max_name_length},
            {"max_message_bytes", limits.max_message_bytes},
            {"max_request_bytes", limits.max_request_bytes},
            {"max_waiting_queries", limits.max_waiting_queries},
            {"max_memory_bytes", limits.max_memory_bytes},
            {"max_key_requests_per_second", limits.max_key_requests_per_second},
            {"max_connections", limits.max_connections},
            {"max_calls_per_connection", limits.max_calls_per_connection}}}};
}

std::string Count(uint64_t count, const std::string& one) {
  return absl::StrCat(Thousands(count), " ", one, count == 1 ? "" : "s");
}

void PrintStorage(const Storage& storage) {
  if (storage.durability == Durability::kOther) return;  // a server that tells nothing about it
  if (storage.durability == Durability::kNone) {
    std::cout << "storage     memory: what is stored is gone when the server stops\n";
    return;
  }
  const bool async = storage.durability == Durability::kAsync;
  std::cout << "storage     " << Printable(storage.data_dir) << ", " << Name(storage.durability)
            << (async ? " (a power cut may take the last writes); " : "; ")
            << Bytes(storage.store_bytes) << " rows and ids, " << Bytes(storage.codes_bytes)
            << " codes\n"
            << "written     " << Bytes(storage.written_bytes) << " in "
            << Count(storage.commits, "commit") << " and " << Count(storage.syncs, "sync");
  if (const auto amplification = WriteAmplification(storage)) {
    std::cout << absl::StrFormat(", %.2f times what was sent", *amplification);
  }
  if (storage.compactions_running > 0) {
    std::cout << "; " << Count(storage.compactions_running, "compaction") << ", about "
              << Bytes(storage.compactions_pending_bytes) << " to rewrite";
  }
  std::cout << '\n';
}

int RunInfo(const Globals& globals, const NoOptions&) {
  const auto info = globals.client().GetInfo(globals.call());
  if (!info.ok()) return Fail(info.status());
  if (globals.json) {
    Print(ToJson(*info));
    return kDone;
  }
  const Limits& limits = info->limits;
  std::cout << "vexactd     " << info->version << " (commit " << Printable(info->commit) << ") at "
            << globals.server << ", up " << Clock(info->uptime) << '\n'
            << "data        " << Thousands(info->collections)
            << (info->collections == 1 ? " collection, " : " collections, ") << Rows(info->rows)
            << '\n'
            << "memory      " << Describe(info->memory) << '\n';
  PrintStorage(info->storage);
  std::cout << "engine      " << Name(info->default_engine) << ", " << info->isa << ", "
            << info->threads << (info->threads == 1 ? " thread" : " threads") << '\n'
            << "limits      " << Thousands(limits.max_dimension) << " dimensions, "
            << Thousands(limits.max_queries) << " queries a request, k " << Thousands(limits.max_k)
            << ", messages of " << Bytes(limits.max_message_bytes) << '\n'
            << "            together " << Bytes(limits.max_request_bytes) << " of requests, "
            << Thousands(limits.max_waiting_queries) << " waiting queries, "
            << (limits.max_memory_bytes == 0 ? "no limit of memory"
                                             : Bytes(limits.max_memory_bytes) + " of memory")
            << ", " << Thousands(limits.max_connections) << " connections of "
            << Thousands(limits.max_calls_per_connection) << " calls\n";
  if (limits.max_key_requests_per_second > 0) {
    std::cout << "            for this key " << Thousands(limits.max_key_requests_per_second)
              << " requests a second\n";
  }
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
  AddCommand<NoOptions>(program, "info", "Show the server: version, storage, engine, limits",
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

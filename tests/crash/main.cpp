// crash_worker write|check: the two halves of the crash harness that talk to a server.
// tests/crash/run calls them.
#include <cstdint>
#include <exception>
#include <iostream>
#include <string>
#include <tuple>

#include <CLI/CLI.hpp>

#include "tests/crash/checker.h"
#include "tests/crash/writer.h"

namespace vexact::crash {
namespace {

// A defect of the server, and a harness that cannot work.
constexpr int kExitDefect = 1;
constexpr int kExitBroken = 2;

int Main(int argc, char** argv) {
  CLI::App app("The two halves of the crash harness that talk to a server.", "crash_worker");
  app.require_subcommand(1);
  WriteOptions write;
  CheckOptions check;
  std::string plan = "mix", lie = "none";
  CLI::App* writing = app.add_subcommand("write", "Send writes and log them until the server ends");
  CLI::App* checking = app.add_subcommand("check", "Compare what the server has with the logs");
  for (auto [command, address, logs, seed] :
       {std::tuple(writing, &write.address, &write.logs, &write.seed),
        std::tuple(checking, &check.address, &check.logs, &check.seed)}) {
    command->add_option("--address", *address, "Where the server listens")->required();
    command->add_option("--logs", *logs, "The folder of the logs")->required();
    command->add_option("--seed", *seed, "What all vectors follow from")->required();
  }
  writing->add_option("--run", write.run, "Each makes other writes");
  writing->add_option("--plan", plan, "mix, churn, load, brief or stream");
  writing->add_option("--lie", lie, "A lie that the check must find out");
  writing->add_flag("--may-be-full", write.may_be_full, "The disk may be full");
  checking->add_flag("--other-order", check.other_order, "Expect scores added in another order");
  CLI11_PARSE(app, argc, argv);
  if (checking->parsed()) return Check(check) ? 0 : kExitDefect;
  if (!ParsePlan(plan) || !ParseLie(lie)) {
    std::cerr << "error: there is no plan \"" << plan << "\" or no lie \"" << lie << "\"\n";
    return kExitBroken;
  }
  write.plan = *ParsePlan(plan);
  write.lie = *ParseLie(lie);
  return Write(write) ? 0 : kExitDefect;
}

}  // namespace
}  // namespace vexact::crash

int main(int argc, char** argv) {
  try {
    return vexact::crash::Main(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << '\n';
    return vexact::crash::kExitBroken;
  }
}

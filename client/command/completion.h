// Shell completion, made from the commands and options themselves.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace vexact::client {

// A script for bash. Names of collections are asked of the server when they are needed.
std::string BashCompletion(const CLI::App& app);

}  // namespace vexact::client

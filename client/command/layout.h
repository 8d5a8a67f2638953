// A collection's layout, as `vexact describe` shows it.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "client/command/command.h"
#include "vexact/types.h"

namespace vexact::client {

// Labels with what follows them; none when the server tells of no layout.
std::vector<std::pair<std::string, std::string>> LayoutLines(const Layout& layout);

// The shape that docs/cli.md documents.
Json ToJson(const Layout& layout);

}  // namespace vexact::client

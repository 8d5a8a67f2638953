// How `vexact top` shows what a server does.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "client/command/command.h"
#include "client/top/rates.h"

namespace vexact::client {

// Lines of at most `columns` characters. What does not fit is cut off, and columns of the table
// that matter least are left out first.
std::vector<std::string> RenderTop(std::string_view address, const Statistics& now,
                                   const Rates& rates, size_t columns);

// The shape that docs/cli.md documents.
Json TopToJson(const Statistics& now, const Rates& rates);

}  // namespace vexact::client

// Which vexactd this is.
#pragma once

#include <string>

namespace vexact::server {

// Its version, the commit it was made of where that is known, the compiler, and the instruction set
// of its kernels in use; some lines of text.
std::string BuildInfo();

// The first digits of the commit, or "unknown".
std::string BuildCommit();

}  // namespace vexact::server

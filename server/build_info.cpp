#include "server/build_info.h"

#include "absl/strings/str_format.h"
#include "core/kernel/kernel.h"
#include "server/commit.h"
#include "server/version.h"

namespace vexact::server {
namespace {

#if defined(__clang__)
constexpr char kCompiler[] = __VERSION__;  // "Clang 16.0.6 ..."
#else
constexpr char kCompiler[] = "GCC " __VERSION__;
#endif

}  // namespace

std::string BuildInfo() {
  return absl::StrFormat("vexactd %s\ncommit      %s\ncompiler    %s\nkernels     %s\n", kVersion,
                         kCommit, kCompiler, ActiveKernel().isa);
}

std::string BuildCommit() { return kCommit; }

}  // namespace vexact::server

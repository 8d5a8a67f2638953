#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "core/kernel/tables.h"

namespace vexact {
namespace {

std::vector<const Kernel*> FindRunnable() {
  std::vector<const Kernel*> kernels = {&kPortableKernel};
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (avx2) kernels.push_back(&kAvx2Kernel);
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    kernels.push_back(&kAvx512Kernel);
  }
#endif
  return kernels;
}

}  // namespace

std::span<const Kernel* const> RunnableKernels() {
  static const std::vector<const Kernel*> kernels = FindRunnable();
  return kernels;
}

absl::StatusOr<const Kernel*> SelectKernel(std::string_view isa) {
  if (isa.empty()) return RunnableKernels().back();
  std::string names;
  for (const Kernel* kernel : RunnableKernels()) {
    if (kernel->isa == isa) return kernel;
    names += (names.empty() ? "" : ", ") + std::string(kernel->isa);
  }
  return absl::InvalidArgumentError(
      absl::StrFormat("VEXACT_FORCE_ISA is \"%s\"; this machine can run: %s", isa, names));
}

const Kernel& ActiveKernel() {
  static const Kernel& active = []() -> const Kernel& {
    const char* forced = std::getenv("VEXACT_FORCE_ISA");
    const auto kernel = SelectKernel(forced == nullptr ? "" : forced);
    if (!kernel.ok()) {
      std::fprintf(stderr, "%s\n", std::string(kernel.status().message()).c_str());
      std::abort();
    }
    return **kernel;
  }();
  return active;
}

}  // namespace vexact

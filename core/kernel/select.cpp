#include <cstdio>
#include <cstdlib>
#include <vector>

#include "core/kernel/tables.h"

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace vexact {
namespace {

std::vector<const Kernel*> FindRunnable() {
  std::vector<const Kernel*> kernels = {&kPortableKernel};
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (avx2) kernels.push_back(&kAvx2Kernel);
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512vnni")) {
    kernels.push_back(&kAvx512VnniKernel);
  }
#elif defined(__aarch64__) && defined(__linux__)
  constexpr unsigned long kDotProduct = 1ul << 20;  // HWCAP_ASIMDDP
  if ((getauxval(AT_HWCAP) & kDotProduct) != 0) kernels.push_back(&kNeonKernel);
#endif
  return kernels;
}

}  // namespace

std::span<const Kernel* const> RunnableKernels() {
  static const std::vector<const Kernel*> kernels = FindRunnable();
  return kernels;
}

const Kernel* SelectKernel(std::string_view isa, std::string& error) {
  if (isa.empty()) return RunnableKernels().back();
  std::string names;
  for (const Kernel* kernel : RunnableKernels()) {
    if (kernel->isa == isa) return kernel;
    names += (names.empty() ? "" : ", ") + std::string(kernel->isa);
  }
  error = "VEXACT_FORCE_ISA is \"" + std::string(isa) + "\"; this machine can run: " + names;
  return nullptr;
}

const Kernel& ActiveKernel() {
  static const Kernel& active = []() -> const Kernel& {
    const char* forced = std::getenv("VEXACT_FORCE_ISA");
    std::string error;
    const Kernel* kernel = SelectKernel(forced == nullptr ? "" : forced, error);
    if (kernel == nullptr) {
      std::fprintf(stderr, "%s\n", error.c_str());
      std::abort();
    }
    return *kernel;
  }();
  return active;
}

}  // namespace vexact

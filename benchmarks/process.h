// What benchmarks that run other processes share: their figures, and an end that says why.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace vexact::bench {

// A benchmark that cannot go on throws.
template <typename T>
T Must(absl::StatusOr<T> value) {
  if (!value.ok()) throw std::runtime_error(value.status().ToString());
  return *std::move(value);
}
void Must(const absl::Status& status);

// `name` of /proc/PID/FILE, in the file's own unit.
uint64_t ProcessNumber(pid_t pid, const char* file, const std::string& name);

// What a process has spent of all processors together.
double ProcessorSeconds(pid_t pid);

// The body of main(): what `run` gives, or 1 and what it threw on stderr.
int RunMain(int (*run)(int, char**), int argc, char** argv);

}  // namespace vexact::bench

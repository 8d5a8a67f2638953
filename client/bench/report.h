// What a load measured, for people and for programs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "client/bench/load.h"
#include "client/command/command.h"
#include "vexact/types.h"

namespace vexact::client {

// What was loaded, and how.
struct BenchSetting {
  Collection collection;
  WorkloadOptions workload;
  LoadOptions load;
  uint32_t connections = 1;
  bool interrupted = false;
};

// The share of the true hits that were found; absent when no answer was held against golden ones.
std::optional<double> Recall(const Measured& measured);

// Searches and upserts that were answered while measured, or later.
uint64_t Answered(const Measured& measured);

// Several lines, each with its line feed.
std::string RenderBench(const BenchSetting& setting, const Measured& measured);
Json BenchJson(const BenchSetting& setting, const Measured& measured);

// One line while it runs. `time` is since the measured time began: negative while warming up.
std::string RenderBenchProgress(const BenchSetting& setting, const Measured& measured,
                                absl::Duration time);

}  // namespace vexact::client

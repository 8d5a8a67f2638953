// How much memory the collections may take.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>

#include "absl/status/status.h"
#include "core/catalog.h"

namespace vexact::server {

// Refuses writes that would make the collections larger than the operator allows. What they take is
// measured now and then, and what was let in since is added: a write is refused by a fresh measure
// alone. Writes that are under way when it is made may be missing from it, so that the quota may be
// exceeded by what is in hand at one moment, and by what the background needs to code rows anew.
//
// Thread safety: Admit may be called from any thread.
class MemoryQuota {
 public:
  // `most`: bytes, by Collection::memory(); 0: as many as there are.
  explicit MemoryQuota(uint64_t most) : most_(most) {}

  // Whether `rows` more rows of so many dimensions may be added; RESOURCE_EXHAUSTED.
  absl::Status Admit(const Catalog& catalog, uint64_t rows, uint32_t dimension);

 private:
  using Clock = std::chrono::steady_clock;

  const uint64_t most_;
  std::mutex mutex_;  // guards what follows
  uint64_t taken_ = 0;
  Clock::time_point measured_at_{};
};

}  // namespace vexact::server

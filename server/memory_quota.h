// How much memory the collections may take.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/catalog.h"

namespace vexact::server {

// Refuses writes that would make the collections larger than the operator allows. What they take is
// measured now and then, and what was let in since is added: a write is refused by a fresh measure
// alone. Writes that are under way when it is made may be missing from it, so that the quota may be
// exceeded by what is in hand at one moment, and by what the background needs to code rows anew.
//
// Thread safety: every method may be called from any thread.
class MemoryQuota {
 public:
  // `most`: bytes, by Collection::memory(); 0: as many as there are.
  explicit MemoryQuota(uint64_t most) : most_(most) {}

  // Whether `rows` more rows of so many dimensions may be added; RESOURCE_EXHAUSTED.
  absl::Status Admit(const Catalog& catalog, uint64_t rows, uint32_t dimension);

  struct Releasing {
    uint64_t bytes = 0;
    void operator()(MemoryQuota* quota) const { quota->Release(bytes); }
  };
  // Room for rows that are not measured yet, as their collection is not in the catalog. It owns no
  // MemoryQuota: its end says that they are, or will not come.
  using Reservation = std::unique_ptr<MemoryQuota, Releasing>;
  // The same for all rows of a collection to be; they stay admitted as long as the reservation is.
  absl::StatusOr<Reservation> Reserve(const Catalog& catalog, uint64_t rows, uint32_t dimension);

 private:
  void Release(uint64_t bytes);
  // REQUIRES: mutex_ is held.
  absl::Status Check(const Catalog& catalog, uint64_t rows, uint64_t bytes);

  using Clock = std::chrono::steady_clock;

  const uint64_t most_;
  std::mutex mutex_;  // guards what follows
  uint64_t taken_ = 0;
  uint64_t reserved_ = 0;
  Clock::time_point measured_at_{};
};

}  // namespace vexact::server

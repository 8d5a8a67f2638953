#include "server/memory_quota.h"

#include "absl/strings/str_format.h"

namespace vexact::server {
namespace {

// A measure is good for so long, unless it says that there is no room.
constexpr std::chrono::milliseconds kMeasureEvery{500};

// Beside its vector: the codes, about a third of it, and the id with what leads to it.
uint64_t BytesOf(uint64_t rows, uint32_t dimension) {
  constexpr uint64_t kId = 64;
  const uint64_t vector = uint64_t{dimension} * sizeof(float);
  return rows * (vector + vector / 3 + kId);
}

uint64_t Measure(const Catalog& catalog) {
  MemoryUse sum;
  for (const auto& collection : catalog.List()) sum += collection->memory();
  return sum.rows_bytes + sum.codes_bytes + sum.ids_bytes + sum.overhead_bytes;
}

}  // namespace

absl::Status MemoryQuota::Admit(const Catalog& catalog, uint64_t rows, uint32_t dimension) {
  if (most_ == 0) return absl::OkStatus();
  const uint64_t bytes = BytesOf(rows, dimension);
  const std::lock_guard lock(mutex_);
  const auto now = Clock::now();
  if (taken_ + bytes > most_ || now - measured_at_ > kMeasureEvery) {
    taken_ = Measure(catalog);
    measured_at_ = now;
  }
  if (taken_ + bytes > most_) {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "the collections take %d bytes of memory, and the request's %d rows would add about %d; "
        "max_memory_bytes is %d; delete collections or raise it",
        taken_, rows, bytes, most_));
  }
  taken_ += bytes;
  return absl::OkStatus();
}

}  // namespace vexact::server

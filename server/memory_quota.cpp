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
  const uint64_t row = vector + vector / 3 + kId;
  // A snapshot's header may say anything.
  return rows > UINT64_MAX / row ? UINT64_MAX : rows * row;
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
  absl::Status status = Check(catalog, rows, bytes);
  if (status.ok()) taken_ += bytes;
  return status;
}

absl::StatusOr<MemoryQuota::Reservation> MemoryQuota::Reserve(const Catalog& catalog, uint64_t rows,
                                                              uint32_t dimension) {
  if (most_ == 0) return Reservation();
  const uint64_t bytes = BytesOf(rows, dimension);
  const std::lock_guard lock(mutex_);
  if (absl::Status status = Check(catalog, rows, bytes); !status.ok()) return status;
  reserved_ += bytes;
  return Reservation(this, {bytes});
}

void MemoryQuota::Release(uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  reserved_ -= bytes;
  // The last measure has not seen them.
  taken_ += bytes;
}

absl::Status MemoryQuota::Check(const Catalog& catalog, uint64_t rows, uint64_t bytes) {
  const auto fits = [&] { return bytes <= most_ && taken_ + reserved_ <= most_ - bytes; };
  const auto now = Clock::now();
  if (!fits() || now - measured_at_ > kMeasureEvery) {
    taken_ = Measure(catalog);
    measured_at_ = now;
  }
  if (fits()) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrFormat(
      "the collections take %d bytes of memory, and the request's %d rows would add about %d; "
      "max_memory_bytes is %d; delete collections or raise it",
      taken_ + reserved_, rows, bytes, most_));
}

}  // namespace vexact::server

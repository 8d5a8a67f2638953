#include "core/restoration.h"

#include <span>
#include <utility>

namespace vexact {

Restoration::Restoration(Catalog& catalog, std::string name, Admit admit)
    : catalog_(catalog),
      name_(std::move(name)),
      admit_(std::move(admit)),
      decoder_([this](const snapshot::Header& header) { return Begin(header); },
               [this](std::span<const snapshot::Row> rows) { return Add(rows); }) {}

Restoration::~Restoration() {
  // When that fails, the next start does it.
  if (collection_ != nullptr) (void)collection_->Drop();
}

absl::Status Restoration::Begin(const snapshot::Header& header) {
  header_ = header;
  if (admit_ != nullptr) {
    if (absl::Status status = admit_(header); !status.ok()) return status;
  }
  // The decoder has checked that the numbers are some of these.
  auto created = catalog_.CreateUnnamed(
      name_, {.dimension = header.dimension,
              .metric = static_cast<Metric>(header.metric - 1),
              .normalization = static_cast<Normalization>(header.normalization - 1)});
  if (!created.ok()) return created.status();
  collection_ = *std::move(created);
  rows_.emplace(collection_->Restore());
  return absl::OkStatus();
}

absl::Status Restoration::Add(std::span<const snapshot::Row> rows) {
  views_.clear();
  for (const snapshot::Row& row : rows) views_.push_back({row.id, row.vector});
  return rows_->Add(views_);
}

absl::StatusOr<Restoration::Restored> Restoration::Finish() {
  auto footer = decoder_.Finish();
  if (!footer.ok()) return footer.status();
  if (absl::Status status = rows_->Finish(header_.sequence); !status.ok()) return status;
  if (absl::Status status = catalog_.Publish(collection_); !status.ok()) return status;
  return Restored{std::exchange(collection_, nullptr), header_, *std::move(footer)};
}

}  // namespace vexact

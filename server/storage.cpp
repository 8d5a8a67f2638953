#include "server/storage.h"

#include <spdlog/spdlog.h>

#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/codes_folder.h"
#include "server/log.h"

namespace vexact::server {
namespace {

uint64_t BytesUnder(const std::string& folder) {
  uint64_t bytes = 0;
  std::error_code error;
  // Files come and go meanwhile: what cannot be asked any more does not count.
  for (std::filesystem::recursive_directory_iterator at(folder, error), end; !error && at != end;
       at.increment(error)) {
    std::error_code gone;
    const bool is_file = at->is_regular_file(gone);
    const uint64_t size = is_file && !gone ? at->file_size(gone) : 0;
    if (!gone) bytes += size;
  }
  return bytes;
}

}  // namespace

Storage::~Storage() = default;

absl::Status Storage::Open(const std::stop_token& stop, const Progress& progress) {
  const MaintenanceReport report = [this](const Collection& collection,
                                          const MaintenanceEvent& event) {
    metrics_.CountMaintenance(event);
    LogMaintenance(collection, event);
  };
  if (config_.in_memory) {
    catalog_ = std::make_unique<Catalog>(workers_, report);
    return absl::OkStatus();
  }
  auto store = Store::Open({.directory = config_.data_dir,
                            .durability = config_.durability,
                            .on_sync = [this](auto time) { metrics_.ObserveSync(time); }});
  if (!store.ok()) return WithAdvice(store.status());
  store_ = *std::move(store);
  auto snapshots = SnapshotFolder::Open(config_.data_dir);
  if (!snapshots.ok()) return snapshots.status();
  snapshots_ = *std::move(snapshots);
  if (stop.stop_requested()) return absl::CancelledError("the server is stopping");
  auto catalog = Catalog::Open(*store_, workers_, report, {.progress = progress, .stop = stop});
  if (!catalog.ok()) return catalog.status();
  catalog_ = *std::move(catalog);
  Watch();
  for (const auto& [name, status] : catalog_->damaged()) {
    spdlog::error("collection_damaged collection={} error={}", name, LogValue(status));
  }
  return absl::OkStatus();
}

uint64_t Storage::CodesBytes() const {
  return store_ == nullptr ? 0 : BytesUnder(CodesPath(store_->directory()));
}

uint64_t Storage::SnapshotBytes() const {
  return snapshots_ == nullptr ? 0 : BytesUnder(snapshots_->path());
}

bool Storage::Watch() {
  if (store_ == nullptr) return false;
  const absl::Status failure = store_->failure();
  const absl::StatusCode code = failure.code();
  // relaxed: whoever exchanges it writes the line.
  if (logged_.load(std::memory_order_relaxed) == code) return !failure.ok();
  const absl::StatusCode before = logged_.exchange(code, std::memory_order_relaxed);
  if (before == code) return !failure.ok();
  if (failure.ok()) {
    spdlog::info("storage_recovered data_dir={}", LogValue(config_.data_dir));
  } else {
    spdlog::error("storage_failing data_dir={} error={}", LogValue(config_.data_dir),
                  LogValue(failure));
  }
  return !failure.ok();
}

absl::Status WithAdvice(const absl::Status& status) {
  if (!absl::IsNotFound(status) && !absl::IsPermissionDenied(status)) return status;
  return absl::Status(status.code(),
                      absl::StrCat(status.message(), "; choose another with --data-dir"));
}

}  // namespace vexact::server

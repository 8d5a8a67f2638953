// What a server's collections live in: a data directory, or memory alone.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <stop_token>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "core/catalog.h"
#include "core/snapshot_folder.h"
#include "core/store.h"
#include "core/workers.h"
#include "server/config.h"
#include "server/metrics.h"

namespace vexact::server {

// Thread safety: Open once, before all else; then every method may be called from any thread.
class Storage {
 public:
  // All must outlive it.
  Storage(const Config& config, Workers& workers, Metrics& metrics)
      : config_(config), workers_(workers), metrics_(metrics) {}
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  // Told now and then how many rows of a collection are there, and how many it will be.
  using Progress = std::function<void(std::string_view collection, uint64_t rows, uint64_t total)>;

  // Brings all collections back. CANCELLED by `stop`; otherwise the message says what to do.
  absl::Status Open(const std::stop_token& stop, const Progress& progress);

  // REQUIRES: Open succeeded.
  Catalog& catalog() { return *catalog_; }

  // Null in memory alone.
  const Store* store() const { return store_.get(); }

  // Null in memory alone.
  SnapshotFolder* snapshots() const { return snapshots_.get(); }

  // Bytes of the files in which the codes are kept.
  uint64_t CodesBytes() const;
  // Of those in which snapshots are.
  uint64_t SnapshotBytes() const;

  // To be called when a request has ended, and at the end of Open: logs it when the disk has begun
  // to fail, or is well again. Returns whether it fails.
  bool Watch();

 private:
  const Config& config_;
  Workers& workers_;
  Metrics& metrics_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<SnapshotFolder> snapshots_;
  std::unique_ptr<Catalog> catalog_;  // after the store, which it uses to its end
  // What the log has about the disk; OK when it is well.
  std::atomic<absl::StatusCode> logged_ = absl::StatusCode::kOk;
};

// An error about a data directory with what can be done, where it does not say that itself.
absl::Status WithAdvice(const absl::Status& status);

}  // namespace vexact::server

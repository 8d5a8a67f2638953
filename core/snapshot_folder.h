// The snapshot files of a data directory.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/collection.h"
#include "snapshot/file.h"

namespace vexact {

// Keeps SNAPSHOTS/COLLECTION/NAME.vxsnap. A file is written under a temporary name and gets its own
// when it is whole and on the disk. Those of a collection stay when it is dropped.
//
// Errors: INVALID_ARGUMENT for names that are none; NOT_FOUND; RESOURCE_EXHAUSTED when the disk is
// full, UNAVAILABLE when it fails otherwise. Messages name what is concerned.
//
// Thread safety: every method may be called from any thread.
class SnapshotFolder {
 public:
  // Removes what a process that ended has left half-written. REQUIRES: no other process uses the
  // data directory.
  static absl::StatusOr<std::unique_ptr<SnapshotFolder>> Open(const std::string& data_directory);

  struct Stored {
    std::string collection, name, path;
    uint64_t bytes = 0;
    absl::StatusOr<snapshot::Summary> summary = absl::UnknownError("");
  };

  // Writes the collection's state of now; `name` may be empty, and is then made of the time and the
  // sequence number. `check` is asked now and then whether to go on, and its error is returned.
  // ALREADY_EXISTS. After an error nothing is left behind.
  absl::StatusOr<Stored> Create(const Collection& collection, std::string name,
                                const std::function<absl::Status()>& check);

  // All that a data directory has, each read to its end and checked: `summary` is what is wrong
  // with it. Changes nothing. `progress` is told how many bytes of a file, of how many, are read.
  using Progress = std::function<void(const Stored& one, uint64_t bytes, uint64_t total_bytes)>;
  static absl::StatusOr<std::vector<Stored>> CheckAll(const std::string& data_directory,
                                                      const Progress& progress);

  // Of one collection, or of all when that is empty: by collection, then oldest first, then by
  // name; those of which the beginning is damaged come first.
  absl::StatusOr<std::vector<Stored>> List(std::string_view collection) const;

  // Returns the bytes of the file.
  absl::StatusOr<uint64_t> Delete(std::string_view collection, std::string_view name);

  // The path of the file.
  absl::StatusOr<std::string> Find(std::string_view collection, std::string_view name) const;

  // Where all of them are.
  const std::string& path() const { return path_; }

 private:
  explicit SnapshotFolder(std::string path) : path_(std::move(path)) {}

  std::string FolderOf(std::string_view collection) const;
  std::string PathOf(std::string_view collection, std::string_view name) const;
  absl::Status MakeFolder(const std::string& folder) const;
  void RemoveHalfWritten() const;

  const std::string path_;
  // Guards what follows, and that the folder of a collection is there while it is written to.
  std::mutex mutex_;
  std::set<std::string> under_way_;  // paths that are written
};

}  // namespace vexact

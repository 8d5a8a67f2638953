// The directory that a store lives in: made, checked, and held by one process.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace vexact {

// The path of the database in a data directory.
std::string DatabasePath(std::string_view directory);

// "; 1234 bytes are free on its disk" or nothing when that is not known.
std::string FreeSpace(const std::string& directory);

// Makes what was created or renamed in a directory durable.
absl::Status SyncDirectory(const std::string& directory);

// Holds a data directory: no other process, and no other holder in this one, has it meanwhile.
class DirectoryLock {
 public:
  enum Missing { kCreate, kRefuse };

  // Creates a missing directory, but not its parents, unless a missing store is to be refused.
  //
  // FAILED_PRECONDITION: it is in use (with the process), is no directory, or holds files but no
  // store. NOT_FOUND: its parent is missing, or it is to be refused and has no store.
  // PERMISSION_DENIED, UNAVAILABLE: the system's reason. DATA_LOSS: what belongs to a store is
  // there and its database is not.
  static absl::StatusOr<DirectoryLock> Acquire(const std::string& directory, Missing missing);
  ~DirectoryLock();
  DirectoryLock(DirectoryLock&& other) noexcept;
  DirectoryLock& operator=(DirectoryLock&&) = delete;

 private:
  explicit DirectoryLock(int fd) : fd_(fd) {}
  int fd_;
};

}  // namespace vexact

#include "core/store_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace vexact {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kLockFile = "lock";
constexpr std::string_view kDatabase = "store";

absl::Status SystemError(std::string_view what, int error) {
  const std::string message = absl::StrFormat("%s: %s", what, std::strerror(error));
  switch (error) {
    case ENOENT:
      return absl::NotFoundError(message);
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::PermissionDeniedError(message);
    case ENOSPC:
    case EDQUOT:
      return absl::ResourceExhaustedError(message);
    default:
      return absl::UnavailableError(message);
  }
}

absl::Status Make(const std::string& directory) {
  if (mkdir(directory.c_str(), 0750) != 0) {
    if (errno == EEXIST) return absl::OkStatus();
    return SystemError(absl::StrCat("cannot create data directory ", directory), errno);
  }
  const fs::path parent = fs::absolute(directory).lexically_normal().parent_path();
  return SyncDirectory(parent.empty() ? "." : parent.string());
}

// Whether the directory is a store's, or empty enough to become one.
absl::Status CheckContents(const std::string& directory, DirectoryLock::Missing missing) {
  std::error_code error;
  std::vector<std::string> strangers;
  bool derived = false;  // what only a store that was once here can have left
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename();
    if (name == kDatabase && !fs::is_empty(entry->path(), error)) return absl::OkStatus();
    if (name == "codes" || name == "snapshots" || name.starts_with(std::string(kDatabase) + ".")) {
      derived = derived || !fs::is_empty(entry->path(), error);
    } else if (name != kDatabase && name != kLockFile &&
               name != "lost+found") {  // the root of a file system has that
      strangers.push_back(name);
    }
  }
  if (error) {
    return SystemError(absl::StrCat("cannot read data directory ", directory), error.value());
  }
  if (derived) {
    return absl::DataLossError(absl::StrFormat(
        "data directory %s has parts of a store but not its database %s: put that back, or start "
        "with an empty directory and restore a snapshot",
        directory, DatabasePath(directory)));
  }
  if (missing == DirectoryLock::kRefuse) {
    return absl::NotFoundError(absl::StrFormat("data directory %s has no store", directory));
  }
  if (strangers.empty()) return absl::OkStatus();
  std::sort(strangers.begin(), strangers.end());
  return absl::FailedPreconditionError(absl::StrFormat(
      "data directory %s holds no store but other files, such as %s: name an empty or a new "
      "directory",
      directory, strangers.front()));
}

// Who holds the lock, as the holder wrote it.
std::string Holder(int fd) {
  char text[32] = {};
  const ssize_t length = pread(fd, text, sizeof(text) - 1, 0);
  std::string holder(text, length > 0 ? length : 0);
  absl::StripAsciiWhitespace(&holder);
  const bool number =
      !holder.empty() && std::all_of(holder.begin(), holder.end(), absl::ascii_isdigit);
  return number ? absl::StrCat("process ", holder) : "another process";
}

}  // namespace

std::string DatabasePath(std::string_view directory) {
  return absl::StrFormat("%s/%s", directory, kDatabase);
}

std::string FreeSpace(const std::string& directory) {
  struct statvfs file_system;
  if (statvfs(directory.c_str(), &file_system) != 0) return "";
  return absl::StrFormat("; %d bytes are free on its disk",
                         uint64_t{file_system.f_bavail} * file_system.f_frsize);
}

absl::Status SyncDirectory(const std::string& directory) {
  const int fd = open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return SystemError(absl::StrCat("cannot open ", directory), errno);
  const int error = fsync(fd) == 0 ? 0 : errno;
  close(fd);
  if (error != 0) return SystemError(absl::StrCat("cannot sync ", directory), error);
  return absl::OkStatus();
}

absl::StatusOr<DirectoryLock> DirectoryLock::Acquire(const std::string& directory,
                                                     Missing missing) {
  if (missing == kCreate) {
    if (absl::Status made = Make(directory); !made.ok()) return made;
  }
  struct stat status;
  if (stat(directory.c_str(), &status) != 0) {
    return SystemError(absl::StrCat("data directory ", directory), errno);
  }
  if (!S_ISDIR(status.st_mode)) {
    return absl::FailedPreconditionError(
        absl::StrFormat("data directory %s is a file, not a directory", directory));
  }
  if (absl::Status ours = CheckContents(directory, missing); !ours.ok()) return ours;

  const std::string path = absl::StrFormat("%s/%s", directory, kLockFile);
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0640);
  if (fd < 0) return SystemError(absl::StrCat("cannot open ", path), errno);
  DirectoryLock lock(fd);
  // The kernel lets go of it when the process ends, however it ends.
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return SystemError(absl::StrCat("cannot lock ", path), errno);
    return absl::FailedPreconditionError(
        absl::StrFormat("data directory %s is in use by %s", directory, Holder(fd)));
  }
  // Only for the message above: a full disk need not keep the store from opening.
  const std::string pid = absl::StrCat(getpid(), "\n");
  if (ftruncate(fd, 0) == 0) (void)!pwrite(fd, pid.data(), pid.size(), 0);
  return lock;
}

DirectoryLock::DirectoryLock(DirectoryLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

DirectoryLock::~DirectoryLock() {
  if (fd_ >= 0) close(fd_);
}

}  // namespace vexact

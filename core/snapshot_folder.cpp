#include "core/snapshot_folder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <tuple>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "core/name.h"
#include "core/snapshot_source.h"
#include "core/store_directory.h"

namespace vexact {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFolder = "/snapshots";
constexpr std::string_view kSuffix = ".vxsnap";
constexpr std::string_view kTemporarySuffix = ".vxsnap.tmp";

absl::Status Failed(std::string_view what, const std::string& path, int error) {
  const std::string message = absl::StrFormat("cannot %s %s: %s", what, path, std::strerror(error));
  if (error == ENOENT) return absl::NotFoundError(message);
  if (error != ENOSPC && error != EDQUOT) return absl::UnavailableError(message);
  const size_t slash = path.rfind('/');
  return absl::ResourceExhaustedError(absl::StrCat(message, FreeSpace(path.substr(0, slash))));
}

absl::Status CheckNames(std::string_view collection, std::string_view name) {
  if (absl::Status status = ValidateName("collection", "a snapshot's collection", collection);
      !status.ok()) {
    return status;
  }
  return ValidateName("name", "a snapshot", name);
}

std::string DefaultName(const snapshot::Header& header) {
  return absl::StrCat(absl::FormatTime("%Y%m%dT%H%M%SZ", absl::FromUnixMicros(header.created_us),
                                       absl::UTCTimeZone()),
                      "-", header.sequence);
}

// A file that is removed again unless it is kept.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::string path) : path_(std::move(path)) {}
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() {
    if (fd_ < 0) return;
    close(fd_);
    if (!kept_) (void)unlink(path_.c_str());
  }

  absl::Status Create() {
    fd_ = open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0640);
    return fd_ < 0 ? Failed("create", path_, errno) : absl::OkStatus();
  }
  absl::Status Write(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t written = write(fd_, bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return Failed("write", path_, errno);
      bytes.remove_prefix(static_cast<size_t>(written));
    }
    return absl::OkStatus();
  }
  absl::Status Keep(const std::string& path) {
    if (fsync(fd_) != 0) return Failed("sync", path_, errno);
    if (rename(path_.c_str(), path.c_str()) != 0) return Failed("rename", path_, errno);
    kept_ = true;
    return SyncDirectory(fs::path(path).parent_path());
  }

 private:
  const std::string path_;
  int fd_ = -1;
  bool kept_ = false;
};

}  // namespace

absl::StatusOr<std::unique_ptr<SnapshotFolder>> SnapshotFolder::Open(
    const std::string& data_directory) {
  std::unique_ptr<SnapshotFolder> folder(new SnapshotFolder(data_directory + std::string(kFolder)));
  folder->RemoveHalfWritten();
  return folder;
}

void SnapshotFolder::RemoveHalfWritten() const {
  std::error_code error;
  std::vector<fs::path> found;
  for (fs::recursive_directory_iterator at(path_, error), end; !error && at != end;
       at.increment(error)) {
    if (at->path().filename().string().ends_with(kTemporarySuffix)) found.push_back(at->path());
  }
  // What cannot be removed is in nobody's way: it is never listed, and written over.
  for (const fs::path& path : found) fs::remove(path, error);
}

std::string SnapshotFolder::FolderOf(std::string_view collection) const {
  return absl::StrFormat("%s/%s", path_, collection);
}

std::string SnapshotFolder::PathOf(std::string_view collection, std::string_view name) const {
  return absl::StrFormat("%s/%s%s", FolderOf(collection), name, kSuffix);
}

absl::Status SnapshotFolder::MakeFolder(const std::string& folder) const {
  for (const std::string& made : {path_, folder}) {
    if (mkdir(made.c_str(), 0750) == 0) {
      if (absl::Status status = SyncDirectory(fs::path(made).parent_path()); !status.ok()) {
        return status;
      }
    } else if (errno != EEXIST) {
      return Failed("create", made, errno);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<SnapshotFolder::Stored> SnapshotFolder::Create(
    const Collection& collection, std::string name, const std::function<absl::Status()>& check) {
  SnapshotSource source(collection);
  if (name.empty()) name = DefaultName(source.header());
  if (absl::Status status = CheckNames(collection.name(), name); !status.ok()) return status;
  const std::string path = PathOf(collection.name(), name);
  TemporaryFile file(path + std::string(kTemporarySuffix.substr(kSuffix.size())));
  {
    std::lock_guard lock(mutex_);
    std::error_code error;
    if (fs::exists(path, error) || !under_way_.insert(path).second) {
      return absl::AlreadyExistsError(absl::StrFormat(
          "collection \"%s\" has a snapshot \"%s\" already", collection.name(), name));
    }
  }
  const auto write = [&]() -> absl::Status {
    {
      std::lock_guard lock(mutex_);
      absl::Status status = MakeFolder(FolderOf(collection.name()));
      if (status.ok()) status = file.Create();
      if (!status.ok()) return status;
    }
    for (std::string piece; source.Next(piece); piece.clear()) {
      if (absl::Status status = file.Write(piece); !status.ok()) return status;
      if (absl::Status status = check(); !status.ok()) return status;
    }
    return file.Keep(path);
  };
  const absl::Status status = write();
  std::lock_guard lock(mutex_);
  under_way_.erase(path);
  if (!status.ok()) return status;
  return Stored{.collection = collection.name(),
                .name = std::move(name),
                .path = path,
                .bytes = source.footer().bytes,
                .summary = snapshot::Summary{source.header(), source.footer()}};
}

absl::StatusOr<std::vector<SnapshotFolder::Stored>> SnapshotFolder::List(
    std::string_view collection) const {
  if (!collection.empty()) {
    absl::Status status = ValidateName("collection", "a snapshot's collection", collection);
    if (!status.ok()) return status;
  }
  std::vector<Stored> list;
  std::error_code error;
  for (fs::recursive_directory_iterator
           at(collection.empty() ? path_ : FolderOf(collection), error),
       end;
       !error && at != end; at.increment(error)) {
    const std::string file = at->path().filename().string();
    std::error_code gone;
    if (!file.ends_with(kSuffix) || !at->is_regular_file(gone) || gone) continue;
    auto summary = snapshot::ReadSummary(at->path().string());
    if (absl::IsNotFound(summary.status())) continue;  // deleted meanwhile
    list.push_back({.collection = at->path().parent_path().filename().string(),
                    .name = file.substr(0, file.size() - kSuffix.size()),
                    .path = at->path().string(),
                    .bytes = at->file_size(gone),
                    .summary = std::move(summary)});
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    return Failed("read", path_, error.value());
  }
  const auto key = [](const Stored& stored) {
    return std::tuple(std::string_view(stored.collection),
                      stored.summary.ok() ? stored.summary->header.created_us : 0,
                      std::string_view(stored.name));
  };
  std::sort(list.begin(), list.end(),
            [&](const Stored& a, const Stored& b) { return key(a) < key(b); });
  return list;
}

absl::StatusOr<std::vector<SnapshotFolder::Stored>> SnapshotFolder::CheckAll(
    const std::string& data_directory, const Progress& progress) {
  const SnapshotFolder folder(data_directory + std::string(kFolder));
  auto list = folder.List("");
  if (!list.ok()) return list.status();
  for (Stored& one : *list) {
    one.summary = snapshot::Check(one.path, [&](uint64_t bytes, uint64_t total) {
      progress(one, bytes, total);
      return absl::OkStatus();
    });
  }
  return list;
}

absl::StatusOr<std::string> SnapshotFolder::Find(std::string_view collection,
                                                 std::string_view name) const {
  if (absl::Status status = CheckNames(collection, name); !status.ok()) return status;
  std::string path = PathOf(collection, name);
  std::error_code error;
  if (fs::exists(path, error)) return path;
  if (error) return Failed("read", path, error.value());
  return absl::NotFoundError(
      absl::StrFormat("no snapshot \"%s\" of collection \"%s\"; "
                      "ListSnapshots names those there are",
                      name, collection));
}

absl::StatusOr<uint64_t> SnapshotFolder::Delete(std::string_view collection,
                                                std::string_view name) {
  std::lock_guard lock(mutex_);
  const auto path = Find(collection, name);
  if (!path.ok()) return path.status();
  std::error_code error;
  const uint64_t bytes = fs::file_size(*path, error);
  if (error) return Failed("read", *path, error.value());
  if (unlink(path->c_str()) != 0) return Failed("remove", *path, errno);
  const std::string folder = FolderOf(collection);
  absl::Status synced = SyncDirectory(folder);
  if (!synced.ok()) return synced;
  (void)rmdir(folder.c_str());  // only when it is empty
  return bytes;
}

}  // namespace vexact

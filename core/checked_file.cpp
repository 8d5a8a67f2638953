#include "core/checked_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <type_traits>
#include <utility>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "absl/strings/str_format.h"

namespace vexact {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are stored as they are");

// Bytes that are read or written at a time: they are hashed while they are in the cache.
constexpr size_t kStepBytes = size_t{256} << 10;

// A file descriptor that is closed at the end.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }

 private:
  const int fd_;
};

absl::Status WriteAll(int fd, std::span<const std::byte> bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t written = write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return SystemError("write", path, errno);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status SyncDirectoryOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const Descriptor opened(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (opened.get() < 0) return SystemError("open", directory, errno);
  if (fsync(opened.get()) != 0) return SystemError("sync", directory, errno);
  return absl::OkStatus();
}

class Hasher {
 public:
  Hasher() { XXH3_64bits_reset(&state_); }
  void Add(std::span<const std::byte> bytes) {
    XXH3_64bits_update(&state_, bytes.data(), bytes.size());
  }
  uint64_t Digest() const { return XXH3_64bits_digest(&state_); }

 private:
  XXH3_state_t state_;
};

}  // namespace

absl::Status SystemError(std::string_view what, const std::string& path, int error) {
  const std::string message = absl::StrFormat("cannot %s %s: %s", what, path, std::strerror(error));
  if (error == ENOSPC || error == EDQUOT) return absl::ResourceExhaustedError(message);
  if (error == ENOENT) return absl::NotFoundError(message);
  return absl::UnavailableError(message);
}

uint64_t Hash(std::span<const std::byte> bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

struct CheckedFileWriter::Impl {
  Impl(std::string path_given, std::string temporary_given, int fd)
      : path(std::move(path_given)), temporary(std::move(temporary_given)), file(fd) {}
  ~Impl() {
    if (!finished) (void)unlink(temporary.c_str());
  }

  const std::string path, temporary;
  const Descriptor file;
  Hasher hasher;
  bool finished = false;
};

CheckedFileWriter::CheckedFileWriter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
CheckedFileWriter::CheckedFileWriter(CheckedFileWriter&&) noexcept = default;
CheckedFileWriter::~CheckedFileWriter() = default;

absl::StatusOr<CheckedFileWriter> CheckedFileWriter::Create(const std::string& path) {
  const std::string temporary = path + std::string(kTemporarySuffix);
  const int fd = open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return SystemError("create", temporary, errno);
  return CheckedFileWriter(std::make_unique<Impl>(path, temporary, fd));
}

absl::Status CheckedFileWriter::Append(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const auto step = bytes.first(std::min(bytes.size(), kStepBytes));
    impl_->hasher.Add(step);
    if (absl::Status status = WriteAll(impl_->file.get(), step, impl_->temporary); !status.ok()) {
      return status;
    }
    bytes = bytes.subspan(step.size());
  }
  return absl::OkStatus();
}

absl::Status CheckedFileWriter::Finish() {
  const int fd = impl_->file.get();
  const uint64_t hash = impl_->hasher.Digest();
  const auto trailer = std::as_bytes(std::span(&hash, 1));
  if (absl::Status status = WriteAll(fd, trailer, impl_->temporary); !status.ok()) return status;
  if (fsync(fd) != 0) return SystemError("sync", impl_->temporary, errno);
  if (rename(impl_->temporary.c_str(), impl_->path.c_str()) != 0) {
    return SystemError("rename", impl_->temporary, errno);
  }
  impl_->finished = true;
  return SyncDirectoryOf(impl_->path);
}

struct CheckedFileReader::Impl {
  Impl(std::string path_given, int fd) : path(std::move(path_given)), file(fd) {}

  const std::string path;
  const Descriptor file;
  Hasher hasher;
  uint64_t left = 0;
};

CheckedFileReader::CheckedFileReader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
CheckedFileReader::CheckedFileReader(CheckedFileReader&&) noexcept = default;
CheckedFileReader::~CheckedFileReader() = default;

absl::StatusOr<CheckedFileReader> CheckedFileReader::Open(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return SystemError("open", path, errno);
  CheckedFileReader reader(std::make_unique<Impl>(path, fd));
  struct stat status {};
  if (fstat(fd, &status) != 0) return SystemError("read", path, errno);
  const auto size = static_cast<uint64_t>(status.st_size);
  if (size < sizeof(uint64_t)) return reader.Damaged("it is cut off");
  reader.impl_->left = size - sizeof(uint64_t);
  return reader;
}

uint64_t CheckedFileReader::left() const { return impl_->left; }

absl::Status CheckedFileReader::Damaged(const std::string& what) const {
  return absl::DataLossError(absl::StrFormat("%s is damaged: %s", impl_->path, what));
}

absl::Status CheckedFileReader::Read(std::span<std::byte> bytes) {
  if (bytes.size() > impl_->left) return Damaged("it is cut off");
  while (!bytes.empty()) {
    const ssize_t count = read(impl_->file.get(), bytes.data(), std::min(bytes.size(), kStepBytes));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return SystemError("read", impl_->path, errno);
    if (count == 0) return Damaged("it is cut off");
    const auto step = bytes.first(static_cast<size_t>(count));
    impl_->hasher.Add(step);
    impl_->left -= step.size();
    bytes = bytes.subspan(step.size());
  }
  return absl::OkStatus();
}

absl::Status CheckedFileReader::Finish() {
  if (impl_->left > 0) return Damaged("it is longer than it says");
  const uint64_t hash = impl_->hasher.Digest();
  uint64_t expected = 0;
  impl_->left = sizeof(expected);
  if (absl::Status status = Read(std::span(&expected, 1)); !status.ok()) return status;
  if (hash != expected) return Damaged("its checksum does not match");
  return absl::OkStatus();
}

}  // namespace vexact

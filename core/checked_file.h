// Files that are there whole, or found to be damaged.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace vexact {

// XXH3, 64 bits.
uint64_t Hash(std::span<const std::byte> bytes);

// A file is its content and, behind it, the content's hash (8 bytes, little-endian): what is cut
// off, altered or appended is found when it is read. It is written under a temporary name and gets
// its own when it is complete and on the disk.
//
// Errors: RESOURCE_EXHAUSTED when the disk is full, NOT_FOUND when there is no such file,
// UNAVAILABLE when reading or writing failed otherwise, DATA_LOSS when the content is not what was
// written. Messages name the file.

inline constexpr std::string_view kTemporarySuffix = ".tmp";

// The error for what the system refuses: "cannot WHAT PATH: ...", with its number.
absl::Status SystemError(std::string_view what, const std::string& path, int error);

class CheckedFileWriter {
 public:
  // REQUIRES: the directory exists.
  static absl::StatusOr<CheckedFileWriter> Create(const std::string& path);
  CheckedFileWriter(CheckedFileWriter&&) noexcept;
  CheckedFileWriter& operator=(CheckedFileWriter&&) = delete;
  // What was not completed is removed.
  ~CheckedFileWriter();

  absl::Status Append(std::span<const std::byte> bytes);
  template <typename T>
  absl::Status Append(std::span<const T> values) {
    static_assert(std::is_trivially_copyable_v<T>);
    return Append(std::as_bytes(values));
  }

  // On return the file is on the disk, under its name, in the place of one that was there.
  absl::Status Finish();

 private:
  struct Impl;
  explicit CheckedFileWriter(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

class CheckedFileReader {
 public:
  static absl::StatusOr<CheckedFileReader> Open(const std::string& path);
  CheckedFileReader(CheckedFileReader&&) noexcept;
  CheckedFileReader& operator=(CheckedFileReader&&) = delete;
  ~CheckedFileReader();

  // Content that has not been read yet. Whoever reads a length from the file compares it with this
  // before it believes it.
  uint64_t left() const;

  absl::Status Read(std::span<std::byte> bytes);
  template <typename T>
  absl::Status Read(std::span<T> values) {
    static_assert(std::is_trivially_copyable_v<T>);
    return Read(std::as_writable_bytes(values));
  }

  // DATA_LOSS unless all content was read and has the hash it was written with. Only then is it to
  // be believed.
  absl::Status Finish();

  // DATA_LOSS: the file is damaged, `what`.
  absl::Status Damaged(const std::string& what) const;

 private:
  struct Impl;
  explicit CheckedFileReader(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace vexact

// NumPy's .npy format: one array in a file.
// Source: numpy.lib.format, versions 1.0 to 3.0.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace vexact::client {

// What an element is: a kind of NumPy ('f', 'i', 'u', ...), its bytes, and whether they must be
// swapped on this machine.
struct NpyType {
  char kind = 'f';
  size_t size = 4;
  bool swapped = false;
  std::string descr;  // as in the file, for messages: "<f4"
};

// Whether a file begins as .npy files do. False also where it cannot be opened, or is no regular
// file.
bool IsNpy(const std::string& path);

// An open array. Its size has been checked against the file's; the elements have not been read.
class NpyFile {
 public:
  // INVALID_ARGUMENT, naming the file: not .npy, a version above 3, a header that cannot be read, a
  // type that is no plain number, more or fewer bytes than the header promises. NOT_FOUND: it
  // cannot be opened.
  static absl::StatusOr<NpyFile> Open(const std::string& path);

  NpyFile(NpyFile&& other) noexcept;
  NpyFile& operator=(NpyFile&&) = delete;
  ~NpyFile();

  const std::string& path() const { return path_; }
  const NpyType& type() const { return type_; }
  bool fortran_order() const { return fortran_order_; }
  const std::vector<uint64_t>& shape() const { return shape_; }

  // Reads out.size() bytes of elements from element `first` on, in the order of the file, in this
  // machine's byte order.
  absl::Status Read(uint64_t first, std::span<std::byte> out) const;

 private:
  NpyFile(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  absl::Status ReadHeader();
  absl::Status ParseHeader(std::string_view header);
  absl::Status SetType(std::string_view descr);
  absl::Status CheckSize() const;
  absl::Status Bad(std::string_view why) const;

  int fd_;
  std::string path_;
  NpyType type_;
  bool fortran_order_ = false;
  std::vector<uint64_t> shape_;
  uint64_t data_ = 0;  // where the elements begin, in bytes
};

}  // namespace vexact::client

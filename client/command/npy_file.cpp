#include "client/command/npy_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace vexact::client {
namespace {

constexpr std::string_view kMagic("\x93NUMPY", 6);
// A header holds three short entries; this bounds what a damaged length can make us allocate.
constexpr size_t kMaxHeader = 1 << 20;

// Reads exactly `size` bytes at `offset`; false at the file's end or on an error.
bool ReadAt(int fd, uint64_t offset, void* out, size_t size) {
  auto* to = static_cast<char*>(out);
  while (size > 0) {
    const ssize_t got = pread(fd, to, size, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    to += got;
    offset += static_cast<uint64_t>(got);
    size -= static_cast<size_t>(got);
  }
  return true;
}

// Takes the parts of a Python dict literal from its text, as far as .npy headers use it.
class Literal {
 public:
  explicit Literal(std::string_view text) : text_(text) {}

  bool Take(char expected) {
    SkipSpace();
    if (text_.empty() || text_[0] != expected) return false;
    text_.remove_prefix(1);
    return true;
  }
  bool TakeString(std::string_view* out) {
    SkipSpace();
    if (text_.empty() || (text_[0] != '\'' && text_[0] != '"')) return false;
    const size_t end = text_.find(text_[0], 1);
    if (end == std::string_view::npos) return false;
    *out = text_.substr(1, end - 1);
    text_.remove_prefix(end + 1);
    return true;
  }
  bool TakeWord(std::string_view word) {
    SkipSpace();
    if (!text_.starts_with(word)) return false;
    text_.remove_prefix(word.size());
    return true;
  }
  bool TakeNumber(uint64_t* out) {
    SkipSpace();
    const auto [end, error] = std::from_chars(text_.data(), text_.data() + text_.size(), *out);
    if (error != std::errc()) return false;
    text_.remove_prefix(static_cast<size_t>(end - text_.data()));
    TakeWord("L");  // as Python 2 wrote long integers
    return true;
  }
  bool TakeBool(bool* out) {
    *out = TakeWord("True");
    return *out || TakeWord("False");
  }
  // (), (3,), (3, 4).
  bool TakeShape(std::vector<uint64_t>* out) {
    out->clear();
    if (!Take('(')) return false;
    while (!Take(')')) {
      uint64_t length;
      if (!TakeNumber(&length)) return false;
      out->push_back(length);
      if (!Take(',')) return Take(')');
    }
    return true;
  }
  // Whether a value follows that is a list: a structured type.
  bool AtList() {
    SkipSpace();
    return text_.starts_with('[');
  }

 private:
  void SkipSpace() {
    while (!text_.empty() && (text_[0] == ' ' || text_[0] == '\n' || text_[0] == '\t')) {
      text_.remove_prefix(1);
    }
  }

  std::string_view text_;
};

template <typename Word>
void SwapAll(std::span<std::byte> bytes) {
  for (; bytes.size() >= sizeof(Word); bytes = bytes.subspan(sizeof(Word))) {
    std::ranges::reverse(bytes.first(sizeof(Word)));
  }
}

}  // namespace

bool IsNpy(const std::string& path) {
  struct stat status {};
  if (stat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return false;
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  std::array<char, 6> magic;
  const bool same = ReadAt(fd, 0, magic.data(), magic.size()) &&
                    std::string_view(magic.data(), magic.size()) == kMagic;
  close(fd);
  return same;
}

absl::StatusOr<NpyFile> NpyFile::Open(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return absl::NotFoundError(absl::StrCat(path, ": ", std::strerror(errno)));
  NpyFile file(fd, path);
  if (absl::Status status = file.ReadHeader(); !status.ok()) return status;
  if (absl::Status status = file.CheckSize(); !status.ok()) return status;
  return file;
}

NpyFile::NpyFile(NpyFile&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      path_(std::move(other.path_)),
      type_(std::move(other.type_)),
      fortran_order_(other.fortran_order_),
      shape_(std::move(other.shape_)),
      data_(other.data_) {}

NpyFile::~NpyFile() {
  if (fd_ >= 0) close(fd_);
}

absl::Status NpyFile::Bad(std::string_view why) const {
  return absl::InvalidArgumentError(absl::StrFormat("%s %s", path_, why));
}

absl::Status NpyFile::ReadHeader() {
  std::array<unsigned char, 12> start;
  if (!ReadAt(fd_, 0, start.data(), 10) || std::memcmp(start.data(), kMagic.data(), 6) != 0) {
    return Bad("is not a .npy file: it does not begin with \\x93NUMPY");
  }
  const int version = start[6];
  if (version < 1 || version > 3) {
    return Bad(absl::StrCat("has .npy version ", version, ".", static_cast<int>(start[7]),
                            "; versions 1.0 to 3.0 can be read"));
  }
  // The header's length is little-endian, of 2 bytes in version 1 and of 4 after it.
  const size_t length_bytes = version == 1 ? 2 : 4;
  if (!ReadAt(fd_, 8, start.data() + 8, length_bytes)) return Bad("is cut off inside its header");
  size_t length = 0;
  for (size_t i = length_bytes; i > 0; --i) length = length << 8 | start[7 + i];
  if (length > kMaxHeader) {
    return Bad(
        absl::StrCat("has a header of ", length, " bytes; at most ", kMaxHeader, " can be read"));
  }
  std::string header(length, '\0');
  data_ = 8 + length_bytes + length;
  if (!ReadAt(fd_, 8 + length_bytes, header.data(), length)) {
    return Bad("is cut off inside its header");
  }
  return ParseHeader(header);
}

absl::Status NpyFile::ParseHeader(std::string_view header) {
  Literal literal(header);
  std::string_view descr;
  bool has_order = false, has_shape = false, good = literal.Take('{');
  while (good && !literal.Take('}')) {
    std::string_view key;
    good = literal.TakeString(&key) && literal.Take(':');
    if (!good) break;
    if (key == "descr") {
      if (literal.AtList()) return Bad("holds records; only plain numbers can be read");
      good = literal.TakeString(&descr);
    } else if (key == "fortran_order") {
      good = has_order = literal.TakeBool(&fortran_order_);
    } else if (key == "shape") {
      good = has_shape = literal.TakeShape(&shape_);
    } else {
      good = false;
    }
    if (good && !literal.Take(',')) {
      good = literal.Take('}');
      break;
    }
  }
  if (!good || descr.empty() || !has_order || !has_shape) {
    return Bad(
        "has a header that cannot be read: a dict of descr, fortran_order and shape is "
        "expected");
  }
  return SetType(descr);
}

absl::Status NpyFile::SetType(std::string_view descr) {
  type_.descr = std::string(descr);
  const bool has_order = std::string_view("<>=|").find(descr[0]) != std::string_view::npos;
  const std::string_view rest = descr.substr(has_order ? 1 : 0);
  type_.size = 0;
  if (!rest.empty()) {
    type_.kind = rest[0];
    const auto [end, error] =
        std::from_chars(rest.data() + 1, rest.data() + rest.size(), type_.size);
    if (error != std::errc() || end != rest.data() + rest.size()) type_.size = 0;
  }
  const size_t size = type_.size;
  const bool known = (type_.kind == 'f' && (size == 2 || size == 4 || size == 8)) ||
                     ((type_.kind == 'i' || type_.kind == 'u') &&
                      (size == 1 || size == 2 || size == 4 || size == 8));
  if (!known) {
    return Bad(absl::StrCat("has elements of type ", type_.descr,
                            "; float16, float32, float64 and integers can be read"));
  }
  constexpr bool kLittle = std::endian::native == std::endian::little;
  type_.swapped = size > 1 && descr[0] == (kLittle ? '>' : '<');
  return absl::OkStatus();
}

absl::Status NpyFile::CheckSize() const {
  uint64_t promised = type_.size;
  for (uint64_t length : shape_) {
    if (__builtin_mul_overflow(promised, length, &promised)) {
      return Bad("has a shape of more elements than any file can hold");
    }
  }
  struct stat status {};
  if (fstat(fd_, &status) != 0 || !S_ISREG(status.st_mode)) return Bad("is not a regular file");
  const uint64_t held = static_cast<uint64_t>(status.st_size) - data_;
  if (held == promised) return absl::OkStatus();
  const char* what = held < promised ? " is truncated: " : " holds more than one array: ";
  return absl::InvalidArgumentError(absl::StrCat(path_, what, "its header promises ", promised,
                                                 " bytes of elements, and ", held, " follow"));
}

absl::Status NpyFile::Read(uint64_t first, std::span<std::byte> out) const {
  if (!ReadAt(fd_, data_ + first * type_.size, out.data(), out.size())) {
    return Bad(absl::StrCat("could not be read at element ", first, ": ",
                            errno != 0 ? std::strerror(errno) : "it became shorter"));
  }
  if (!type_.swapped) return absl::OkStatus();
  if (type_.size == 2) SwapAll<uint16_t>(out);
  if (type_.size == 4) SwapAll<uint32_t>(out);
  if (type_.size == 8) SwapAll<uint64_t>(out);
  return absl::OkStatus();
}

}  // namespace vexact::client

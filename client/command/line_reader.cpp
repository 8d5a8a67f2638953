#include "client/command/line_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/command/interruption.h"

namespace vexact::client {
namespace {

constexpr size_t kChunk = 256 << 10;

}  // namespace

absl::StatusOr<LineReader> LineReader::Open(const std::string& path) {
  if (path == "-") return LineReader(STDIN_FILENO, "stdin", false);
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return absl::NotFoundError(absl::StrCat(path, ": ", std::strerror(errno)));
  struct stat status {};
  const bool known = fstat(fd, &status) == 0;
  LineReader reader(fd, path, known && S_ISREG(status.st_mode));
  if (known && S_ISDIR(status.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(path, " is a folder"));
  }
  return reader;
}

LineReader::LineReader(int fd, std::string name, bool regular)
    : fd_(fd), name_(std::move(name)), regular_(regular) {}

LineReader::LineReader(LineReader&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      name_(std::move(other.name_)),
      regular_(other.regular_),
      buffer_(std::move(other.buffer_)),
      begin_(other.begin_),
      ended_(other.ended_),
      number_(other.number_) {}

LineReader::~LineReader() {
  if (fd_ > STDIN_FILENO) close(fd_);
}

absl::StatusOr<bool> LineReader::Next(std::string_view* line) {
  size_t searched = begin_;
  size_t feed;
  while ((feed = buffer_.find('\n', searched)) == std::string::npos && !ended_) {
    buffer_.erase(0, begin_);
    begin_ = 0;
    searched = buffer_.size();
    if (searched > kMaxLine) {
      return absl::InvalidArgumentError(
          absl::StrCat(name_, ": line ", number_ + 1, " is longer than ", kMaxLine, " bytes"));
    }
    buffer_.resize(searched + kChunk);
    const ssize_t got = read(fd_, buffer_.data() + searched, kChunk);
    const int error = errno;
    buffer_.resize(searched + static_cast<size_t>(std::max<ssize_t>(got, 0)));
    if (got < 0 && Interrupted()) return absl::CancelledError("interrupted");
    if (got < 0 && error != EINTR) {
      return absl::InvalidArgumentError(absl::StrCat(name_, ": ", std::strerror(error)));
    }
    ended_ = got == 0;
  }
  if (begin_ == buffer_.size()) return false;
  const size_t end = feed == std::string::npos ? buffer_.size() : feed;
  *line = std::string_view(buffer_).substr(begin_, end - begin_);
  if (line->ends_with('\r')) line->remove_suffix(1);
  begin_ = std::min(end + 1, buffer_.size());
  ++number_;
  return true;
}

}  // namespace vexact::client

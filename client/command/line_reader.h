// The lines of a file or of stdin, in bounded memory.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace vexact::client {

// Lines end with a line feed, the last one also with the end of the file; a carriage return before
// the end is not part of a line. A line of more than kMaxLine bytes is an error.
class LineReader {
 public:
  static constexpr size_t kMaxLine = 16 << 20;

  // "-" is stdin. NOT_FOUND and the like, naming the file.
  static absl::StatusOr<LineReader> Open(const std::string& path);

  LineReader(LineReader&& other) noexcept;
  LineReader& operator=(LineReader&&) = delete;
  ~LineReader();

  // The next line, valid until the next call; false at the end. CANCELLED when a signal came
  // (interruption.h).
  absl::StatusOr<bool> Next(std::string_view* line);

  // The number of the last line, from 1.
  uint64_t number() const { return number_; }
  // What messages call the file.
  const std::string& name() const { return name_; }
  // Whether it can be read a second time by opening it again.
  bool regular() const { return regular_; }

 private:
  LineReader(int fd, std::string name, bool regular);

  int fd_;
  std::string name_;
  bool regular_;
  std::string buffer_;
  size_t begin_ = 0;  // of what is not yet given, in buffer_
  bool ended_ = false;
  uint64_t number_ = 0;
};

}  // namespace vexact::client

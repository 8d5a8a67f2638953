// The ids of rows, from a file of their own.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "client/command/line_reader.h"
#include "client/command/npy_file.h"
#include "vexact/types.h"

namespace vexact::client {

// Where the ids are: a file of one id a line, one column of a file of tab-separated columns, or a
// .npy of integers.
struct IdsFile {
  std::string path;
  size_t column = 0;  // from 1; 0: the whole line
};

// "FILE" or "FILE:COLUMN". A file whose very name is the whole argument wins.
IdsFile ParseIdsFile(const std::string& argument);

// Gives the ids one after the other. Lines are read by the rule of ids.h; with `as_text` every one
// is a text.
class IdsReader {
 public:
  // Counts the lines, where the file can be read twice. NOT_FOUND or INVALID_ARGUMENT, naming the
  // file.
  static absl::StatusOr<IdsReader> Open(const IdsFile& file, bool as_text);

  // Absent where it cannot be known before the end.
  std::optional<uint64_t> count() const { return count_; }

  // The next id; absent at the end. INVALID_ARGUMENT, naming file and line: an empty id, a missing
  // column, a negative number.
  absl::StatusOr<std::optional<Id>> Next();

 private:
  IdsReader(size_t column, bool as_text) : column_(column), as_text_(as_text) {}
  absl::StatusOr<std::optional<Id>> NextLine();
  absl::StatusOr<std::optional<Id>> NextNumber();

  size_t column_;
  bool as_text_;
  std::optional<uint64_t> count_;
  uint64_t next_ = 0;
  std::unique_ptr<LineReader> lines_;  // one of the two
  std::unique_ptr<NpyFile> numbers_;
};

}  // namespace vexact::client

// What `add` loads: rows with ids, from whatever kind of file.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "vexact/types.h"

namespace vexact::client {

struct Row {
  Id id;
  std::span<const float> vector;  // valid until the next row is asked for
  uint64_t place = 0;             // its number as the file's user counts: see RowSource::unit
};

class RowSource {
 public:
  virtual ~RowSource() = default;

  // Where they are known before reading: rows, and components of each.
  virtual std::optional<uint64_t> rows() const = 0;
  virtual std::optional<uint64_t> dimension() const = 0;
  // What `place` counts: "row" (from 0) or "line" (from 1).
  virtual std::string_view unit() const = 0;
  // The next row; false at the end. INVALID_ARGUMENT, naming the place; CANCELLED when a signal
  // came.
  virtual absl::StatusOr<bool> Next(Row* row) = 0;
};

struct RowSourceOptions {
  std::string path = {};  // a .npy file, or JSON lines; "-": JSON lines from stdin
  std::string ids = {};   // "FILE" or "FILE:COLUMN"; empty: 0, 1, 2, ... Not with JSON lines
  bool text_ids = false;  // every entry of the ids file is a text
};

// INVALID_ARGUMENT or NOT_FOUND: a file that cannot be read, or whose count of ids is known not to
// be that of the rows.
absl::StatusOr<std::unique_ptr<RowSource>> OpenRows(const RowSourceOptions& options);

}  // namespace vexact::client

// Points as lines of JSON: {"id": 1, "vector": [0.1, 0.2]}
#pragma once

#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "client/command/line_reader.h"
#include "vexact/types.h"

namespace vexact::client {

// Every line that is not blank is an object of exactly "id" (an unsigned integer or a string) and
// "vector" (numbers). Numbers are rounded to the nearest float32.
class JsonLinesReader {
 public:
  // "-" is stdin.
  static absl::StatusOr<JsonLinesReader> Open(const std::string& path);

  // The next point; false at the end. INVALID_ARGUMENT, naming file and line.
  absl::StatusOr<bool> Next(Point* point);

  // Of the last point, from 1.
  uint64_t line() const { return lines_.number(); }
  const std::string& name() const { return lines_.name(); }

 private:
  explicit JsonLinesReader(LineReader lines) : lines_(std::move(lines)) {}

  LineReader lines_;
};

}  // namespace vexact::client

// The rows of a matrix in a .npy file, as float32, in bounded memory.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/command/npy_file.h"

namespace vexact::client {

// float16 and float32 are taken exactly; float64 is rounded to the nearest float32. NaN and
// infinities are passed on. A one-dimensional array is one row.
class NpyReader {
 public:
  // INVALID_ARGUMENT, naming the file: what NpyFile refuses; integers; no dimension or more than
  // two; no column.
  static absl::StatusOr<NpyReader> Open(const std::string& path);

  uint64_t rows() const { return rows_; }
  // Components of a row, at least 1.
  uint64_t dimension() const { return dimension_; }

  // The next row, valid until the next call. INVALID_ARGUMENT, naming row and component: a finite
  // float64 that is too large for a float32. REQUIRES: fewer than rows() were read or skipped.
  absl::StatusOr<std::span<const float>> Next();
  // REQUIRES: so many rows are left.
  void Skip(uint64_t rows) { next_ += rows; }

 private:
  NpyReader(NpyFile file, uint64_t rows, uint64_t dimension);
  // Fills block_ with the rows from next_ on.
  absl::Status FillBlock();
  absl::Status FillFromRows(uint64_t rows);
  absl::Status FillFromColumns(uint64_t rows);
  // Converts the first `count` elements of raw_ into block_, the first to `at`, each further one
  // `stride` after the last.
  absl::Status Take(size_t at, size_t stride, size_t count);

  NpyFile file_;
  uint64_t rows_;
  uint64_t dimension_;
  uint64_t next_ = 0;

  std::vector<float> block_;  // rows block_first_ to block_first_ + block_rows_, row-major
  uint64_t block_first_ = 0;
  uint64_t block_rows_ = 0;
  std::vector<std::byte> raw_;
};

// The value of an IEEE 754 half.
float FromHalf(uint16_t half);

}  // namespace vexact::client

#include "client/command/npy_reader.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/command/format.h"

namespace vexact::client {
namespace {

// Bytes of a block of float32. Columns are read in pieces of as many rows as a block has, so a
// larger block there means fewer, longer reads.
constexpr uint64_t kRowsBlock = 1 << 20;
constexpr uint64_t kColumnsBlock = 16 << 20;

// The least float64 that would round to an infinite float32: halfway between the largest float32
// and 2^128.
constexpr double kTooLarge = 0x1.ffffffp127;

template <typename Value>
Value Load(const std::byte* from) {
  Value value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

bool Overflows(double value) { return std::isfinite(value) && std::fabs(value) >= kTooLarge; }

float Convert(const NpyType& type, const std::byte* from) {
  if (type.size == 2) return FromHalf(Load<uint16_t>(from));
  if (type.size == 4) return Load<float>(from);
  return static_cast<float>(Load<double>(from));
}

}  // namespace

float FromHalf(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t exponent = half >> 10 & 0x1F;
  const uint32_t fraction = half & 0x3FF;
  if (exponent == 0) {
    // Zero or a denormal: fraction * 2^-24, which a float32 holds exactly.
    const float size = static_cast<float>(fraction) * 0x1p-24f;
    return sign != 0 ? -size : size;
  }
  // Infinity and NaN keep an exponent of ones; others are moved from a bias of 15 to one of 127.
  const uint32_t wide = exponent == 0x1F ? 0xFF : exponent + 112;
  return std::bit_cast<float>(sign | wide << 23 | fraction << 13);
}

absl::StatusOr<NpyReader> NpyReader::Open(const std::string& path) {
  absl::StatusOr<NpyFile> file = NpyFile::Open(path);
  if (!file.ok()) return file.status();
  if (file->type().kind != 'f') {
    return absl::InvalidArgumentError(absl::StrCat(path, " has elements of type ",
                                                   file->type().descr,
                                                   "; vectors are float16, float32 or float64"));
  }
  const std::vector<uint64_t>& shape = file->shape();
  if (shape.empty() || shape.size() > 2) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, " has ", shape.size(), " dimensions; rows of vectors have 2, and one vector has 1"));
  }
  const uint64_t rows = shape.size() == 1 ? 1 : shape[0];
  const uint64_t dimension = shape.back();
  if (dimension == 0) {
    return absl::InvalidArgumentError(absl::StrCat(path, " has rows of 0 components"));
  }
  return NpyReader(*std::move(file), rows, dimension);
}

NpyReader::NpyReader(NpyFile file, uint64_t rows, uint64_t dimension)
    : file_(std::move(file)), rows_(rows), dimension_(dimension) {}

absl::StatusOr<std::span<const float>> NpyReader::Next() {
  if (next_ < block_first_ || next_ >= block_first_ + block_rows_) {
    if (absl::Status status = FillBlock(); !status.ok()) return status;
  }
  const size_t at = (next_ - block_first_) * dimension_;
  ++next_;
  return std::span<const float>(block_).subspan(at, dimension_);
}

absl::Status NpyReader::FillBlock() {
  // One row in Fortran order is one row in C order.
  const bool columns = file_.fortran_order() && rows_ > 1;
  const uint64_t bytes = columns ? kColumnsBlock : kRowsBlock;
  const uint64_t fit = std::max<uint64_t>(1, bytes / sizeof(float) / dimension_);
  const uint64_t rows = std::min(fit, rows_ - next_);
  block_.resize(rows * dimension_);
  block_first_ = next_;
  block_rows_ = 0;
  absl::Status status = columns ? FillFromColumns(rows) : FillFromRows(rows);
  if (status.ok()) block_rows_ = rows;
  return status;
}

absl::Status NpyReader::FillFromRows(uint64_t rows) {
  const size_t size = file_.type().size;
  raw_.resize(rows * dimension_ * size);
  if (absl::Status status = file_.Read(next_ * dimension_, raw_); !status.ok()) return status;
  return Take(0, 1, raw_.size() / size);
}

absl::Status NpyReader::FillFromColumns(uint64_t rows) {
  raw_.resize(rows * file_.type().size);
  for (uint64_t column = 0; column < dimension_; ++column) {
    if (absl::Status status = file_.Read(column * rows_ + next_, raw_); !status.ok()) return status;
    if (absl::Status status = Take(column, dimension_, rows); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status NpyReader::Take(size_t at, size_t stride, size_t count) {
  const NpyType& type = file_.type();
  for (size_t i = 0; i < count; ++i, at += stride) {
    const std::byte* from = raw_.data() + i * type.size;
    if (type.size == 8 && Overflows(Load<double>(from))) {
      return absl::InvalidArgumentError(absl::StrCat(
          file_.path(), ": row ", block_first_ + at / dimension_, ": component ", at % dimension_,
          " is ", Shortest(Load<double>(from)), ", beyond the largest float32 (3.4028235e+38)"));
    }
    block_[at] = Convert(type, from);
  }
  return absl::OkStatus();
}

}  // namespace vexact::client

#include "client/bench/golden.h"

#include <algorithm>
#include <bit>

#include "absl/strings/str_cat.h"
#include "client/command/npy_file.h"

namespace vexact::client {
namespace {

// An element of a .npy as 64 bits: an integer's value, a float64's bits.
uint64_t Widen(const std::byte* element, const NpyType& type) {
  uint64_t value = 0;
  for (size_t i = 0; i < type.size; ++i) {
    value |= std::to_integer<uint64_t>(element[i]) << (8 * i);
  }
  return value;
}

absl::Status Check(const NpyFile& file, uint32_t k) {
  const NpyType& type = file.type();
  const auto bad = [&](auto... why) {
    return absl::InvalidArgumentError(absl::StrCat(file.path(), ": ", why...));
  };
  const bool scores = type.kind == 'f' && type.size == 8;
  if (!scores && type.kind != 'u' && type.kind != 'i') {
    return bad("golden answers are ids (integers) or scores (float64), not ", type.descr);
  }
  if (file.shape().size() != 2 || file.fortran_order() || file.shape()[0] == 0) {
    return bad("golden answers are a matrix in C order with a row for each query");
  }
  if (k == 0 || file.shape()[1] < k) {
    return bad("it has ", file.shape()[1], " answers a query, k is ", k);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Golden> Golden::Read(const std::string& path, uint32_t k) {
  const absl::StatusOr<NpyFile> file = NpyFile::Open(path);
  if (!file.ok()) return file.status();
  if (absl::Status status = Check(*file, k); !status.ok()) return status;
  Golden golden;
  golden.columns_ = k;
  golden.scores_ = file->type().kind == 'f';
  const uint64_t columns = file->shape()[1];
  std::vector<std::byte> row(columns * file->type().size);
  for (uint64_t query = 0; query < file->shape()[0]; ++query) {
    if (absl::Status status = file->Read(query * columns, row); !status.ok()) return status;
    for (uint32_t i = 0; i < k; ++i) {
      golden.rows_.push_back(Widen(row.data() + i * file->type().size, file->type()));
    }
  }
  return golden;
}

uint32_t Golden::Found(uint64_t query, const v1::SearchResult& result) const {
  const std::span<const uint64_t> row = std::span(rows_).subspan(query * columns_, columns_);
  uint32_t found = 0;
  for (int place = 0; place < result.hits_size(); ++place) {
    const v1::Hit& hit = result.hits(place);
    if (scores_) {
      const auto at = static_cast<size_t>(place);
      found += at < row.size() && row[at] == std::bit_cast<uint64_t>(hit.score()) ? 1 : 0;
    } else {
      const bool number = hit.id().form_case() == v1::Id::kNumber;
      found += number && std::ranges::find(row, hit.id().number()) != row.end() ? 1 : 0;
    }
  }
  return found;
}

}  // namespace vexact::client

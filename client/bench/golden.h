// The right answers, known beforehand, that a server's are held against.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "vexact/v1/search.pb.h"

namespace vexact::client {

// One .npy matrix with a row for each query, the nearest first: either the ids (integers: the
// collection's ids are numbers) or the scores (float64, compared bit for bit).
//
// Thread safety: Found may be called from any thread.
class Golden {
 public:
  // INVALID_ARGUMENT, naming the file: no matrix of integers or float64, or fewer than k columns.
  // NOT_FOUND: it cannot be opened.
  static absl::StatusOr<Golden> Read(const std::string& path, uint32_t k);

  // How many queries it has answers for.
  uint64_t queries() const { return rows_.size() / columns_; }

  // Of the first k true hits of `query`, how many are in `result`. By ids wherever they stand; by
  // scores each in its place. REQUIRES: query < queries().
  uint32_t Found(uint64_t query, const v1::SearchResult& result) const;

 private:
  std::vector<uint64_t> rows_;  // ids, or the bits of scores; `columns_` a query
  uint64_t columns_ = 1;        // k
  bool scores_ = false;
};

}  // namespace vexact::client

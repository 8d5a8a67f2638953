// Rows and queries to measure with.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/snapshot.h"

namespace vexact::bench {

struct DataSet {
  CollectionState state;
  std::vector<std::vector<float>> queries;

  size_t dimension() const { return queries.front().size(); }
};

// Independent components of mean 0 and variance 1, each the sum of four uniform numbers. Seeded.
DataSet Isotropic(size_t rows, uint32_t dimension, size_t queries);

// 1,000 isotropic centres; rows and queries are centres with noise of half their spread.
DataSet Clustered(size_t rows, uint32_t dimension, size_t queries);

// One vector under every id.
DataSet AllEqual(size_t rows, uint32_t dimension, size_t queries);

// The sentence embeddings and real queries in the folder `data_dir`; nothing when they are not
// there.
std::optional<DataSet> Sentences(const std::string& data_dir);

// The same rows, the first `rows` of them.
CollectionState FirstRows(const CollectionState& state, uint64_t rows);

}  // namespace vexact::bench

// Codes and queries as kernels want them in memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <vector>

#include "core/kernel/kernel.h"

namespace vexact {

// A vector whose first element is 64-byte aligned.
template <typename T>
class Aligned {
 public:
  explicit Aligned(size_t n) : data_(new (std::align_val_t(64)) T[n + 1]()) {}
  Aligned(const Aligned&) = delete;
  ~Aligned() { operator delete[](data_, std::align_val_t(64)); }
  T* data() { return data_; }

 private:
  T* data_;
};

// The digits of some queries as a tile wants them.
inline std::vector<int8_t> Pack(const std::vector<const std::vector<int8_t>*>& queries,
                                const Kernel& kernel) {
  std::vector<int8_t> digits(queries.front()->size() * kernel.tile_queries);
  for (size_t q = 0; q < queries.size(); ++q) {
    for (size_t j = 0; j < queries[q]->size(); ++j) {
      digits[(j / 4 * kernel.tile_queries + q) * 4 + j % 4] = (*queries[q])[j];
    }
  }
  return digits;
}

}  // namespace vexact

// How a row's dimensions are divided into slabs.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "core/kernel/kernel.h"

namespace vexact {

// The first slab holds the first dimensions of every row, interleaved in groups of kGroupRows rows;
// each later slab holds the next kSlabWidth dimensions, row by row. Level l of a search has read
// slabs 0 to l. Dimensions are those of the rows as they are: the layout's rotation is the
// identity.
struct Layout {
  uint32_t dimension = 0;
  uint32_t first_width = 0;  // dimensions in the first slab, 1 to dimension

  bool operator==(const Layout&) const = default;

  static Layout Whole(uint32_t dimension) { return {dimension, dimension}; }

  // Bytes of a row in the first slab; the codes beyond first_width are 0.
  size_t first_bytes() const {
    return (first_width + kFirstSlabStep - 1) / kFirstSlabStep * kFirstSlabStep;
  }
  size_t later_slabs() const { return (dimension - first_width + kSlabWidth - 1) / kSlabWidth; }
  size_t levels() const { return 1 + later_slabs(); }

  // Dimensions that level l has read: slab l is [level_end(l - 1), level_end(l)).
  size_t level_end(size_t level) const {
    return std::min<size_t>(dimension, first_width + level * kSlabWidth);
  }
};

}  // namespace vexact

// How rows are turned and divided before they are coded.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "core/kernel/kernel.h"

namespace vexact {

// A row x becomes x - center, and that its coordinates along the basis. The first slab holds the
// first coordinates of every row as bytes, interleaved in groups of kGroupRows rows; each later
// slab holds kSlabWidth more, row by row. A sketch says the coordinates of the first slab in four
// bits each: a query that is alone reads it first, in half the time. Level 0 of a search has read
// the sketch or the first slab, level l later slab l as well.
//
// The basis is one of
//   none     the coordinates are the components,
//   whole    `dimension` orthonormal vectors (nearly: `defect` says how nearly),
//   leading  fewer than that: then the first slab holds coordinates along them and the later slabs
//            hold the components, all of them.
//
// Immutable once it is in use: segments and searches share it.
struct Layout {
  uint32_t dimension = 0;
  uint32_t first_width = 0;  // coordinates in the first slab; a multiple of 8 where it has a sketch

  std::vector<float> center = {};  // `dimension` components, or none for 0
  double center_norm = 0;

  struct alignas(64) BasisLine {
    float lane[16];
  };
  uint32_t basis_rows = 0;            // 0 for none
  std::vector<BasisLine> basis = {};  // in panels, as Kernel::project reads it
  // >= |B B^T - I| in the Frobenius norm, B the basis: the defect of its orthonormality.
  double defect = 0;
  // >= |y - B z| / |z|, where y are the coordinates that were computed for z = x - center and z may
  // have been rounded to float32.
  double projection_error = 0;

  // The sketch's coordinate j is coded in units of weights[j]; none without a sketch.
  std::vector<float> weights = {};
  // |x - center| <= sketch_reach * scale for every row of the sketch: scales are chosen so.
  float sketch_reach = 0;

  // Rows farther than this from the center are not coded.
  double longest = std::numeric_limits<double>::infinity();

  static std::shared_ptr<const Layout> Identity(uint32_t dimension, uint32_t first_width) {
    auto layout = std::make_shared<Layout>();
    layout->dimension = dimension;
    layout->first_width = first_width;
    return layout;
  }
  static std::shared_ptr<const Layout> Identity(uint32_t dimension) {
    return Identity(dimension, dimension);
  }

  // A bound for projection_error: Kernel::project adds ProjectError(d) roundings of what a basis
  // vector's and z's components make, |b_i| |z| at most for each of basis_rows coordinates.
  double ProjectionBound() const {
    const double rounding = 1.01 * ProjectError(dimension) * 0x1p-24;
    if (has_basis()) return rounding * std::sqrt(basis_rows * (1 + defect));
    return center.empty() ? 0 : 0x1p-23;  // only z is rounded
  }

  bool has_sketch() const { return !weights.empty(); }
  bool has_basis() const { return basis_rows > 0; }
  // The later slabs hold components, whatever the first one holds.
  bool leading() const { return has_basis() && basis_rows < dimension; }
  size_t panels() const { return (basis_rows + kPanelRows - 1) / kPanelRows; }
  size_t basis_bytes() const { return basis.size() * sizeof(BasisLine); }
  const float* basis_data() const { return basis.empty() ? nullptr : basis.front().lane; }
  float basis_at(size_t row, size_t j) const {
    const size_t line = (row / kPanelRows * dimension + j) * (kPanelRows / 16);
    return basis[line + row % kPanelRows / 16].lane[row % 16];
  }
  float& basis_at(size_t row, size_t j) {
    const size_t line = (row / kPanelRows * dimension + j) * (kPanelRows / 16);
    return basis[line + row % kPanelRows / 16].lane[row % 16];
  }

  // |x - center| <= byte_reach() * scale for every row of bytes: scales are chosen so. That
  // makes the codes coarser of rows whose components are nearly equal in magnitude, up to 2.6
  // times; of normal components the largest decides.
  float byte_reach() const { return 48 * std::sqrt(static_cast<float>(dimension)); }
  // The norm of what the sketch's codes stand for, counted in weights, is at most sketch_spread() *
  // scale: a scale is at least 0.3 of the root mean square of what it codes.
  double sketch_spread() const { return std::sqrt(static_cast<double>(first_width)) / 0.2999; }

  // The first slab's width with the zeros that fill its last step.
  size_t padded_width() const {
    return (first_width + kFirstSlabStep - 1) / kFirstSlabStep * kFirstSlabStep;
  }
  size_t first_bytes() const { return padded_width(); }
  size_t sketch_bytes() const { return has_sketch() ? first_width / 2 : 0; }

  // What reading a row's first slab, or its sketch, reads, with the numbers beside it that every
  // metric needs.
  size_t first_row_bytes() const { return first_bytes() + (later_slabs() > 0 ? 6 : 4); }
  size_t alone_row_bytes() const {
    return has_sketch() ? sketch_bytes() + (later_slabs() > 0 ? 6 : 4) : first_row_bytes();
  }

  // What a row's codes take, numbers and all.
  size_t code_bytes() const {
    const size_t numbers = 2 + (has_sketch() ? 2 : 0) + (later_slabs() > 0 ? 1 : 0);
    const size_t norms = center.empty() ? 1 : 2;
    return first_bytes() + sketch_bytes() + later_at(kGroupRows) / kGroupRows +
           sizeof(uint16_t) * numbers + sizeof(float) * norms;
  }

  // 16-bit numbers that go with a row's later slabs: their scale, error and tail of each level from
  // 1 on, and what refining needs besides, so that it need not look anywhere else: the tail of
  // level 0, norm and bend.
  size_t later_numbers() const { return 1 + 2 * later_slabs() + 5; }
  // A row's later slabs behind their numbers, all in one place: the last slab ends with the last
  // coordinate, and the next row begins.
  size_t later_bytes() const {
    if (later_slabs() == 0) return 0;
    return (sizeof(uint16_t) * later_numbers() + dimension - later_begin() + 3) / 4 * 4;
  }
  // Where they begin. A slab's read may go on behind the last coordinate: into rows of the same
  // group, which were coded with it, or into the room behind them, which nobody writes.
  size_t later_at(size_t row) const {
    const size_t room = later_slabs() == 0 ? 0 : kSlabWidth;
    return row * later_bytes() + row / kGroupRows * room;
  }

  // The first coordinate of the later slabs.
  size_t later_begin() const { return leading() ? 0 : first_width; }
  size_t later_slabs() const { return (dimension - later_begin() + kSlabWidth - 1) / kSlabWidth; }
  size_t levels() const { return 1 + later_slabs(); }
  // Later slab l - 1 holds the coordinates [slab_begin(l), slab_end(l)), l >= 1.
  size_t slab_begin(size_t level) const { return later_begin() + (level - 1) * kSlabWidth; }
  size_t slab_end(size_t level) const {
    return std::min<size_t>(dimension, slab_begin(level) + kSlabWidth);
  }
};

}  // namespace vexact

// The arithmetic that depends on the instruction set, behind one table of functions; one file per
// instruction set fills one table. Which table is used is decided once, in select.cpp. Nothing here
// or below depends on a library, so that kernels can be built and tested for another machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace vexact {

// Rows whose first-slab codes are interleaved: bytes 4i..4i+3 of each 64-byte line belong to row i.
inline constexpr size_t kGroupRows = 16;
// Dimensions, and bytes, of each later slab: one cache line.
inline constexpr size_t kSlabWidth = 64;
// The first slab's width is a multiple of this: two lines of 8-bit codes, one of a sketch.
inline constexpr size_t kFirstSlabStep = 8;
// No table's tile takes more queries than this.
inline constexpr size_t kMaxTileQueries = 12;

// The largest magnitude of a byte's code.
inline constexpr int32_t kMaxCode = 127;

// How the first slab writes a dimension.
enum class FirstCode : uint8_t {
  kByte,    // u = c + 128, c in [-127, 127]: a byte is one dimension
  kSketch,  // u in [0, 15]: of eight dimensions in a row's four bytes, the low halves hold the
            // first four. Stands for u - 7.5.
};

// Bytes of a row in a first slab of `width` dimensions, a multiple of kFirstSlabStep.
constexpr size_t FirstSlabBytes(FirstCode code, size_t width) {
  return code == FirstCode::kByte ? width : width / 2;
}

// The first slab of some groups of rows, and the numbers beside it (code.h says where they come
// from); 16-bit numbers are the upper halves of float32. Each column is 32-byte aligned, the codes
// are 64-byte aligned.
struct FirstSlab {
  FirstCode code = FirstCode::kByte;
  size_t width = 0;                // dimensions, a multiple of kFirstSlabStep
  const uint8_t* codes = nullptr;  // groups of [lines][16 rows][4 bytes]
  const uint16_t* scale = nullptr;
  const uint16_t* error = nullptr;
  const uint16_t* tail = nullptr;  // null when the first slab holds all dimensions
  const float* bend = nullptr;     // null when the layout has no centre or the metric does not ask
  const float* norm = nullptr;     // null when the metric does not ask

  FirstSlab FromGroup(size_t group) const {
    const size_t row = group * kGroupRows;
    return {code,
            width,
            codes + row * FirstSlabBytes(code, width),
            scale + row,
            error + row,
            tail == nullptr ? nullptr : tail + row,
            bend == nullptr ? nullptr : bend + row,
            norm == nullptr ? nullptr : norm + row};
  }
};

// What a query asks of a row: with D = sum_j c_j v_j (sketch: c_j = u_j - 7.5), the row survives
// unless
//     (scale * D + constant) * row.scale + error * row.error + tail * row.tail + bend * row.bend +
//     (norm + square * row.norm) * row.norm
// is less than `threshold`, all in float32; a comparison with NaN lets the row survive.
struct QueryTerms {
  float scale = 0;
  float constant = 0;
  float error = 0;
  float tail = 0;
  float bend = 0;
  float norm = 0;
  float square = 0;
  float threshold = 0;
};

// A query's digits for the first slab: v_j = 128 high_j + low_j, or high_j alone.
struct QueryDigits {
  const int8_t* high = nullptr;  // FirstSlab::width of them, as of the next; packed for a sketch
  const int8_t* low = nullptr;
  int32_t high_sum = 0;  // of the digits
  int32_t low_sum = 0;
};

struct Survivor {
  uint32_t row = 0;    // within the filter's input
  uint32_t query = 0;  // within the tile
  float estimate = 0;  // scale * D * row.scale
};

// Queries that pass over the rows together, on their high digits alone.
struct Tile {
  // [width / 4][Kernel::tile_queries][4 digits]; what lies beyond `queries` may be anything.
  const int8_t* digits = nullptr;
  const int32_t* digit_sums = nullptr;  // of each query's digits: Kernel::tile_queries numbers too
  const QueryTerms* terms = nullptr;    // of each query
  size_t queries = 0;                   // 1 to Kernel::tile_queries
  // Whether each query has a norm of its own and no square (cosine). Else norm and square are the
  // same multiples of bend for all of them, up to float32's rounding; or bend and norm are 0.
  bool norm_apart = false;
};

// The two planes' sums of products of a row's later slabs with a query's: sum_j u_j * digit_j, u_j
// = c_j + 128.
struct SlabProducts {
  int32_t high = 0;
  int32_t low = 0;
};

inline constexpr size_t kPanelRows = 64;

// Kernel::project adds up kProjectRun products at a time, then those sums.
inline constexpr size_t kProjectRun = 64;
constexpr double ProjectError(size_t d) {
  const size_t runs = d / kProjectRun;
  return static_cast<double>(kProjectRun + runs + 3);
}

struct Kernel {
  // "portable", "avx2", "avx512vnni", "neon".
  std::string_view isa;

  // The largest magnitude that a digit of a query's high plane may have for this table's products
  // not to saturate; low digits are in [-64, 63] for all.
  int32_t max_digit;

  // The reference dot product and squared distance of n components each (reference_score.h): bit
  // for bit the same in every table. Any alignment.
  double (*dot)(const float* a, const float* b, size_t n);
  double (*squared_l2)(const float* a, const float* b, size_t n);

  // One query on all its digits (a sketch: on its high ones, packed as a tile of one): writes the
  // left side of QueryTerms' comparison with `bound` for every row to `bounds`, and the rows that
  // survive `best` to `out`. Returns the number of these.
  size_t (*bound)(const FirstSlab& slab, size_t groups, const QueryDigits& digits,
                  const QueryTerms& bound, const QueryTerms& best, float* bounds, Survivor* out);

  // The rows whose bound, plus `norm` times their norm, is not less than `threshold`, in row order.
  // `norms` may be null; `bounds` is 64-byte aligned. The survivors' estimates are 0.
  size_t (*select)(const float* bounds, const float* norms, float norm, float threshold,
                   size_t groups, Survivor* out);

  // A tile of queries over byte codes: writes what survives, in no particular order, and returns
  // how many that are. `out` has room for all pairs.
  size_t (*filter_tile)(const FirstSlab& slab, size_t groups, const Tile& tile, Survivor* out);

  // How many queries the tile of this table takes.
  size_t tile_queries;

  // out[i][r] = sum_j basis_rj rows[i][j] in float32, each sum within ProjectError(d) 2^-24 of
  // sum_j |basis_rj rows[i][j]|. `basis` is in panels of kPanelRows rows: [panels][d][kPanelRows],
  // 64-byte aligned; `rows` is n x d and `out` n x (panels * kPanelRows).
  void (*project)(const float* basis, size_t panels, size_t d, const float* rows, size_t n,
                  float* out);

  // Of n finite components, at any alignment.
  float (*largest_magnitude)(const float* x, size_t n);

  // Writes the bytes of n components in units of scale > 0 (FirstCode::kByte, c_j = x_j / scale
  // rounded to the nearest) and returns the sum of (x_j - scale c_j)^2: bit for bit the same in
  // every table.
  double (*quantise)(const float* x, size_t n, float scale, uint8_t* codes);

  // `slabs` consecutive later slabs of one row (kSlabWidth codes each) against the
  // query's (kSlabWidth digits a plane and slab).
  SlabProducts (*slab_products)(const uint8_t* codes, const int8_t* high, const int8_t* low,
                                size_t slabs);
};

// Every table that this CPU can run, portable first and the best last.
std::span<const Kernel* const> RunnableKernels();

// The best table, or with a name the one of that name. Null when this CPU or this build does not
// have it; `error` then says so, with the names there are.
const Kernel* SelectKernel(std::string_view isa, std::string& error);

// The table that the engine uses: SelectKernel of the environment variable VEXACT_FORCE_ISA at the
// first call. Aborts with the message when that names no table; a program checks it first with
// SelectKernel.
const Kernel& ActiveKernel();

}  // namespace vexact

#include "core/code.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/code_sums.h"

namespace vexact {
namespace {

constexpr uint8_t kCodeOffset = 128;
// A sketch's scale, in root mean squares of what it codes, is the best of these: the least squares
// of normal components ask for 0.335, tails and flat rows for more and less.
constexpr float kSketchScales[] = {0.3f, 0.345f, 0.4f};

double SumSquares(const float* x, size_t begin, size_t end) {
  return SumOver(begin, end, [&](size_t j) { return double{x[j]} * x[j]; });
}

// u_j - 7.5 for u_j = y_j / scale + 7.5 rounded and held to [0, 15].
float SketchValue(float y, float inverse) {
  constexpr float kShift = 0x1.8p23f;
  const float held = std::min(std::max(y * inverse + 7.5f, 0.0f), 15.0f);
  return held + kShift - kShift - 7.5f;
}

float SketchError(const float* y, size_t n, float scale) {
  constexpr size_t kParts = 8;
  const float inverse = 1 / scale;
  float part[kParts] = {};
  for (size_t j = 0; j < n; j += kParts) {
    for (size_t i = 0; i < kParts; ++i) {
      const float e = y[j + i] - scale * SketchValue(y[j + i], inverse);
      part[i] += e * e;
    }
  }
  float sum = 0;
  for (const float p : part) sum += p;
  return sum;
}

// One row on its way into the columns.
struct Row {
  size_t index;
  double length;      // |x - center|
  const float* lead;  // coordinates of the first slab
  const float* rest;  // those that the later slabs divide
  const double* inverse_weights;
};

uint16_t* Numbers(const CodeColumns& columns, size_t row) {
  return reinterpret_cast<uint16_t*>(columns.later + columns.layout->later_at(row));
}

class GroupWriter {
 public:
  GroupWriter(const CodeColumns& columns, const Kernel& kernel)
      : columns_(columns),
        kernel_(kernel),
        layout_(*columns.layout),
        first_(layout_.first_bytes(), kCodeOffset),
        sketch_(layout_.sketch_bytes()) {}

  // A row that the certificate says nothing of (`error` infinite) or that is the center itself (0).
  void WriteUncoded(size_t row, float error) {
    std::fill(first_.begin(), first_.end(), kCodeOffset);
    Store(columns_.first_slab, first_, row);
    columns_.scale[row] = 0;
    columns_.error[row] = HalfUp(error);
    if (layout_.has_sketch()) {
      std::fill(sketch_.begin(), sketch_.end(), 0);
      Store(columns_.sketch, sketch_, row);
      columns_.sketch_scale[row] = 0;
      columns_.sketch_error[row] = HalfUp(error);
    }
    if (columns_.tail != nullptr) columns_.tail[row] = 0;
    const size_t later = layout_.later_slabs();
    if (later == 0) return;
    std::memset(Codes(row), kCodeOffset, layout_.dimension - layout_.later_begin());
    uint16_t* numbers = Numbers(columns_, row);
    *numbers++ = 0;
    for (size_t slab = 0; slab < later; ++slab) {
      *numbers++ = HalfUp(error);
      *numbers++ = 0;
    }
  }

  void Write(const Row& row) {
    // |e_P|^2 of the first slab, as far as the later slabs go on from it.
    const double first_error = WriteFirst(row);
    if (layout_.has_sketch()) WriteSketch(row);
    if (columns_.tail != nullptr) {
      const double tail =
          layout_.leading()
              ? Remainder(layout_, row.length * row.length,
                          SumSquares(row.lead, 0, layout_.first_width))
              : std::sqrt(SumSquares(row.rest, layout_.first_width, layout_.dimension));
      columns_.tail[row.index] = HalfUp(tail * kSumMargin);
    }
    if (layout_.later_slabs() > 0) WriteLater(row, first_error);
  }

 private:
  uint8_t* Codes(size_t row) const {
    return columns_.later + layout_.later_at(row) + sizeof(uint16_t) * layout_.later_numbers();
  }

  // Spreads a row's bytes over its group's lines in `slab`.
  static void Store(uint8_t* slab, std::span<const uint8_t> bytes, size_t row) {
    uint8_t* line = slab + row / kGroupRows * kGroupRows * bytes.size() + row % kGroupRows * 4;
    for (size_t j = 0; j < bytes.size(); j += 4, line += 64) std::memcpy(line, &bytes[j], 4);
  }

  uint16_t ByteScale(const float* x, size_t n, double length) const {
    const double least = length / layout_.byte_reach();
    return HalfUp(std::max<double>(kernel_.largest_magnitude(x, n) / kMaxCode, least));
  }

  double WriteFirst(const Row& row) {
    // Coordinates that go on in the later slabs share one scale with these.
    const size_t end = layout_.leading() ? layout_.first_width : layout_.dimension;
    const uint16_t half = ByteScale(row.lead, end, row.length);
    const float scale = FromHalf(half);
    const double error = kernel_.quantise(row.lead, layout_.first_width, scale, first_.data());
    Store(columns_.first_slab, first_, row.index);
    columns_.scale[row.index] = half;
    columns_.error[row.index] = HalfUp(std::sqrt(error) * kSumMargin);
    return layout_.leading() ? 0 : error;
  }

  void WriteSketch(const Row& row) {
    const size_t n = layout_.first_width;
    weighted_.resize(n);
    for (size_t j = 0; j < n; ++j) {
      weighted_[j] = static_cast<float>(row.lead[j] * row.inverse_weights[j]);
    }
    const double norm = std::sqrt(SumSquares(weighted_.data(), 0, n));
    const double rms = norm / std::sqrt(static_cast<double>(n));
    const double least = row.length / layout_.sketch_reach;
    uint16_t half = 0;
    float best = std::numeric_limits<float>::infinity();
    for (const float factor : kSketchScales) {
      const uint16_t candidate = HalfUp(std::max(factor * rms, least));
      if (candidate == half) continue;
      const float error = SketchError(weighted_.data(), n, FromHalf(candidate));
      if (half != 0 && !(error < best)) continue;
      half = candidate;
      best = error;
    }
    const float scale = FromHalf(half);
    const float inverse = 1 / scale;
    values_.resize(n);
    for (size_t j = 0; j < n; ++j) values_[j] = SketchValue(weighted_[j], inverse);
    for (size_t j = 0; j < sketch_.size(); ++j) {
      const size_t at = j / 4 * 8 + j % 4;
      const auto code = [&](size_t i) { return static_cast<unsigned>(values_[i] + 7.5f); };
      sketch_[j] = static_cast<uint8_t>(code(at) | code(at + 4) << 4);
    }
    Store(columns_.sketch, sketch_, row.index);
    // w s (u - 7.5) is exact in float64 (24 + 8 + 5 bits).
    const double error = SumOver(0, n, [&](size_t j) {
      const double e =
          (row.lead[j] - double{layout_.weights[j]} * scale * values_[j]) * row.inverse_weights[j];
      return e * e;
    });
    columns_.sketch_scale[row.index] = half;
    columns_.sketch_error[row.index] = HalfUp(std::sqrt(error) * kSumMargin);
  }

  void WriteLater(const Row& row, double error) {
    const size_t begin = layout_.later_begin();
    const size_t later = layout_.later_slabs();
    const uint16_t half =
        begin > 0 ? columns_.scale[row.index] : ByteScale(row.rest, layout_.dimension, row.length);
    const float scale = FromHalf(half);
    uint8_t* const codes = Codes(row.index);
    uint16_t* const numbers = Numbers(columns_, row.index);
    numbers[0] = half;
    for (size_t level = 1; level <= later; ++level) {
      const size_t from = layout_.slab_begin(level);
      error += kernel_.quantise(row.rest + from, layout_.slab_end(level) - from, scale,
                                codes + (from - begin));
      numbers[2 * level - 1] = HalfUp(std::sqrt(error) * kSumMargin);
    }
    // From the last level down, so that a tail is a sum of later parts and not a difference.
    double tail = 0;
    for (size_t level = later; level >= 1; --level) {
      numbers[2 * level] = HalfUp(std::sqrt(tail) * kSumMargin);
      tail += SumSquares(row.rest, layout_.slab_begin(level), layout_.slab_end(level));
    }
  }

  const CodeColumns& columns_;
  const Kernel& kernel_;
  const Layout& layout_;
  std::vector<uint8_t> first_, sketch_;  // one row's bytes; behind the first slab's width: code 0
  std::vector<float> weighted_, values_;
};

// |x| - |center| and the bend (code.h), from sums that do not cancel: with g = <center, x - center>
// and c = |x - center|^2, |x|^2 - |center|^2 = 2 g + c.
void StoreNorm(const CodeColumns& columns, size_t row, double norm, double g, double c) {
  if (columns.bend == nullptr) {
    columns.norm[row] = static_cast<float>(norm);
    return;
  }
  const double sum = norm + columns.layout->center_norm;
  const auto stored = static_cast<float>(sum == 0 ? 0 : (2 * g + c) / sum);
  columns.norm[row] = stored;
  columns.bend[row] = static_cast<float>((double{stored} * stored - c) / 2);
}

// The copies for CodeColumns::row_numbers, once everything else of the row is written.
void CopyRowNumbers(const CodeColumns& columns, size_t row) {
  const size_t later = columns.layout->later_slabs();
  if (later == 0) return;
  uint16_t* const to = Numbers(columns, row) + 1 + 2 * later;
  const float bend = columns.bend == nullptr ? 0 : columns.bend[row];
  to[0] = columns.tail[row];
  std::memcpy(to + 1, columns.norm + row, sizeof(float));
  std::memcpy(to + 3, &bend, sizeof(float));
}

}  // namespace

FirstSlab CodeColumns::first(FirstCode code, size_t group, bool with_norm, bool with_bend) const {
  const bool bytes = code == FirstCode::kByte;
  return FirstSlab{.code = code,
                   .width = layout->padded_width(),
                   .codes = bytes ? first_slab : sketch,
                   .scale = bytes ? scale : sketch_scale,
                   .error = bytes ? error : sketch_error,
                   .tail = tail,
                   .bend = with_bend ? bend : nullptr,
                   .norm = with_norm ? norm : nullptr}
      .FromGroup(group);
}

float RoundUp(double value) {
  const auto nearest = static_cast<float>(value);
  if (nearest >= value) return nearest;
  return std::nextafter(nearest, std::numeric_limits<float>::infinity());
}

float RoundDown(double value) {
  const auto nearest = static_cast<float>(value);
  if (nearest <= value) return nearest;
  return std::nextafter(nearest, -std::numeric_limits<float>::infinity());
}

uint16_t HalfUp(double value) {
  const auto bits = std::bit_cast<uint32_t>(RoundUp(value));
  return static_cast<uint16_t>((bits >> 16) + ((bits & 0xFFFF) != 0 ? 1 : 0));
}

void EncodeGroup(const CodeColumns& columns, const Kernel& kernel, size_t first_row,
                 const float* rows, const double* dots) {
  const Layout& layout = *columns.layout;
  const size_t d = layout.dimension;
  std::vector<float> centered;
  double squares[kGroupRows];   // |x - center|^2
  double products[kGroupRows];  // <center, x - center>
  const float* z = rows;
  if (layout.center.empty()) {
    std::copy(dots, dots + kGroupRows, squares);
    std::fill(products, products + kGroupRows, 0.0);
  } else {
    centered.resize(kGroupRows * d);
    for (size_t i = 0; i < kGroupRows; ++i) {
      const float* x = rows + i * d;
      const float* mu = layout.center.data();
      squares[i] = SumOver(0, d, [&](size_t j) {
        const double difference = double{x[j]} - mu[j];
        return difference * difference;
      });
      products[i] = SumOver(0, d, [&](size_t j) { return mu[j] * (double{x[j]} - mu[j]); });
      for (size_t j = 0; j < d; ++j) {
        centered[i * d + j] = static_cast<float>(double{x[j]} - mu[j]);
      }
    }
    z = centered.data();
  }
  std::vector<Layout::BasisLine> projected;
  const size_t step = layout.panels() * kPanelRows;
  if (layout.has_basis()) {
    projected.resize(kGroupRows * step / 16);
    kernel.project(layout.basis_data(), layout.panels(), d, z, kGroupRows, projected[0].lane);
  }
  std::vector<double> inverse_weights(layout.weights.begin(), layout.weights.end());
  for (double& w : inverse_weights) w = 1 / w;
  GroupWriter writer(columns, kernel);
  for (size_t i = 0; i < kGroupRows; ++i) {
    const size_t row = first_row + i;
    const double length = std::sqrt(squares[i]);
    if (length == 0) {
      StoreNorm(columns, row, std::sqrt(dots[i]), 0, 0);
      writer.WriteUncoded(row, 0);
    } else if (!(length >= kLeastNorm && length <= std::min(kGreatestNorm, layout.longest))) {
      columns.norm[row] = 0;  // any numbers that are safe in the bound: the error decides
      if (columns.bend != nullptr) columns.bend[row] = 0;
      writer.WriteUncoded(row, std::numeric_limits<float>::infinity());
    } else {
      StoreNorm(columns, row, std::sqrt(dots[i]), products[i], squares[i]);
      const float* const lead = layout.has_basis() ? projected[0].lane + i * step : z + i * d;
      writer.Write({.index = row,
                    .length = length,
                    .lead = lead,
                    .rest = layout.leading() ? z + i * d : lead,
                    .inverse_weights = inverse_weights.data()});
    }
    CopyRowNumbers(columns, row);
  }
}

}  // namespace vexact

// Rows, coded, and a query of them: what every kernel function says.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <set>
#include <vector>

#include "core/code.h"
#include "core/ranking.h"
#include "core/reference_score.h"
#include "tests/exactness/layouts.h"
#include "tests/exactness/operands.h"
#include "tests/exactness/worlds.h"

namespace vexact {

inline constexpr double kAnyRank = -std::numeric_limits<double>::infinity();

using Rows = std::vector<std::vector<float>>;

// The codes of some rows, padded with the last one to whole groups.
class Codes {
 public:
  Codes(const Layout& layout, const Kernel& kernel, const Rows& rows)
      : groups_((rows.size() + kGroupRows - 1) / kGroupRows),
        first_(Room() * layout.first_bytes()),
        sketch_(Room() * layout.sketch_bytes()),
        later_(layout.later_at(Room())),
        sketch_scale_(Room()),
        sketch_error_(Room()),
        scale_(Room()),
        error_(Room()),
        tail_(Room()),
        norm_(Room()),
        bend_(Room()) {
    columns_ = {.layout = &layout,
                .capacity = Room(),
                .first_slab = first_.data(),
                .sketch = layout.has_sketch() ? sketch_.data() : nullptr,
                .sketch_scale = sketch_scale_.data(),
                .sketch_error = sketch_error_.data(),
                .scale = scale_.data(),
                .error = error_.data(),
                .tail = layout.later_slabs() > 0 ? tail_.data() : nullptr,
                .norm = norm_.data(),
                .bend = layout.center.empty() ? nullptr : bend_.data(),
                .later = later_.data()};
    for (size_t group = 0; group < groups_; ++group) {
      std::vector<float> block;
      double dots[kGroupRows];
      for (size_t i = 0; i < kGroupRows; ++i) {
        const std::vector<float>& row = rows[std::min(group * kGroupRows + i, rows.size() - 1)];
        block.insert(block.end(), row.begin(), row.end());
        dots[i] = Dot(row, row);
      }
      EncodeGroup(columns_, kernel, group * kGroupRows, block.data(), dots);
    }
  }

  const CodeColumns& columns() const { return columns_; }
  const Layout& layout() const { return *columns_.layout; }
  size_t groups() const { return groups_; }
  size_t Room() const { return groups_ * kGroupRows; }
  double Bend(size_t row) const { return columns_.bend == nullptr ? 0 : columns_.bend[row]; }

 private:
  size_t groups_;
  Aligned<uint8_t> first_, sketch_, later_;
  Aligned<uint16_t> sketch_scale_, sketch_error_, scale_, error_, tail_;
  Aligned<float> norm_, bend_;
  CodeColumns columns_;
};

// A query of some codes, and what every kernel function says of them.
class Asked {
 public:
  Asked(const Codes& codes, const std::vector<float>& query, Metric metric, const Kernel& kernel)
      : encoded(EncodeQuery(query, Dot(query, query), metric, codes.layout(), kernel)),
        ranking(metric, encoded, codes.layout()),
        codes_(codes),
        kernel_(kernel) {}
  Asked(const Asked&) = delete;

  FirstSlab Slab(Reading reading) const {
    return codes_.columns().first(
        reading == Reading::kSketch ? FirstCode::kSketch : FirstCode::kByte, 0,
        ranking.needs_norm(), ranking.needs_bend());
  }

  // The rows that are not ruled out for `tau`, in order. All of them for kAnyRank.
  std::vector<Survivor> Survivors(double tau, Reading reading) const {
    if (reading != Reading::kHighDigits) {
      Aligned<float> bounds(codes_.Room());
      const std::vector<Survivor> all = Bound(bounds, reading);
      std::vector<Survivor> out = Select(bounds, tau);
      for (Survivor& survivor : out) survivor.estimate = all[survivor.row].estimate;
      return out;
    }
    const QueryTerms terms = ranking.Terms(tau, reading);
    const auto packed = Pack({&encoded.first_high}, kernel_);
    const Tile tile{packed.data(), &encoded.first_high_sum, &terms, 1, ranking.norm_apart()};
    std::vector<Survivor> out(codes_.Room());
    out.resize(kernel_.filter_tile(Slab(reading), codes_.groups(), tile, out.data()));
    std::sort(out.begin(), out.end(),
              [](const Survivor& a, const Survivor& b) { return a.row < b.row; });
    return out;
  }

  // All rows with their estimates, and their bounds in `bounds`. Of a query that is alone: not for
  // kHighDigits.
  std::vector<Survivor> Bound(Aligned<float>& bounds, Reading reading) const {
    const auto packed = Pack({&encoded.sketch}, kernel_);
    const QueryDigits digits =
        reading == Reading::kSketch
            ? QueryDigits{packed.data(), nullptr, encoded.sketch_sum, 0}
            : QueryDigits{encoded.first_high.data(), encoded.first_low.data(),
                          encoded.first_high_sum, encoded.first_low_sum};
    std::vector<Survivor> out(codes_.Room());
    out.resize(kernel_.bound(Slab(reading), codes_.groups(), digits, ranking.BoundTerms(reading),
                             ranking.EstimateTerms(kAnyRank, reading), bounds.data(), out.data()));
    return out;
  }

  std::vector<Survivor> Select(Aligned<float>& bounds, double tau) const {
    const Ranking::Selection selection = ranking.Select(tau);
    std::vector<Survivor> out(codes_.Room());
    out.resize(kernel_.select(bounds.data(), selection.norm == 0 ? nullptr : codes_.columns().norm,
                              selection.norm, selection.threshold, codes_.groups(), out.data()));
    return out;
  }

  const EncodedQuery encoded;
  const Ranking ranking;

 private:
  const Codes& codes_;
  const Kernel& kernel_;
};

inline std::set<uint32_t> RowsOf(const std::vector<Survivor>& survivors, uint32_t query = 0) {
  std::set<uint32_t> rows;
  for (const Survivor& survivor : survivors) {
    if (survivor.query == query) rows.insert(survivor.row);
  }
  return rows;
}

// Ranks that the rows' reference scores have at least.
inline std::vector<double> Ranks(const Rows& rows, const std::vector<float>& query, Metric metric,
                                 const EncodedQuery& encoded) {
  std::vector<double> ranks;
  for (const std::vector<float>& row : rows) {
    ranks.push_back(Ranking::FromScore(
        metric, encoded, ReferenceScore(metric, query, encoded.dot, row, Dot(row, row))));
  }
  return ranks;
}

// Of the rows whose rank reaches `tau`, none is missing among `survivors`.
inline void ExpectNoneMissing(const std::set<uint32_t>& survivors, const std::vector<double>& ranks,
                              double tau) {
  for (uint32_t row = 0; row < ranks.size(); ++row) {
    if (ranks[row] >= tau) {
      ASSERT_TRUE(survivors.contains(row)) << "row " << row;
    }
  }
}

inline Rows MakeQueries(Kind kind, const Rows& rows, size_t n, Random& random) {
  Rows queries;
  for (size_t q = 0; q < n; ++q) queries.push_back(MakeQuery(kind, rows, false, random));
  return queries;
}

}  // namespace vexact

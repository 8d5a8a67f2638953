#include "core/scan_query.h"

#include <cstring>

namespace vexact {

PackedTile PackTile(std::span<const EncodedQuery* const> members, const Kernel& kernel) {
  const size_t width = members.front()->first_high.size();
  PackedTile packed{.digits = std::vector<int8_t>(width * kernel.tile_queries),
                    .sums = std::vector<int32_t>(kernel.tile_queries)};
  for (size_t q = 0; q < members.size(); ++q) {
    for (size_t j = 0; j < width; j += 4) {
      std::memcpy(packed.digits.data() + j * kernel.tile_queries + 4 * q,
                  members[q]->first_high.data() + j, 4);
    }
    packed.sums[q] = members[q]->first_high_sum;
  }
  return packed;
}

CodedQuery::CodedQuery(std::span<const float> query, double dot, Metric metric,
                       const Layout& layout, const Kernel& kernel, Term left_out, size_t k)
    : layout_(layout),
      kernel_(kernel),
      by_sketch_(layout.has_sketch() && k <= kMostBySketch),
      encoded_(EncodeQuery(query, dot, metric, layout, kernel, left_out)),
      ranking_(metric, encoded_, layout, left_out) {
  sketch_.resize(encoded_.sketch.size() * kernel.tile_queries);
  for (size_t j = 0; j < encoded_.sketch.size(); j += 4) {
    std::memcpy(sketch_.data() + j * kernel.tile_queries, encoded_.sketch.data() + j, 4);
  }
}

size_t CodedQuery::Bound(const CodeColumns& columns, size_t group, size_t groups, double about,
                         float* bounds, Survivor* out) const {
  const Reading reading = AloneReading();
  const bool sketch = reading == Reading::kSketch;
  const FirstSlab slab = columns.first(sketch ? FirstCode::kSketch : FirstCode::kByte, group,
                                       ranking_.needs_norm(), ranking_.needs_bend());
  const QueryDigits digits =
      sketch ? QueryDigits{sketch_.data(), nullptr, encoded_.sketch_sum, 0}
             : QueryDigits{encoded_.first_high.data(), encoded_.first_low.data(),
                           encoded_.first_high_sum, encoded_.first_low_sum};
  return kernel_.bound(slab, groups, digits, ranking_.BoundTerms(reading),
                       ranking_.EstimateTerms(about, reading), bounds, out);
}

size_t CodedQuery::Select(const CodeColumns& columns, size_t group, size_t groups, double tau,
                          const float* bounds, Survivor* out) const {
  const Ranking::Selection selection = ranking_.Select(tau);
  const float* const norms = selection.norm == 0 ? nullptr : columns.norm + group * kGroupRows;
  return kernel_.select(bounds, norms, selection.norm, selection.threshold, groups, out);
}

CodedQuery::Numbers CodedQuery::NumbersOf(const CodeColumns& columns, size_t row) const {
  if (layout_.later_slabs() > 0) return columns.row_numbers(row);
  return {0, columns.norm[row], columns.bend == nullptr ? 0 : columns.bend[row]};
}

CodedQuery::Refined CodedQuery::RefineBound(const CodeColumns& columns, size_t row, float bound,
                                            double tau) const {
  // What is taken away is a little less than what was added: float32's roundings stay covered.
  constexpr double kKept = 1 - 0x1p-19;
  const Numbers numbers = NumbersOf(columns, row);
  const double tail = double{ranking_.Factors(AloneReading()).tail} * numbers.tail;
  const double first = bound - ranking_.Bias(numbers.norm, numbers.bend) - tail * kKept;
  return Refine(columns, row, numbers, first, tau);
}

CodedQuery::Refined CodedQuery::RefineEstimate(const CodeColumns& columns, size_t row,
                                               float estimate, double tau) const {
  const double first = estimate + double{encoded_.coarse.constant} * FromHalf(columns.scale[row]) +
                       double{encoded_.coarse.error} * FromHalf(columns.error[row]);
  return Refine(columns, row, NumbersOf(columns, row), first, tau);
}

double CodedQuery::RankAbout(const CodeColumns& columns, size_t row, float estimate) const {
  return ranking_.Upper(estimate, 0, columns.norm[row],
                        columns.bend == nullptr ? 0 : columns.bend[row]);
}

CodedQuery::Refined CodedQuery::Refine(const CodeColumns& columns, size_t row,
                                       const Numbers& row_numbers, double first, double tau) const {
  const double norm = row_numbers.norm;
  const double bend = row_numbers.bend;
  const double needed = ranking_.Needed(tau, norm, bend);
  const size_t later = layout_.later_slabs();
  if (later == 0) return {0, !(first < needed), ranking_.Upper(first, 0, norm, bend)};
  const uint16_t* const numbers = columns.numbers(row);
  const double scale = FromHalf(numbers[0]);
  // A leading basis's later slabs start over; before they have said everything they say little.
  size_t level = layout_.leading() ? later : 1;
  double upper = layout_.leading() ? 0 : first;
  for (size_t read = 0; read < later; ++level) {
    const size_t at = read * kSlabWidth;
    const SlabProducts products =
        kernel_.slab_products(columns.later_slab(row, read + 1), encoded_.later_high.data() + at,
                              encoded_.later_low.data() + at, level - read);
    int64_t high = products.high;
    int64_t low = products.low;
    for (; read < level; ++read) {
      high -= int64_t{128} * encoded_.later_high_sums[read];
      low -= int64_t{128} * encoded_.later_low_sums[read];
    }
    upper += double{encoded_.later_scale} * scale * static_cast<double>(128 * high + low);
    const EncodedQuery::Factors& factors = encoded_.factors[level];
    const double radius = factors.constant * scale +
                          double{factors.error} * FromHalf(numbers[2 * level - 1]) +
                          double{factors.tail} * FromHalf(numbers[2 * level]);
    if (upper + radius < needed) return {read, false, 0};
    if (read == later) upper += radius;
  }
  return {later, true, ranking_.Upper(upper, 0, norm, bend)};
}

void ScanQuery::Encode(std::span<const std::shared_ptr<const Layout>> layouts, const Kernel& kernel,
                       Term left_out) {
  for (const auto& layout : layouts) {
    coded_.push_back(std::make_unique<CodedQuery>(query_.vector, query_.dot, metric_, *layout,
                                                  kernel, left_out, k_));
  }
}

void ScanQuery::Offer(const ScoredRow& row) {
  // A row that ties with the last answer may still go before it: by its id.
  if (Rank(row.score) < tau()) return;
  std::lock_guard lock(mutex_);
  top_.Offer(row);
  if (!top_.full()) return;
  Raise(tau_, Rank(top_.worst().score));
}

}  // namespace vexact

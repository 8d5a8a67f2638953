#include "core/trainer.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/eigen.h"
#include "core/reference_score.h"
#include "core/scan_query.h"
#include "core/segment_codes.h"

namespace vexact {
namespace {

// What a thread needs, in nanoseconds, as measured on a 2-vCPU AVX-512 machine both of whose
// threads were busy (docs/performance.md says how).
constexpr double kCachedByte = 0.022;  // past a query that is alone, up to kCachedBytes of all rows
constexpr double kStreamedByte = 0.064;  // from kStreamedBytes on; between them it grows evenly
constexpr double kCachedBytes = 8e6;
constexpr double kStreamedBytes = 32e6;
constexpr double kTileProduct = 0.0066;  // a byte with a query's digit, in a tile
constexpr double kTileRow = 0.35;        // a bound in a tile
constexpr double kCachedRow = 50;        // a row whose later slabs are read: the first look,
constexpr double kStreamedRow = 100;     // when all rows' are kCachedBytes and kStreamedBytes,
constexpr double kBatchRefinedRow = 58;  // the same in a batch, where one row serves many queries,
constexpr double kRefinedSlab = 8;       // and each slab
constexpr double kScoredRow = 100;       // a row that is scored,
constexpr double kScoredComponent = 0.35;  // and each of its components
// In a batch tau rises on the way, so that more rows pass level 0 than the last tau lets.
constexpr double kBatchSurvivors = 3.3;
// A batch looks at one block in ten twice.
constexpr double kBatchPasses = 1.1;

// Rows of the sample whose codes are made for each forecast.
constexpr size_t kForecastRows = 2'048;
// Another layout must be so much better than the identity to be worth its keep.
constexpr double kWorthwhile = 0.93;
// Codes take no more than this share of the rows' own memory.
constexpr double kMostMemory = 0.36;
// A center pays when the rows' mean is so much of their norm.
constexpr double kCenterShare = 0.2;
// Rows farther out than this many times the farthest row of the sample are not coded.
constexpr double kLongestFactor = 16;
// A sketch's scale is at least the one that a row of half the usual share of energy in the sketch
// would take.
constexpr double kReachFactor = 2;
constexpr float kUsualSketchScale = 0.345f;
constexpr double kLeastWeightShare = 0.02;
// Widths of the first slab that are tried, and the most that a leading basis has.
constexpr uint32_t kWidths[] = {32, 64, 96, 128, 160, 192, 224, 256, 320, 384, 448, 512};
constexpr uint32_t kMaxLeading = 256;

// Counts the rows that pass each level of a query that is alone, and those to be scored.
void CountAlone(const CodedQuery& query, const CodeColumns& columns, size_t n, double tau,
                LayoutForecast& forecast) {
  constexpr double kNone = std::numeric_limits<double>::infinity();
  std::vector<Survivor> survivors(n);
  std::vector<Layout::BasisLine> bounds(n / kGroupRows);
  query.Bound(columns, 0, n / kGroupRows, kNone, bounds[0].lane, survivors.data());
  const size_t count =
      query.Select(columns, 0, n / kGroupRows, tau, bounds[0].lane, survivors.data());
  for (size_t i = 0; i < count; ++i) {
    const uint32_t row = survivors[i].row;
    const auto refined = query.RefineBound(columns, row, bounds[0].lane[row], tau);
    refined.AddTo(forecast.passed);
    forecast.scored += refined.survived ? 1 : 0;
  }
}

// The rows that pass level 0 of a query in a batch.
size_t CountInBatch(const CodedQuery& query, const CodeColumns& columns, size_t n, double tau,
                    const Kernel& kernel) {
  const EncodedQuery* const member = &query.encoded();
  const PackedTile packed = PackTile({&member, 1}, kernel);
  const std::vector<QueryTerms> terms(kernel.tile_queries,
                                      query.ranking().Terms(tau, Reading::kHighDigits));
  const FirstSlab slab = columns.first(FirstCode::kByte, 0, query.ranking().needs_norm(),
                                       query.ranking().needs_bend());
  std::vector<Survivor> survivors(n);
  return kernel.filter_tile(
      slab, n / kGroupRows,
      {packed.digits.data(), packed.sums.data(), terms.data(), 1, query.ranking().norm_apart()},
      survivors.data());
}

// What costs `cached` where `bytes` stay in the cores' shared cache, and `streamed` where memory
// has to bring them each time.
double MemoryCost(double bytes, double cached, double streamed) {
  const double share = std::clamp(
      std::log(bytes / kCachedBytes) / std::log(kStreamedBytes / kCachedBytes), 0.0, 1.0);
  return cached * std::pow(streamed / cached, share);
}

// For each of `bytes` that every query reads.
double StreamCost(double bytes) { return MemoryCost(bytes, kCachedByte, kStreamedByte); }

// Turns counts into bytes and time.
void AddCosts(const TrainingSample& sample, const Layout& layout, LayoutForecast& forecast) {
  const auto d = static_cast<double>(sample.dimension);
  const size_t norms = layout.center.empty() ? (sample.metric == Metric::kInnerProduct ? 0 : 1) : 2;
  const auto streamed = static_cast<double>(layout.alone_row_bytes() + 4 * norms);
  forecast.bytes_per_query = static_cast<double>(layout.panels() * kPanelRows) * sizeof(float) * d;
  const auto rows = static_cast<double>(sample.collection_rows);
  const double projection = forecast.bytes_per_query / rows * StreamCost(forecast.bytes_per_query);
  const double score = kScoredRow + kScoredComponent * d;
  // A refined row, on average: what the levels let through, relative to the first.
  double slabs = 0;
  for (size_t level = 0; level + 1 < layout.levels(); ++level) slabs += forecast.passed[level];
  if (layout.leading()) slabs = forecast.passed[0] * static_cast<double>(layout.later_slabs());
  forecast.bytes_per_row = streamed + slabs * kSlabWidth + forecast.scored * sizeof(float) * d;
  const double refined_row =
      MemoryCost(rows * static_cast<double>(layout.later_bytes()), kCachedRow, kStreamedRow);
  const double refine = forecast.passed[0] * refined_row + slabs * kRefinedSlab;
  forecast.alone_nanoseconds =
      streamed * StreamCost(streamed * rows) + projection + refine + forecast.scored * score;
  const double per_survivor =
      layout.later_slabs() == 0
          ? score
          : kBatchRefinedRow +
                kRefinedSlab * (layout.leading() ? static_cast<double>(layout.later_slabs()) : 1);
  forecast.batch_nanoseconds =
      kBatchPasses * (kTileProduct * static_cast<double>(layout.padded_width()) + kTileRow) +
      projection / 2 + kBatchSurvivors * forecast.batch_passed * per_survivor +
      forecast.scored * score;
}

class Trainer {
 public:
  Trainer(const TrainingSample& sample, const Kernel& kernel, const std::function<bool()>& go_on)
      : sample_(sample), kernel_(kernel), go_on_(go_on), d_(sample.dimension) {}

  TrainedLayout Find() {
    FindCenter();
    FindSquares();
    const size_t count = d_ <= kMaxWholeDimension ? d_ : std::min<size_t>(d_, kMaxLeading);
    directions_ = FindDirections(sample_.rows, center_, d_, count, go_on_);
    if (!go_on_()) return {};
    TrainedLayout best = Weigh(Layout::Identity(sample_.dimension));
    double least = best.forecast.nanoseconds() * kWorthwhile;
    for (const bool leading : {false, true}) {
      if (!leading && d_ > kMaxWholeDimension) continue;
      for (const uint32_t width : kWidths) {
        if (width > count || (leading && width >= d_)) continue;
        for (const bool sketch : {true, false}) {
          auto layout = Make(width, leading, sketch);
          if (static_cast<double>(layout->code_bytes()) >
              kMostMemory * 4 * static_cast<double>(d_)) {
            continue;
          }
          TrainedLayout weighed = Weigh(std::move(layout));
          if (!go_on_()) return {};
          if (weighed.forecast.nanoseconds() >= least) continue;
          least = weighed.forecast.nanoseconds();
          best = std::move(weighed);
        }
      }
    }
    best.trained_rows = sample_.collection_rows;
    best.energy = Energy(*best.layout);
    return best;
  }

 private:
  void FindCenter() {
    std::vector<double> mean(d_);
    const size_t n = sample_.size();
    double squares = 0;
    for (size_t i = 0; i < n; ++i) {
      const float* x = sample_.rows.data() + i * d_;
      for (size_t j = 0; j < d_; ++j) mean[j] += x[j];
      squares += Dot({x, d_}, {x, d_});
    }
    double center_squares = 0;
    for (double& m : mean) {
      m /= static_cast<double>(n);
      center_squares += m * m;
    }
    if (center_squares < kCenterShare * kCenterShare * squares / static_cast<double>(n)) return;
    center_.assign(mean.begin(), mean.end());
  }

  // |x - center|^2 of each row, and the farthest.
  void FindSquares() {
    for (size_t i = 0; i < sample_.size(); ++i) {
      double sum = 0;
      for (size_t j = 0; j < d_; ++j) {
        const double z = double{sample_.rows[i * d_ + j]} - (center_.empty() ? 0 : center_[j]);
        sum += z * z;
      }
      squares_.push_back(sum);
      farthest_ = std::max(farthest_, std::sqrt(sum));
    }
  }

  std::shared_ptr<const Layout> Make(uint32_t width, bool leading, bool sketch) const {
    auto layout = std::make_shared<Layout>();
    layout->dimension = sample_.dimension;
    layout->first_width = width;
    if (!center_.empty()) {
      layout->center = center_;
      layout->center_norm = std::sqrt(Dot(center_, center_));
      layout->longest = kLongestFactor * farthest_;
    }
    layout->basis_rows = leading ? width : sample_.dimension;
    layout->basis.resize(layout->panels() * d_ * (kPanelRows / 16));
    for (size_t i = 0; i < layout->basis_rows; ++i) {
      for (size_t j = 0; j < d_; ++j) {
        layout->basis_at(i, j) = static_cast<float>(directions_.vectors[i * d_ + j]);
      }
    }
    Certify(*layout);
    if (sketch) AddSketch(*layout);
    return layout;
  }

  // Every basis in question is the beginning of one: its defect covers theirs.
  void Certify(Layout& layout) const {
    if (defect_ < 0) {
      const size_t count = directions_.squares.size();
      defect_ = OrthonormalityDefect(count, d_, [&](size_t i, size_t j) {
        return double{static_cast<float>(directions_.vectors[i * d_ + j])};
      });
    }
    layout.defect = defect_;
    layout.projection_error = layout.ProjectionBound();
  }

  void AddSketch(Layout& layout) const {
    // The residuals of all coordinates weigh about the same when a coordinate's unit is the root of
    // its deviation.
    const double widest = std::sqrt(std::sqrt(std::max(directions_.squares[0], 0.0)));
    for (size_t j = 0; j < layout.first_width; ++j) {
      const double deviation = std::sqrt(std::max(directions_.squares[j], 0.0));
      const double weight = std::max(std::sqrt(deviation), kLeastWeightShare * widest);
      layout.weights.push_back(weight > 0 ? static_cast<float>(weight) : 1.0f);
    }
    std::vector<double> ratios;
    const size_t n = std::min(sample_.size(), kForecastRows) / kGroupRows * kGroupRows;
    std::vector<float> z(d_);
    std::vector<Layout::BasisLine> y(layout.panels() * kPanelRows / 16);
    for (size_t i = 0; i < n; i += 4) {  // a quarter of them tells as much
      for (size_t j = 0; j < d_; ++j) {
        z[j] = sample_.rows[i * d_ + j] - (center_.empty() ? 0 : center_[j]);
      }
      kernel_.project(layout.basis_data(), layout.panels(), d_, z.data(), 1, y[0].lane);
      double sum = 0;
      for (size_t j = 0; j < layout.first_width; ++j) {
        const double weighted = double{y[0].lane[j]} / layout.weights[j];
        sum += weighted * weighted;
      }
      const double scale = kUsualSketchScale * std::sqrt(sum / layout.first_width);
      if (scale > 0) ratios.push_back(std::sqrt(squares_[i]) / scale);
    }
    double usual = std::sqrt(static_cast<double>(d_)) / kUsualSketchScale;
    if (!ratios.empty()) {
      const auto middle = ratios.begin() + static_cast<ptrdiff_t>(ratios.size() / 2);
      std::nth_element(ratios.begin(), middle, ratios.end());
      usual = *middle;
    }
    layout.sketch_reach = static_cast<float>(kReachFactor * usual);
  }

  TrainedLayout Weigh(std::shared_ptr<const Layout> layout) const {
    TrainedLayout trained;
    trained.forecast = Forecast(sample_, *layout, kernel_);
    trained.layout = std::move(layout);
    return trained;
  }

  std::vector<double> Energy(const Layout& layout) const {
    std::vector<double> energy;
    const double all = std::accumulate(squares_.begin(), squares_.end(), 0.0) /
                       static_cast<double>(squares_.size());
    if (!layout.has_basis() || all == 0) return energy;
    double sum = 0;
    for (size_t j = 0; j < layout.basis_rows; ++j) {
      sum += std::max(0.0, directions_.squares[j]);
      energy.push_back(std::min(1.0, sum / all));
    }
    return energy;
  }

  const TrainingSample& sample_;
  const Kernel& kernel_;
  const std::function<bool()>& go_on_;
  const size_t d_;
  std::vector<float> center_;
  std::vector<double> squares_;
  double farthest_ = 0;
  Directions directions_;
  mutable double defect_ = -1;
};

}  // namespace

LayoutForecast Forecast(const TrainingSample& sample, const Layout& layout, const Kernel& kernel) {
  const size_t d = sample.dimension;
  const size_t n = std::min(sample.size(), kForecastRows) / kGroupRows * kGroupRows;
  LayoutForecast forecast{.passed = std::vector<double>(layout.levels())};
  const auto codes = SegmentCodes::Create(
      std::shared_ptr<const Layout>(std::shared_ptr<void>(), &layout), static_cast<uint32_t>(n));
  if (!codes.ok()) return forecast;
  const CodeColumns& columns = (*codes)->columns();
  for (size_t i = 0; i < n; i += kGroupRows) {
    double dots[kGroupRows];
    for (size_t r = 0; r < kGroupRows; ++r) {
      const std::span<const float> row(sample.rows.data() + (i + r) * d, d);
      dots[r] = Dot(row, row);
    }
    EncodeGroup(columns, kernel, i, sample.rows.data() + i * d, dots);
  }
  size_t batch_survivors = 0;
  for (size_t q = 0; q < sample.scores.size(); ++q) {
    const std::span<const float> vector(sample.queries.data() + q * d, d);
    const CodedQuery query(vector, Dot(vector, vector), sample.metric, layout, kernel);
    const double tau = Ranking::FromScore(sample.metric, query.encoded(), sample.scores[q]);
    CountAlone(query, columns, n, tau, forecast);
    batch_survivors += CountInBatch(query, columns, n, tau, kernel);
  }
  const auto pairs = static_cast<double>(n * sample.scores.size());
  for (double& share : forecast.passed) share /= pairs;
  forecast.scored /= pairs;
  forecast.batch_passed = static_cast<double>(batch_survivors) / pairs;
  AddCosts(sample, layout, forecast);
  return forecast;
}

TrainedLayout Train(const TrainingSample& sample, const Kernel& kernel,
                    const std::function<bool()>& go_on) {
  return Trainer(sample, kernel, go_on).Find();
}

}  // namespace vexact

#include "core/layout_care.h"

#include <algorithm>
#include <random>
#include <utility>

#include "absl/strings/str_format.h"

namespace vexact {
namespace {

// A layout is trained on so many rows of a sample, and its forecast made for so many of them as
// queries.
constexpr size_t kLeastSample = 4'096;
constexpr size_t kMostSample = 8'192;
constexpr size_t kSampleQueries = 48;
// Below this a search is short as it is (docs/performance.md).
constexpr uint64_t kTrainingRows = 8'192;
constexpr uint64_t kRetrainGrowth = 4;
// The layout is replaced when another promises so much less.
constexpr double kReplaceBelow = 0.9;
// Drift: among searches for few neighbours, so many a window, the share of rows that pass the first
// slab has risen so far since the layout came into use, and something was written meanwhile.
constexpr uint32_t kDriftK = 100;
constexpr uint64_t kDriftSearches = 256;
constexpr double kDriftFactor = 3;
constexpr double kDriftLeastShare = 0.005;

absl::Status Stopped() { return absl::CancelledError("the server is stopping"); }

// One of each of `wanted` stretches of the live rows, chosen by a seeded generator.
std::vector<RowRef> ChooseRows(const CollectionState& state, size_t wanted) {
  std::mt19937_64 random(state.live_rows);
  std::vector<RowRef> chosen;
  uint64_t seen = 0;
  uint64_t next = 0;
  const auto end_of_stretch = [&](uint64_t i) { return (i + 1) * state.live_rows / wanted; };
  const auto choose_next = [&] {
    const uint64_t begin = chosen.empty() ? 0 : end_of_stretch(chosen.size() - 1);
    next = begin + random() % (end_of_stretch(chosen.size()) - begin);
  };
  choose_next();
  for (const CollectionState::Part& part : state.parts) {
    for (uint32_t row = 0; row < part.rows && chosen.size() < wanted; ++row) {
      if (!part.segment->IsLive(row, state.sequence) || seen++ != next) continue;
      chosen.push_back({part.segment.get(), row});
      if (chosen.size() < wanted) choose_next();
    }
  }
  return chosen;
}

}  // namespace

LayoutCare::LayoutCare(RowTable& table, Engine& scan) : table_(table), scan_(scan) {
  record_.trained.layout = table.tuning.layout != nullptr
                               ? table.tuning.layout
                               : Layout::Identity(table.config.dimension);
  observed_.passed.resize(record_.trained.layout->levels());
}

std::shared_ptr<const Layout> LayoutCare::current() const {
  std::lock_guard lock(mutex_);
  return record_.trained.layout;
}

absl::StatusOr<TrainingSample> LayoutCare::Sample(const CollectionState& state,
                                                  const std::stop_token& stop) const {
  const uint32_t dimension = table_.config.dimension;
  TrainingSample sample{.dimension = dimension,
                        .metric = state.metric,
                        .collection_rows = state.live_rows,
                        .rows = {},
                        .queries = {},
                        .scores = {}};
  const size_t wanted =
      std::min<size_t>(std::clamp<size_t>(4 * size_t{dimension}, kLeastSample, kMostSample),
                       state.live_rows) /
      kGroupRows * kGroupRows;
  if (wanted == 0) {
    return absl::FailedPreconditionError(
        absl::StrFormat("collection \"%s\" has %d rows; a layout is trained on at least %d",
                        table_.name, state.live_rows, kGroupRows));
  }
  const std::vector<RowRef> chosen = ChooseRows(state, wanted);
  for (const RowRef& row : chosen) {
    sample.rows.insert(sample.rows.end(), row.vector().begin(), row.vector().end());
  }
  std::vector<EngineQuery> queries;
  for (size_t q = 0; q < std::min(kSampleQueries, chosen.size()); ++q) {
    const RowRef& row = chosen[q * chosen.size() / std::min(kSampleQueries, chosen.size())];
    queries.push_back({row.vector(), row.dot(), row});
    sample.queries.insert(sample.queries.end(), row.vector().begin(), row.vector().end());
  }
  auto answer = scan_.Search(state, state.metric, queries, kTrainingK, {.stop = stop});
  if (!answer.ok()) return stop.stop_requested() ? Stopped() : answer.status();
  for (const std::vector<ScoredRow>& hits : answer->hits) {
    sample.scores.push_back(hits.empty() ? 0 : hits.back().score);
  }
  return sample;
}

absl::StatusOr<bool> LayoutCare::Train(const std::stop_token& stop) {
  const Snapshot state = table_.state.Take();
  const auto sample = Sample(*state, stop);
  if (!sample.ok()) return sample.status();
  TrainedLayout trained = vexact::Train(*sample, table_.kernel(), [&] {
    table_.GiveWay();
    return !stop.stop_requested();
  });
  if (trained.layout == nullptr) return Stopped();
  const LayoutForecast now = Forecast(*sample, *current(), table_.kernel());
  if (trained.forecast.nanoseconds() < kReplaceBelow * now.nanoseconds()) {
    Set(std::move(trained));
    return true;
  }
  // The one in use stays, with what is known of it today.
  std::lock_guard lock(mutex_);
  ++record_.generation;
  record_.weighed_rows = state->live_rows;
  if (!record_.trained.layout->has_basis()) record_.trained.trained_rows = record_.weighed_rows;
  record_.trained.forecast = now;
  sequence_ = state->sequence;
  observed_.first_share = observed_.late_share;
  return false;
}

void LayoutCare::Set(TrainedLayout layout) {
  const uint64_t sequence = table_.state.Take()->sequence;
  std::lock_guard lock(mutex_);
  observed_ = {};
  observed_.passed.resize(layout.layout->levels());
  ++record_.generation;
  record_.weighed_rows = layout.trained_rows;
  record_.trained = std::move(layout);
  sequence_ = sequence;
}

LayoutRecord LayoutCare::record() const {
  std::lock_guard lock(mutex_);
  return record_;
}

void LayoutCare::Restore(LayoutRecord record, uint64_t sequence) {
  std::lock_guard lock(mutex_);
  observed_ = {};
  observed_.passed.resize(record.trained.layout->levels());
  record_ = std::move(record);
  sequence_ = sequence;
}

absl::Status LayoutCare::Recode(const std::stop_token& stop) {
  while (true) {
    const auto more = RecodeOne(current(), stop);
    if (!more.ok()) return more.status();
    if (!*more) return absl::OkStatus();
  }
}

absl::StatusOr<bool> LayoutCare::RecodeOne(const std::shared_ptr<const Layout>& layout,
                                           const std::stop_token& stop) {
  Snapshot state = table_.state.Take();
  const auto stale = std::find_if(
      state->parts.begin(), state->parts.end(),
      [&](const CollectionState::Part& part) { return part.codes->layout() != layout; });
  if (stale == state->parts.end()) return false;
  const std::shared_ptr<Segment> segment = stale->segment;
  auto created = SegmentCodes::Create(layout, segment->capacity());
  if (!created.ok()) return created.status();
  std::shared_ptr<SegmentCodes> codes = *std::move(created);
  // Without a lock: published rows never change. Rows that are added meanwhile are coded in further
  // rounds, until what is left is little.
  uint32_t coded = 0;
  while (true) {
    const auto part =
        std::find_if(state->parts.begin(), state->parts.end(),
                     [&](const CollectionState::Part& other) { return other.segment == segment; });
    const uint32_t rows = part->rows;
    if (rows - coded < kBackgroundRows) break;
    for (; coded + kBackgroundRows <= rows; coded += kBackgroundRows) {
      if (stop.stop_requested()) return Stopped();
      codes->Encode(*segment, table_.kernel(), coded, coded + kBackgroundRows);
      table_.GiveWay();
    }
    state = table_.state.Take();
  }
  Publish(segment.get(), std::move(codes), coded);
  return true;
}

void LayoutCare::Publish(const Segment* segment, std::shared_ptr<SegmentCodes> codes,
                         uint32_t coded) {
  std::lock_guard writing(table_.write_mutex);
  CollectionState state = *table_.state.Take();
  const auto part = std::find_if(
      state.parts.begin(), state.parts.end(),
      [&](const CollectionState::Part& other) { return other.segment.get() == segment; });
  codes->Encode(*segment, table_.kernel(), coded, part->rows);
  part->codes = std::move(codes);
  table_.state.Publish(std::move(state));
}

uint64_t LayoutCare::TrainingRows() const {
  if (table_.tuning.training_rows != 0) return table_.tuning.training_rows;
  return std::max<uint64_t>(kTrainingRows, 4 * uint64_t{table_.config.dimension});
}

bool LayoutCare::IsTrainingDue(const CollectionState& state) const {
  if (state.live_rows < TrainingRows()) return false;
  std::lock_guard lock(mutex_);
  if (state.live_rows >= kRetrainGrowth * record_.weighed_rows) return true;
  return state.sequence > sequence_ && HasDrifted();
}

bool LayoutCare::HasDrifted() const {
  return observed_.first_share >= 0 &&
         observed_.late_share > kDriftFactor * std::max(observed_.first_share, kDriftLeastShare);
}

bool LayoutCare::Observe(const SearchStatistics& statistics, size_t queries, uint32_t k) {
  bool drifted = false;
  std::lock_guard lock(mutex_);
  for (const SearchStatistics::LayoutUse& use : statistics.layouts) {
    if (use.layout != record_.trained.layout.get()) continue;
    Observed& seen = observed_;
    seen.rows += use.rows;
    for (size_t level = 0; level < use.passed.size(); ++level) {
      seen.passed[level] += use.passed[level];
    }
    if (k > kDriftK) continue;
    seen.window_searches += queries;
    seen.window_rows += use.rows;
    seen.window_passed += use.passed[0];
    if (seen.window_searches < kDriftSearches || seen.window_rows == 0) continue;
    seen.late_share =
        static_cast<double>(seen.window_passed) / static_cast<double>(seen.window_rows);
    seen.window_searches = seen.window_rows = seen.window_passed = 0;
    if (seen.first_share < 0) seen.first_share = seen.late_share;
    drifted = HasDrifted();
  }
  observed_.searches += queries;
  observed_.bytes += statistics.bytes_read;
  return drifted;
}

LayoutInfo LayoutCare::info() const {
  const Snapshot state = table_.state.Take();
  LayoutInfo info;
  std::lock_guard lock(mutex_);
  info.trained = record_.trained;
  for (const CollectionState::Part& part : state->parts) {
    const uint64_t rows = part.rows / kGroupRows * kGroupRows;
    info.rows += rows;
    if (part.codes->layout() == record_.trained.layout) info.coded_rows += rows;
  }
  info.searches = observed_.searches;
  if (observed_.rows > 0) {
    for (const uint64_t passed : observed_.passed) {
      info.observed_passed.push_back(static_cast<double>(passed) /
                                     static_cast<double>(observed_.rows));
    }
  }
  if (observed_.searches > 0) {
    info.observed_bytes =
        static_cast<double>(observed_.bytes) / static_cast<double>(observed_.searches);
  }
  return info;
}

}  // namespace vexact

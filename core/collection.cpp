#include "core/collection.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <shared_mutex>

#include "absl/strings/str_format.h"
#include "core/reference_score.h"
#include "core/validate.h"

namespace vexact {
namespace {

// Bytes of raw rows in a full-sized segment: large enough that a scan of many segments is a scan of
// memory, small enough that rewriting one is short.
constexpr size_t kSegmentBytes = size_t{64} << 20;
constexpr uint32_t kMinSegmentRows = 32;
constexpr uint32_t kMaxSegmentRows = 65'536;
// A collection's first segment; each further one is as large as all before it, up to the full size.
constexpr uint32_t kFirstSegmentRows = 1'024;

// A full segment is rewritten when more than 1 / kDeadShare of its rows are dead, and joined on the
// way when it has less than 1 / kSmallShare of a full one's rows.
constexpr uint32_t kDeadShare = 4;
constexpr uint32_t kSmallShare = 4;

// Rows that are coded between two looks at whether a search waits, and how long one may be waited
// for: the background gets a third of a thread while searches follow one another.
constexpr uint32_t kRecodeRows = 16 * kGroupRows;
constexpr absl::Duration kGiveWayFor = absl::Milliseconds(2);
constexpr absl::Duration kGiveWayStep = absl::Microseconds(100);

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

bool IsGarbage(const CollectionState::Part& part) {
  return part.segment->dead() > part.rows / kDeadShare;
}

// The first id that occurs twice, as a pair of positions (earlier, later).
std::optional<std::pair<size_t, size_t>> FindDuplicate(size_t n, auto&& id) {
  size_t ascending = 1;
  while (ascending < n && id(ascending - 1) < id(ascending)) ++ascending;
  if (ascending >= n) return std::nullopt;
  std::vector<size_t> order(n);
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const IdView ida = id(a);
    const IdView idb = id(b);
    return ida < idb || (ida == idb && a < b);
  });
  std::optional<std::pair<size_t, size_t>> first;
  for (size_t i = 1; i < n; ++i) {
    if (id(order[i - 1]) == id(order[i]) && (!first || order[i] < first->second)) {
      first = {order[i - 1], order[i]};
    }
  }
  return first;
}

absl::Status ValidateIds(std::string_view what, size_t n, auto&& id) {
  for (size_t i = 0; i < n; ++i) {
    if (absl::Status status = ValidateId(id(i)); !status.ok()) {
      return absl::InvalidArgumentError(
          absl::StrFormat("%s %d: %s", what, i, std::string(status.message())));
    }
  }
  if (const auto twice = FindDuplicate(n, id)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s %d: id %s occurs already at %s %d; an id may occur once in a request",
                        what, twice->second, Describe(id(twice->second)), what, twice->first));
  }
  return absl::OkStatus();
}

// A vector before it is stored or searched for: what is wrong with it, and its own dot product.
absl::StatusOr<double> CheckVector(const std::string& what, std::span<const float> vector,
                                   const std::string& collection, const CollectionConfig& config) {
  if (vector.size() != config.dimension) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s has %d components; collection \"%s\" has %d dimensions", what,
                        vector.size(), collection, config.dimension));
  }
  if (absl::Status status = ValidateFinite(what, vector); !status.ok()) return status;
  const double dot = Dot(vector, vector);
  if (config.normalization == Normalization::kL2 && dot == 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s is a zero vector, which cannot be L2-normalised; collection \"%s\" normalises", what,
        collection));
  }
  if (config.normalization == Normalization::kRequireUnit &&
      std::abs(std::sqrt(dot) - 1) > kUnitTolerance) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s has norm %.6g; collection \"%s\" requires a norm of 1 within %g", what,
                        std::sqrt(dot), collection, kUnitTolerance));
  }
  return dot;
}

absl::Status ZeroUnderCosine(std::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrFormat("%s is a zero vector, which has no direction under cosine", what));
}

absl::Status CheckCosineAllowed(const CollectionState& state, const std::string& collection) {
  if (!state.first_zero_row) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrFormat("collection \"%s\" stores a zero vector under id %s, which has no direction "
                      "under cosine; delete "
                      "or replace it first",
                      collection, Describe(View(*state.first_zero_row))));
}

}  // namespace

absl::Status Collection::Validate(const CollectionConfig& config) {
  if (config.dimension == 0 || config.dimension > kMaxDimension) {
    return absl::InvalidArgumentError(
        absl::StrFormat("dimension is %d; it must be 1 to %d", config.dimension, kMaxDimension));
  }
  return absl::OkStatus();
}

Collection::Collection(std::string name, const CollectionConfig& config, Workers& workers,
                       std::function<void()> on_work, const CollectionTuning& tuning)
    : name_(std::move(name)),
      config_(config),
      workers_(workers),
      on_work_(std::move(on_work)),
      tuning_(tuning),
      state_(CollectionState{.metric = config.metric}) {
  layout_.layout = tuning.layout != nullptr ? tuning.layout : Layout::Identity(config.dimension);
  observed_.passed.resize(layout_.layout->levels());
  engines_[static_cast<size_t>(EngineKind::kScan)] = MakeScanEngine(workers, tuning.scan);
  engines_[static_cast<size_t>(EngineKind::kReference)] = MakeReferenceEngine(workers);
  engines_[static_cast<size_t>(EngineKind::kFaiss)] = MakeFaissEngine(workers);
}

Collection::~Collection() = default;

absl::StatusOr<UpsertResult> Collection::Upsert(std::span<const PointView> points) {
  if (points.empty())
    return absl::InvalidArgumentError("the request has no points; it needs at least 1");
  if (absl::Status status =
          ValidateIds("row", points.size(), [&](size_t i) { return points[i].id; });
      !status.ok()) {
    return status;
  }
  std::vector<double> dots(points.size());
  for (size_t i = 0; i < points.size(); ++i) {
    const auto dot = CheckVector(absl::StrFormat("row %d", i), points[i].vector, name_, config_);
    if (!dot.ok()) return dot.status();
    dots[i] = *dot;
  }
  std::lock_guard writing(write_mutex_);
  CollectionState state = *state_.Take();
  if (state.metric == Metric::kCosine) {
    for (size_t i = 0; i < points.size(); ++i) {
      if (dots[i] == 0) return ZeroUnderCosine(absl::StrFormat("row %d", i));
    }
  }
  const auto rows = Append(points, dots, state);
  if (!rows.ok()) return rows.status();
  const UpsertResult result = PublishUpsert(points, *rows, std::move(state));
  ReportWork();
  return result;
}

absl::StatusOr<std::vector<RowLocation>> Collection::Append(std::span<const PointView> points,
                                                            std::span<const double> dots,
                                                            CollectionState& state) {
  if (!state.parts.empty()) {
    // A write that failed half-way may have left rows behind the published ones.
    CollectionState::Part& last = state.parts.back();
    if (last.segment->size() > last.rows) last.segment->Truncate(last.rows);
  }
  std::vector<RowLocation> rows;
  rows.reserve(points.size());
  std::vector<float> normal(config_.normalization == Normalization::kL2 ? config_.dimension : 0);
  for (size_t i = 0; i < points.size(); ++i) {
    if (state.parts.empty() || state.parts.back().rows == state.parts.back().segment->capacity()) {
      auto part = NewPart(CurrentLayout(), NextSegmentRows(state.live_rows + state.dead_rows + i));
      if (!part.ok()) return part.status();
      state.parts.push_back(*std::move(part));
    }
    CollectionState::Part& part = state.parts.back();
    std::span<const float> vector = points[i].vector;
    double dot = dots[i];
    if (!normal.empty()) {
      L2Normalize(vector, dot, normal);
      vector = normal;
      dot = Dot(vector, vector);
    }
    part.segment->Append(points[i].id, vector, dot);
    rows.push_back({part.segment.get(), part.rows++});
    part.codes->Encode(*part.segment, kernel(), part.rows - 1, part.rows);
  }
  return rows;
}

absl::StatusOr<CollectionState::Part> Collection::NewPart(std::shared_ptr<const Layout> layout,
                                                          uint32_t rows) const {
  auto segment = Segment::Create(config_.dimension, rows);
  if (!segment.ok()) return segment.status();
  auto codes = SegmentCodes::Create(std::move(layout), (*segment)->capacity());
  if (!codes.ok()) return codes.status();
  return CollectionState::Part{*std::move(segment), *std::move(codes), 0};
}

// noexcept: the index and the state must change together. Running out of memory half-way ends the
// process rather than leave a collection that contradicts itself.
UpsertResult Collection::PublishUpsert(std::span<const PointView> points,
                                       std::span<const RowLocation> rows,
                                       CollectionState state) noexcept {
  UpsertResult result{.sequence = ++state.sequence};
  std::unique_lock indexing(index_mutex_);
  for (size_t i = 0; i < points.size(); ++i) {
    const bool is_zero = rows[i].segment->dot(rows[i].row) == 0;
    const auto previous = index_.Set(points[i].id, rows[i], is_zero);
    if (previous) previous->segment->Bury(previous->row, state.sequence);
    ++(previous ? result.replaced : result.added);
  }
  state.live_rows += result.added;
  state.dead_rows += result.replaced;
  state.first_zero_row = index_.first_zero_row();
  state_.Publish(std::move(state));
  return result;
}

absl::StatusOr<DeleteResult> Collection::Delete(std::span<const IdView> ids) {
  if (ids.empty()) return absl::InvalidArgumentError("the request has no ids; it needs at least 1");
  if (absl::Status status = ValidateIds("id number", ids.size(), [&](size_t i) { return ids[i]; });
      !status.ok()) {
    return status;
  }
  std::lock_guard writing(write_mutex_);
  const DeleteResult result = PublishDelete(ids, *state_.Take());
  if (result.deleted > 0) ReportWork();
  return result;
}

// noexcept: as PublishUpsert.
DeleteResult Collection::PublishDelete(std::span<const IdView> ids,
                                       CollectionState state) noexcept {
  DeleteResult result;
  std::unique_lock indexing(index_mutex_);
  for (const IdView id : ids) {
    const auto removed = index_.Remove(id);
    if (removed) removed->segment->Bury(removed->row, state.sequence + 1);
    ++(removed ? result.deleted : result.missing);
  }
  if (result.deleted > 0) {
    ++state.sequence;
    state.live_rows -= result.deleted;
    state.dead_rows += result.deleted;
    state.first_zero_row = index_.first_zero_row();
    result.sequence = state.sequence;
    state_.Publish(std::move(state));
  } else {
    result.sequence = state.sequence;
  }
  return result;
}

absl::Status Collection::SetMetric(Metric metric) {
  std::lock_guard writing(write_mutex_);
  CollectionState state = *state_.Take();
  if (state.metric == metric) return absl::OkStatus();
  if (metric == Metric::kCosine) {
    if (absl::Status status = CheckCosineAllowed(state, name_); !status.ok()) return status;
  }
  state.metric = metric;
  ++state.sequence;
  state_.Publish(std::move(state));
  return absl::OkStatus();
}

absl::StatusOr<PointsResult> Collection::Get(std::span<const IdView> ids) const {
  if (ids.empty()) return absl::InvalidArgumentError("the request has no ids; it needs at least 1");
  PointsResult result;
  result.points.reserve(ids.size());
  std::shared_lock lock(index_mutex_);
  result.snapshot = state_.Take();
  for (const IdView id : ids) {
    const auto row = index_.Find(id);
    if (!row) return NotStored(id);
    result.points.push_back({row->segment, row->row});
  }
  return result;
}

absl::StatusOr<PointsResult> Collection::Scroll(std::optional<IdView> after,
                                                uint32_t page_size) const {
  if (page_size == 0 || page_size > kMaxPageSize) {
    return absl::InvalidArgumentError(
        absl::StrFormat("page_size is %d; it must be 1 to %d", page_size, kMaxPageSize));
  }
  PointsResult result;
  std::shared_lock lock(index_mutex_);
  result.snapshot = state_.Take();
  index_.VisitAfter(after, [&](const RowLocation& row) {
    if (result.points.size() == page_size) {
      result.next = Own(result.points.back().id());
      return false;
    }
    result.points.push_back({row.segment, row.row});
    return true;
  });
  return result;
}

absl::StatusOr<SearchResult> Collection::Search(std::span<const Query> queries,
                                                const SearchOptions& options,
                                                const Interrupt& interrupt) const {
  if (queries.empty() || queries.size() > kMaxQueries) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "the request has %d queries; it must have 1 to %d", queries.size(), kMaxQueries));
  }
  if (options.k == 0 || options.k > kMaxK) {
    return absl::InvalidArgumentError(
        absl::StrFormat("k is %d; it must be 1 to %d", options.k, kMaxK));
  }
  SearchResult result;
  std::vector<RowRef> stored;
  if (absl::Status status = TakeSnapshot(queries, result.snapshot, stored); !status.ok()) {
    return status;
  }
  const CollectionState& state = *result.snapshot;
  result.metric = options.metric.value_or(state.metric);
  if (result.metric == Metric::kCosine) {
    if (absl::Status status = CheckCosineAllowed(state, name_); !status.ok()) return status;
  }
  std::vector<std::vector<float>> normalized;
  const auto prepared = Prepare(queries, stored, result.metric, normalized);
  if (!prepared.ok()) return prepared.status();
  if (absl::Status status = interrupt.Check(); !status.ok()) return status;
  auto answer = engines_[static_cast<size_t>(options.engine)]->Search(
      state, result.metric, *prepared, options.k, interrupt);
  if (!answer.ok()) return answer.status();
  result.hits = std::move(answer->hits);
  result.statistics = std::move(answer->statistics);
  result.rows_compared = state.live_rows;
  if (options.engine == EngineKind::kScan) Observe(result.statistics, queries.size(), options.k);
  return result;
}

absl::Status Collection::TakeSnapshot(std::span<const Query> queries, Snapshot& snapshot,
                                      std::vector<RowRef>& stored) const {
  const bool by_id = std::any_of(queries.begin(), queries.end(), [](const Query& query) {
    return std::holds_alternative<Id>(query.target);
  });
  stored.resize(queries.size());
  if (!by_id) {
    snapshot = state_.Take();
    return absl::OkStatus();
  }
  std::shared_lock lock(index_mutex_);
  snapshot = state_.Take();
  for (size_t i = 0; i < queries.size(); ++i) {
    const Id* id = std::get_if<Id>(&queries[i].target);
    if (id == nullptr) continue;
    const auto row = index_.Find(View(*id));
    if (!row) {
      return absl::NotFoundError(
          absl::StrFormat("query %d: %s", i, std::string(NotStored(View(*id)).message())));
    }
    stored[i] = {row->segment, row->row};
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<EngineQuery>> Collection::Prepare(
    std::span<const Query> queries, std::span<const RowRef> stored, Metric metric,
    std::vector<std::vector<float>>& normalized) const {
  std::vector<EngineQuery> prepared(queries.size());
  for (size_t i = 0; i < queries.size(); ++i) {
    EngineQuery& query = prepared[i];
    if (stored[i].segment != nullptr) {
      query.vector = stored[i].vector();
      query.dot = stored[i].dot();
      if (queries[i].exclude_self) query.excluded = stored[i];
      continue;
    }
    const std::string what = absl::StrFormat("query %d", i);
    if (queries[i].exclude_self) {
      return absl::InvalidArgumentError(
          what + " has exclude_self but names no id; only a stored row can be left out");
    }
    query.vector = std::get<std::span<const float>>(queries[i].target);
    const auto dot = CheckVector(what, query.vector, name_, config_);
    if (!dot.ok()) return dot.status();
    query.dot = *dot;
    if (metric == Metric::kCosine && query.dot == 0) return ZeroUnderCosine(what);
    if (config_.normalization == Normalization::kL2) {
      std::vector<float>& normal = normalized.emplace_back(query.vector.size());
      L2Normalize(query.vector, query.dot, normal);
      query.vector = normal;
      query.dot = Dot(normal, normal);
    }
  }
  return prepared;
}

absl::Status Collection::NotStored(IdView id) const {
  return absl::NotFoundError(absl::StrFormat("no id %s in collection \"%s\"", Describe(id), name_));
}

uint32_t Collection::FullSegmentRows() const {
  if (tuning_.segment_rows != 0) return tuning_.segment_rows;
  return static_cast<uint32_t>(std::clamp<size_t>(
      kSegmentBytes / (sizeof(float) * config_.dimension), kMinSegmentRows, kMaxSegmentRows));
}

uint32_t Collection::NextSegmentRows(uint64_t rows) const {
  const uint64_t wanted = std::max<uint64_t>(rows, kFirstSegmentRows);
  return static_cast<uint32_t>(std::min<uint64_t>(FullSegmentRows(), wanted));
}

const Kernel& Collection::kernel() const {
  return tuning_.scan.kernel != nullptr ? *tuning_.scan.kernel : ActiveKernel();
}

void Collection::ReportWork() const {
  if (on_work_ && IsWorkDue(*state_.Take())) on_work_();
}

std::vector<size_t> Collection::ChooseVictims(const CollectionState& state) const {
  std::vector<size_t> victims;
  uint64_t live = 0;
  const auto choose = [&](auto&& worth_it) {
    for (size_t p = 0; p < state.parts.size(); ++p) {
      const CollectionState::Part& part = state.parts[p];
      // The last segment still grows, unless it is full.
      if (p + 1 == state.parts.size() && part.rows < part.segment->capacity()) break;
      const uint64_t rows = part.rows - std::min(part.rows, part.segment->dead());
      if (!worth_it(part) || live + rows > FullSegmentRows()) continue;
      live += rows;
      victims.push_back(p);
    }
  };
  choose(IsGarbage);
  if (victims.empty()) return victims;
  // In the room that is left: small segments must not keep a large one from its turn.
  choose([&](const CollectionState::Part& part) {
    return !IsGarbage(part) && part.rows < FullSegmentRows() / kSmallShare;
  });
  std::sort(victims.begin(), victims.end());
  return victims;
}

absl::StatusOr<uint64_t> Collection::Compact() {
  std::lock_guard maintaining(maintain_mutex_);
  uint64_t given_up = 0;
  while (true) {
    const Snapshot state = state_.Take();
    std::vector<std::shared_ptr<Segment>> victims;
    uint64_t live = 0;
    for (const size_t p : ChooseVictims(*state)) {
      victims.push_back(state->parts[p].segment);
      for (uint32_t row = 0; row < state->parts[p].rows; ++row) {
        live += victims.back()->IsLive(row, state->sequence) ? 1 : 0;
      }
    }
    if (victims.empty()) return given_up;
    CollectionState::Part part;
    std::vector<RowLocation> sources;
    sources.reserve(live);
    if (live > 0) {
      auto created = NewPart(CurrentLayout(), static_cast<uint32_t>(live));
      if (!created.ok()) return created.status();
      part = *std::move(created);
      // Without a lock: the rows are full segments', which never change.
      for (const std::shared_ptr<Segment>& victim : victims) {
        for (uint32_t row = 0; row < victim->size(); ++row) {
          if (!victim->IsLive(row, state->sequence)) continue;
          part.segment->Append(victim->id(row), victim->vector(row), victim->dot(row));
          sources.push_back({victim.get(), row});
          if (++part.rows % kRecodeRows == 0) {
            part.codes->Encode(*part.segment, kernel(), part.rows - kRecodeRows, part.rows);
            GiveWay();
          }
        }
      }
      part.codes->Encode(*part.segment, kernel(), part.rows / kRecodeRows * kRecodeRows, part.rows);
    }
    given_up += PublishCompaction(victims, sources, std::move(part));
  }
}

// noexcept: as PublishUpsert. Older snapshots keep the old segments and their tombstones; the state
// keeps its sequence number, because nothing that a search can see has changed.
uint64_t Collection::PublishCompaction(const std::vector<std::shared_ptr<Segment>>& victims,
                                       const std::vector<RowLocation>& sources,
                                       CollectionState::Part part) noexcept {
  std::lock_guard writing(write_mutex_);
  CollectionState state = *state_.Take();
  std::unique_lock indexing(index_mutex_);
  for (uint32_t row = 0; row < sources.size(); ++row) {
    // A row that was buried while it was copied is dead in the new segment too.
    if (const uint64_t died = sources[row].segment->died(sources[row].row); died != 0) {
      part.segment->Bury(row, died);
    } else {
      index_.Set(part.segment->id(row), {part.segment.get(), row}, part.segment->dot(row) == 0);
    }
  }
  uint64_t given_up = 0;
  const auto is_victim = [&](const CollectionState::Part& old) {
    return std::find(victims.begin(), victims.end(), old.segment) != victims.end();
  };
  const auto first = std::find_if(state.parts.begin(), state.parts.end(), is_victim);
  for (const CollectionState::Part& old : state.parts) {
    if (is_victim(old)) given_up += old.rows;
  }
  given_up -= sources.size();
  if (part.segment != nullptr) *first = std::move(part);
  std::erase_if(state.parts, is_victim);
  state.dead_rows -= given_up;
  state_.Publish(std::move(state));
  return given_up;
}

std::shared_ptr<const Layout> Collection::CurrentLayout() const {
  std::lock_guard lock(layout_mutex_);
  return layout_.layout;
}

absl::StatusOr<TrainingSample> Collection::Sample(const CollectionState& state) const {
  TrainingSample sample{.dimension = config_.dimension,
                        .metric = state.metric,
                        .collection_rows = state.live_rows,
                        .rows = {},
                        .queries = {},
                        .scores = {}};
  const size_t wanted =
      std::min<size_t>(std::clamp<size_t>(4 * size_t{config_.dimension}, kLeastSample, kMostSample),
                       state.live_rows) /
      kGroupRows * kGroupRows;
  if (wanted == 0) {
    return absl::FailedPreconditionError(
        absl::StrFormat("collection \"%s\" has %d rows; a layout is trained on at least %d", name_,
                        state.live_rows, kGroupRows));
  }
  // The live rows, and from each stretch of them one that a seeded generator chooses.
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
  for (const RowRef& row : chosen) {
    sample.rows.insert(sample.rows.end(), row.vector().begin(), row.vector().end());
  }
  std::vector<EngineQuery> queries;
  for (size_t q = 0; q < std::min(kSampleQueries, chosen.size()); ++q) {
    const RowRef& row = chosen[q * chosen.size() / std::min(kSampleQueries, chosen.size())];
    queries.push_back({row.vector(), row.dot(), row});
    sample.queries.insert(sample.queries.end(), row.vector().begin(), row.vector().end());
  }
  auto answer = engines_[static_cast<size_t>(EngineKind::kScan)]->Search(state, state.metric,
                                                                         queries, kTrainingK, {});
  if (!answer.ok()) return answer.status();
  for (const std::vector<ScoredRow>& hits : answer->hits) {
    sample.scores.push_back(hits.empty() ? 0 : hits.back().score);
  }
  return sample;
}

absl::StatusOr<bool> Collection::TrainLayout() {
  std::lock_guard maintaining(maintain_mutex_);
  const Snapshot state = state_.Take();
  const auto sample = Sample(*state);
  if (!sample.ok()) return sample.status();
  TrainedLayout trained = Train(*sample, kernel(), [&] { GiveWay(); });
  const LayoutForecast now = Forecast(*sample, *CurrentLayout(), kernel());
  if (trained.forecast.nanoseconds() < kReplaceBelow * now.nanoseconds()) {
    SetLayout(std::move(trained));
    return true;
  }
  // The one in use stays, with what is known of it today.
  std::lock_guard lock(layout_mutex_);
  weighed_rows_ = state->live_rows;
  if (!layout_.layout->has_basis()) layout_.trained_rows = weighed_rows_;
  layout_.forecast = now;
  layout_sequence_ = state->sequence;
  observed_.first_share = observed_.late_share;
  return false;
}

void Collection::SetLayout(TrainedLayout layout) {
  const uint64_t sequence = state_.Take()->sequence;
  std::lock_guard lock(layout_mutex_);
  observed_ = {};
  observed_.passed.resize(layout.layout->levels());
  layout_ = std::move(layout);
  weighed_rows_ = layout_.trained_rows;
  layout_sequence_ = sequence;
}

absl::Status Collection::Recode(const std::stop_token& stop) {
  std::lock_guard maintaining(maintain_mutex_);
  while (true) {
    const auto more = RecodeOne(CurrentLayout(), stop);
    if (!more.ok()) return more.status();
    if (!*more) return absl::OkStatus();
  }
}

absl::StatusOr<bool> Collection::RecodeOne(const std::shared_ptr<const Layout>& layout,
                                           const std::stop_token& stop) {
  Snapshot state = state_.Take();
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
    if (rows - coded < kRecodeRows) break;
    for (; coded + kRecodeRows <= rows; coded += kRecodeRows) {
      if (stop.stop_requested()) return absl::CancelledError("the server is stopping");
      codes->Encode(*segment, kernel(), coded, coded + kRecodeRows);
      GiveWay();
    }
    state = state_.Take();
  }
  PublishCodes(segment.get(), std::move(codes), coded);
  return true;
}

void Collection::PublishCodes(const Segment* segment, std::shared_ptr<SegmentCodes> codes,
                              uint32_t coded) {
  std::lock_guard writing(write_mutex_);
  CollectionState state = *state_.Take();
  // Only maintenance takes parts away, and this is it.
  const auto part = std::find_if(
      state.parts.begin(), state.parts.end(),
      [&](const CollectionState::Part& other) { return other.segment.get() == segment; });
  codes->Encode(*segment, kernel(), coded, part->rows);
  part->codes = std::move(codes);
  state_.Publish(std::move(state));
}

absl::Status Collection::Maintain(const std::stop_token& stop, const MaintenanceReport& report) {
  if (const auto compacted = Compact(); !compacted.ok()) return compacted.status();
  if (IsTrainingDue(*state_.Take())) {
    const absl::Time begin = absl::Now();
    const auto trained = TrainLayout();
    if (!trained.ok()) return trained.status();
    const auto kind = *trained ? MaintenanceEvent::kTrained : MaintenanceEvent::kKept;
    if (report) report(*this, {kind, layout().trained.trained_rows, absl::Now() - begin});
  }
  const absl::Time begin = absl::Now();
  const LayoutInfo before = layout();
  if (absl::Status status = Recode(stop); !status.ok()) return status;
  const uint64_t stale = before.rows - before.coded_rows;
  if (report && stale > 0) report(*this, {MaintenanceEvent::kRecoded, stale, absl::Now() - begin});
  return absl::OkStatus();
}

uint64_t Collection::TrainingRows() const {
  if (tuning_.training_rows != 0) return tuning_.training_rows;
  return std::max<uint64_t>(kTrainingRows, 4 * uint64_t{config_.dimension});
}

bool Collection::IsTrainingDue(const CollectionState& state) const {
  if (state.live_rows < TrainingRows()) return false;
  std::lock_guard lock(layout_mutex_);
  if (state.live_rows >= kRetrainGrowth * weighed_rows_) return true;
  const uint64_t changed = state.sequence - layout_sequence_;
  return changed > 0 && observed_.first_share >= 0 &&
         observed_.late_share > kDriftFactor * std::max(observed_.first_share, kDriftLeastShare);
}

bool Collection::IsWorkDue(const CollectionState& state) const {
  return IsTrainingDue(state) || !ChooseVictims(state).empty();
}

void Collection::GiveWay() const {
  const absl::Time end = absl::Now() + kGiveWayFor;
  while (workers_.active() > 0 && absl::Now() < end) absl::SleepFor(kGiveWayStep);
}

void Collection::Observe(const SearchStatistics& statistics, size_t queries, uint32_t k) const {
  bool drifted = false;
  {
    std::lock_guard lock(layout_mutex_);
    for (const SearchStatistics::LayoutUse& use : statistics.layouts) {
      if (use.layout != layout_.layout.get()) continue;
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
      const double share =
          static_cast<double>(seen.window_passed) / static_cast<double>(seen.window_rows);
      seen.window_searches = seen.window_rows = seen.window_passed = 0;
      seen.late_share = share;
      if (seen.first_share < 0) seen.first_share = share;
      drifted = share > kDriftFactor * std::max(seen.first_share, kDriftLeastShare);
    }
    observed_.searches += queries;
    observed_.bytes += statistics.bytes_read;
  }
  if (drifted) ReportWork();
}

LayoutInfo Collection::layout() const {
  const Snapshot state = state_.Take();
  LayoutInfo info;
  std::lock_guard lock(layout_mutex_);
  info.trained = layout_;
  for (const CollectionState::Part& part : state->parts) {
    const uint64_t rows = part.rows / kGroupRows * kGroupRows;
    info.rows += rows;
    if (part.codes->layout() == layout_.layout) info.coded_rows += rows;
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

CollectionInfo Collection::info() const {
  const Snapshot state = state_.Take();
  CollectionInfo info{.config = config_,
                      .rows = state->live_rows,
                      .dead_rows = state->dead_rows,
                      .sequence = state->sequence};
  info.config.metric = state->metric;
  return info;
}

NormStatistics Collection::Norms() const {
  const Snapshot state = state_.Take();
  NormStatistics norms;
  if (state->live_rows == 0) return norms;
  norms.min = std::numeric_limits<double>::infinity();
  double sum = 0;
  for (const CollectionState::Part& part : state->parts) {
    for (uint32_t row = 0; row < part.rows; ++row) {
      if (!part.segment->IsLive(row, state->sequence)) continue;
      const double norm = std::sqrt(part.segment->dot(row));
      norms.min = std::min(norms.min, norm);
      norms.max = std::max(norms.max, norm);
      sum += norm;
      norms.unit_rows += std::abs(norm - 1) <= kUnitTolerance ? 1 : 0;
      norms.zero_rows += norm == 0 ? 1 : 0;
    }
  }
  norms.mean = sum / static_cast<double>(state->live_rows);
  return norms;
}

MemoryUse Collection::memory() const {
  std::shared_lock lock(index_mutex_);
  const Snapshot state = state_.Take();
  MemoryUse use;
  use.ids_bytes = index_.bytes();
  for (const CollectionState::Part& part : state->parts) {
    const Segment::Bytes bytes = part.segment->bytes(part.rows);
    use.rows_bytes += bytes.rows;
    use.ids_bytes += bytes.ids;
    use.codes_bytes += part.codes->bytes(part.rows);
    use.overhead_bytes += bytes.overhead;
  }
  return use;
}

}  // namespace vexact

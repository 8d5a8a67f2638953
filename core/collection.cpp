#include "core/collection.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <deque>
#include <new>
#include <numeric>
#include <shared_mutex>

#include "absl/strings/str_format.h"
#include "core/compaction.h"
#include "core/reference_score.h"
#include "core/validate.h"

namespace vexact {
namespace {

// Codes are saved when nothing was written for so long, or so long after they could have been.
constexpr absl::Duration kQuiet = absl::Seconds(1);
constexpr absl::Duration kLongestUnsaved = absl::Minutes(1);
// A segment of less has nothing that could be moved into huge pages.
constexpr uint64_t kLargeBytes = 2 << 20;

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
// Messages begin with `what` and its number.
absl::StatusOr<double> CheckVector(std::string_view what, size_t number,
                                   std::span<const float> vector, const std::string& collection,
                                   const CollectionConfig& config) {
  const auto named = [&] { return absl::StrFormat("%s %d", what, number); };
  if (vector.size() != config.dimension) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s has %d components; collection \"%s\" has %d dimensions", named(),
                        vector.size(), collection, config.dimension));
  }
  // Squares of float32 cannot overflow float64: the sum is finite where all components are.
  const double dot = Dot(vector, vector);
  if (!std::isfinite(dot)) return ValidateFinite(named(), vector);
  if (config.normalization == Normalization::kL2 && dot == 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s is a zero vector, which cannot be L2-normalised; collection \"%s\" normalises", named(),
        collection));
  }
  if (config.normalization == Normalization::kRequireUnit &&
      std::abs(std::sqrt(dot) - 1) > kUnitTolerance) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s has norm %.6g; collection \"%s\" requires a norm of 1 within %g",
                        named(), std::sqrt(dot), collection, kUnitTolerance));
  }
  return dot;
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
                       std::function<void()> on_work, const CollectionTuning& tuning,
                       const StoredIn& stored)
    : on_work_(std::move(on_work)),
      stored_(stored),
      codes_(stored.store == nullptr
                 ? nullptr
                 : std::make_unique<CodesFolder>(
                       CodesPath(stored.store->directory(), stored.collection), config.dimension)),
      table_(std::move(name), config, workers, tuning),
      engines_{MakeScanEngine(workers, tuning.scan), MakeReferenceEngine(workers),
               MakeFaissEngine(workers)},
      care_(table_, *engines_[static_cast<size_t>(EngineKind::kScan)]) {}

Collection::~Collection() = default;

absl::StatusOr<std::unique_ptr<Collection>> Collection::Open(const StoredCollection& stored,
                                                             Store& store, Workers& workers,
                                                             const LoadOptions& options,
                                                             std::function<void()> on_work,
                                                             const CollectionTuning& tuning) {
  auto collection =
      std::make_unique<Collection>(stored.name, stored.config, workers, std::move(on_work), tuning,
                                   StoredIn{&store, stored.number});
  auto rebuilt =
      Load(store, stored, *collection->codes_, options, collection->table_, collection->care_);
  if (!rebuilt.ok()) return rebuilt.status();
  collection->rebuilt_ = *std::move(rebuilt);
  return collection;
}

absl::Status Collection::Drop() {
  std::lock_guard writing(table_.write_mutex);
  if (stored_.store == nullptr) return absl::OkStatus();
  if (absl::Status status = stored_.store->Drop(stored_.collection); !status.ok()) return status;
  stored_.store = nullptr;
  codes_->Remove();
  return absl::OkStatus();
}

absl::Status Collection::Publish() {
  if (stored_.store == nullptr) return absl::OkStatus();
  return stored_.store->Publish(stored_.collection, name());
}

absl::StatusOr<UpsertResult> Collection::Upsert(std::span<const PointView> points) {
  const auto checked = Check(points);
  if (!checked.ok()) return checked.status();
  return UpsertInOrder({&*checked, 1}).front();
}

absl::StatusOr<CheckedPoints> Collection::Check(std::span<const PointView> points) const {
  if (points.empty())
    return absl::InvalidArgumentError("the request has no points; it needs at least 1");
  if (absl::Status status =
          ValidateIds("row", points.size(), [&](size_t i) { return points[i].id; });
      !status.ok()) {
    return status;
  }
  CheckedPoints checked;
  checked.points_ = points;
  checked.dots_.resize(points.size());
  for (size_t i = 0; i < points.size(); ++i) {
    const auto dot = CheckVector("row", i, points[i].vector, table_.name, table_.config);
    if (!dot.ok()) return dot.status();
    checked.dots_[i] = *dot;
  }
  return checked;
}

std::vector<absl::StatusOr<UpsertResult>> Collection::UpsertInOrder(
    std::span<const CheckedPoints> requests) {
  std::deque<Write> writes;  // each refers to the one before it
  std::vector<Write*> queue;
  for (const CheckedPoints& request : requests) {
    queue.push_back(&writes.emplace_back(Write::Upsert{request.points_, request.dots_},
                                         request.size() * sizeof(float) * dimension(),
                                         queue.empty() ? nullptr : queue.back()));
  }
  Pass(queue);
  std::vector<absl::StatusOr<UpsertResult>> results;
  for (const Write& write : writes) {
    if (!write.status.ok()) {
      results.emplace_back(write.status);
      break;
    }
    activity_.AddWrite(write.added, write.replaced, 0);
    results.emplace_back(UpsertResult{write.added, write.replaced, write.sequence});
  }
  if (results.front().ok()) ReportWork();
  return results;
}

absl::StatusOr<DeleteResult> Collection::Delete(std::span<const IdView> ids) {
  if (ids.empty()) return absl::InvalidArgumentError("the request has no ids; it needs at least 1");
  if (absl::Status status = ValidateIds("id number", ids.size(), [&](size_t i) { return ids[i]; });
      !status.ok()) {
    return status;
  }
  // What a failed commit would have to take back.
  Write write(Write::Delete{ids}, ids.size() * sizeof(float) * dimension());
  Pass(std::array{&write});
  if (!write.status.ok()) return write.status;
  activity_.AddWrite(0, 0, write.deleted);
  if (write.deleted > 0) ReportWork();
  return DeleteResult{write.deleted, write.missing, write.sequence};
}

absl::Status Collection::SetMetric(Metric metric) {
  Write write(Write::SetMetric{metric}, 0);
  Pass(std::array{&write});
  return write.status;
}

void Collection::Pass(std::span<Write* const> writes) {
  writes_.Pass(writes, [this](std::span<Write* const> group) {
    const absl::Status status = CarryOut(group);
    for (Write* each : group) {
      if (each->status.ok()) each->status = status;
    }
  });
}

// One group at a time: its members wait in the queue, so that the next one does not begin before
// this one has ended. The mutex keeps compaction and recoding out, which make states as well.
absl::Status Collection::CarryOut(std::span<Write* const> writes) noexcept {
  std::lock_guard writing(table_.write_mutex);
  try {
    WriteGroup group(table_, care_, stored_);
    for (Write* write : writes) write->status = group.Add(*write);
    if (!group.changed()) return absl::OkStatus();
    if (absl::Status status = group.Commit(); !status.ok()) return status;
    group.Publish();
    // relaxed: only a time.
    written_at_.store(absl::GetCurrentTimeNanos(), std::memory_order_relaxed);
    return absl::OkStatus();
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("there is no memory for the write");
  }
}

absl::StatusOr<PointsResult> Collection::Get(std::span<const IdView> ids) const {
  if (ids.empty()) return absl::InvalidArgumentError("the request has no ids; it needs at least 1");
  PointsResult result;
  result.points.reserve(ids.size());
  std::shared_lock lock(table_.index_mutex);
  result.snapshot = table_.state.Take();
  for (const IdView id : ids) {
    const auto row = table_.index.Find(id);
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
  std::shared_lock lock(table_.index_mutex);
  result.snapshot = table_.state.Take();
  table_.index.VisitAfter(after, [&](const RowLocation& row) {
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
  auto search = Prepare(queries, options);
  if (!search.ok()) return search.status();
  if (absl::Status status = interrupt.Check(); !status.ok()) return status;
  const SearchPart whole{&*search, 0, queries.size()};
  if (absl::Status status = Scan({&whole, 1}, interrupt); !status.ok()) return status;
  return std::move(*search).Take();
}

bool PreparedSearch::CanShareScan(const PreparedSearch& other) const {
  return &*result_.snapshot == &*other.result_.snapshot && result_.metric == other.result_.metric &&
         options_.k == other.options_.k && options_.engine == other.options_.engine;
}

absl::Status CheckSearch(size_t queries, const SearchOptions& options) {
  if (queries == 0 || queries > kMaxQueries) {
    return absl::InvalidArgumentError(
        absl::StrFormat("the request has %d queries; it must have 1 to %d", queries, kMaxQueries));
  }
  if (options.k == 0 || options.k > kMaxK) {
    return absl::InvalidArgumentError(
        absl::StrFormat("k is %d; it must be 1 to %d", options.k, kMaxK));
  }
  return absl::OkStatus();
}

absl::StatusOr<PreparedSearch> Collection::Prepare(std::span<const Query> queries,
                                                   const SearchOptions& options) const {
  if (absl::Status status = CheckSearch(queries.size(), options); !status.ok()) return status;
  PreparedSearch search;
  search.options_ = options;
  SearchResult& result = search.result_;
  std::vector<RowRef> stored;
  if (absl::Status status = TakeSnapshot(queries, result.snapshot, stored); !status.ok()) {
    return status;
  }
  const CollectionState& state = *result.snapshot;
  result.metric = options.metric.value_or(state.metric);
  if (result.metric == Metric::kCosine) {
    if (absl::Status status = CheckCosineAllowed(state, table_.name); !status.ok()) return status;
  }
  if (absl::Status status = PrepareQueries(queries, stored, search); !status.ok()) return status;
  result.rows_compared = state.live_rows;
  result.hits.resize(queries.size());
  return search;
}

absl::Status Collection::Scan(std::span<const SearchPart> parts, const Interrupt& interrupt) const {
  const PreparedSearch& first = *parts.front().search;
  std::vector<EngineQuery> queries;
  for (const auto& [search, begin, end] : parts) {
    queries.insert(queries.end(), search->queries_.begin() + static_cast<ptrdiff_t>(begin),
                   search->queries_.begin() + static_cast<ptrdiff_t>(end));
  }
  const EngineKind engine = first.options_.engine;
  auto answer = engines_[static_cast<size_t>(engine)]->Search(
      *first.result_.snapshot, first.result_.metric, queries, first.options_.k, interrupt);
  if (!answer.ok()) return answer.status();
  size_t next = 0;
  for (const auto& [search, begin, end] : parts) {
    for (size_t i = begin; i < end; ++i) {
      search->result_.hits[i] = std::move(answer->hits[next++]);
    }
    search->result_.statistics += answer->statistics.Share(end - begin, queries.size());
  }
  activity_.AddScan(queries.size(), first.result_.rows_compared, answer->statistics);
  if (engine == EngineKind::kScan &&
      care_.Observe(answer->statistics, queries.size(), first.options_.k)) {
    ReportWork();
  }
  return absl::OkStatus();
}

absl::Status Collection::TakeSnapshot(std::span<const Query> queries, Snapshot& snapshot,
                                      std::vector<RowRef>& stored) const {
  const bool by_id = std::any_of(queries.begin(), queries.end(), [](const Query& query) {
    return std::holds_alternative<Id>(query.target);
  });
  stored.resize(queries.size());
  if (!by_id) {
    snapshot = table_.state.Take();
    return absl::OkStatus();
  }
  std::shared_lock lock(table_.index_mutex);
  snapshot = table_.state.Take();
  for (size_t i = 0; i < queries.size(); ++i) {
    const Id* id = std::get_if<Id>(&queries[i].target);
    if (id == nullptr) continue;
    const auto row = table_.index.Find(View(*id));
    if (!row) {
      return absl::NotFoundError(
          absl::StrFormat("query %d: %s", i, std::string(NotStored(View(*id)).message())));
    }
    stored[i] = {row->segment, row->row};
  }
  return absl::OkStatus();
}

absl::Status Collection::PrepareQueries(std::span<const Query> queries,
                                        std::span<const RowRef> stored,
                                        PreparedSearch& search) const {
  search.queries_.resize(queries.size());
  for (size_t i = 0; i < queries.size(); ++i) {
    EngineQuery& query = search.queries_[i];
    if (stored[i].segment != nullptr) {
      query.vector = stored[i].vector();
      query.dot = stored[i].dot();
      if (queries[i].exclude_self) query.excluded = stored[i];
      continue;
    }
    if (queries[i].exclude_self) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "query %d has exclude_self but names no id; only a stored row can be left out", i));
    }
    query.vector = std::get<std::span<const float>>(queries[i].target);
    const auto dot = CheckVector("query", i, query.vector, table_.name, table_.config);
    if (!dot.ok()) return dot.status();
    query.dot = *dot;
    if (search.result_.metric == Metric::kCosine && query.dot == 0) {
      return ZeroUnderCosine(absl::StrFormat("query %d", i));
    }
    if (table_.config.normalization == Normalization::kL2) {
      std::vector<float>& normal = search.normalized_.emplace_back(query.vector.size());
      L2Normalize(query.vector, query.dot, normal);
      query.vector = normal;
      query.dot = Dot(normal, normal);
    }
  }
  return absl::OkStatus();
}

absl::Status Collection::NotStored(IdView id) const {
  return absl::NotFoundError(
      absl::StrFormat("no id %s in collection \"%s\"", Describe(id), table_.name));
}

void Collection::ReportWork() const {
  if (!on_work_) return;
  const Snapshot state = table_.state.Take();
  const size_t parts = state->parts.size();
  const size_t full = parts - (parts > 0 && !state->IsFull(parts - 1) ? 1 : 0);
  // relaxed: of two that see the same number one is enough.
  const bool filled = full_seen_.exchange(full, std::memory_order_relaxed) != full;
  const bool large =
      uint64_t{table_.FullSegmentRows()} * dimension() * sizeof(float) >= kLargeBytes;
  if (care_.IsTrainingDue(*state) || IsCompactionDue(table_, *state) ||
      (filled && (codes_ != nullptr || large))) {
    on_work_();
  }
}

absl::StatusOr<uint64_t> Collection::Compact(const std::stop_token& stop) {
  std::lock_guard maintaining(maintain_mutex_);
  return vexact::Compact(table_, care_, stop);
}

absl::StatusOr<bool> Collection::TrainLayout(const std::stop_token& stop) {
  std::lock_guard maintaining(maintain_mutex_);
  return care_.Train(stop);
}

void Collection::SetLayout(TrainedLayout layout) { care_.Set(std::move(layout)); }

absl::Status Collection::Recode(const std::stop_token& stop) {
  std::lock_guard maintaining(maintain_mutex_);
  return care_.Recode(stop);
}

absl::Status Collection::Maintain(const std::stop_token& stop, const MaintenanceReport& report) {
  if (const auto compacted = Compact(stop); !compacted.ok()) return compacted.status();
  if (care_.IsTrainingDue(*table_.state.Take())) {
    const absl::Time begin = absl::Now();
    const auto trained = TrainLayout(stop);
    if (!trained.ok()) return trained.status();
    const auto kind = *trained ? MaintenanceEvent::kTrained : MaintenanceEvent::kKept;
    if (report) report(*this, {kind, layout().trained.trained_rows, absl::Now() - begin});
  }
  const absl::Time begin = absl::Now();
  const LayoutInfo before = layout();
  if (absl::Status status = Recode(stop); !status.ok()) return status;
  const uint64_t stale = before.rows - before.coded_rows;
  if (report && stale > 0) report(*this, {MaintenanceEvent::kRecoded, stale, absl::Now() - begin});
  if (absl::Status status = UseHugePages(stop); !status.ok()) return status;
  return SaveCodesWhenQuiet(stop);
}

absl::Status Collection::UseHugePages(const std::stop_token& stop) {
  std::lock_guard maintaining(maintain_mutex_);
  const Snapshot state = table_.state.Take();
  for (size_t p = 0; p < state->parts.size(); ++p) {
    if (!state->IsFull(p)) continue;
    if (stop.stop_requested()) return absl::CancelledError("the server is stopping");
    state->parts[p].segment->UseHugePages();
    state->parts[p].codes->UseHugePages();
    table_.GiveWay();
  }
  return absl::OkStatus();
}

bool Collection::IsSaveDue() const {
  return codes_ != nullptr && codes_->IsSaveDue(*table_.state.Take(), care_.record());
}

absl::Duration Collection::QuietIn() const {
  return absl::FromUnixNanos(written_at_.load(std::memory_order_relaxed)) + kQuiet - absl::Now();
}

std::optional<absl::Duration> Collection::MaintainAgainAfter() const {
  if (!IsSaveDue()) return std::nullopt;
  const int64_t since = unsaved_since_.load(std::memory_order_relaxed);
  const absl::Duration longest = since == 0
                                     ? absl::InfiniteDuration()
                                     : absl::FromUnixNanos(since) + kLongestUnsaved - absl::Now();
  return std::max(absl::ZeroDuration(), std::min(QuietIn(), longest));
}

absl::Status Collection::SaveCodesWhenQuiet(const std::stop_token& stop) {
  const std::optional<absl::Duration> after = MaintainAgainAfter();
  if (after && *after <= absl::ZeroDuration()) return SaveCodes(stop);
  int64_t since = 0;
  if (after) unsaved_since_.compare_exchange_strong(since, absl::GetCurrentTimeNanos());
  return absl::OkStatus();
}

absl::Status Collection::SaveCodes(const std::stop_token& stop) {
  std::lock_guard maintaining(maintain_mutex_);
  const Snapshot state = table_.state.Take();
  const StoredIn stored = [&] {
    std::lock_guard writing(table_.write_mutex);
    return stored_;
  }();
  if (stored.store == nullptr) return absl::OkStatus();
  // Codes of rows that a power cut can still take would be of other rows afterwards.
  if (absl::Status status = stored.store->Sync(); !status.ok()) return status;
  absl::Status status = codes_->Save(*state, care_.record(), stop);
  if (status.ok()) unsaved_since_.store(0);
  return status;
}

LayoutInfo Collection::layout() const { return care_.info(); }

CollectionInfo Collection::info() const {
  const Snapshot state = table_.state.Take();
  CollectionInfo info{.config = table_.config,
                      .rows = state->live_rows,
                      .dead_rows = state->dead_rows,
                      .sequence = state->sequence};
  info.config.metric = state->metric;
  return info;
}

NormStatistics Collection::Norms() const {
  const Snapshot state = table_.state.Take();
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
  std::shared_lock lock(table_.index_mutex);
  const Snapshot state = table_.state.Take();
  MemoryUse use;
  use.ids_bytes = table_.index.bytes();
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

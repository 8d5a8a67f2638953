#include "server/search_service.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "core/compare.h"
#include "server/convert.h"

namespace vexact::server {
namespace {

// Of a request that is read in some microseconds.
constexpr size_t kFewBytes = 32 << 10;

// The smallest Hit there can be on the wire: its tag and length, and an Id's tag, length, tag and
// one byte of number. (A score of 0 takes none.)
constexpr uint64_t kMinHitBytes = 6;

// The least size of the answer to a search over `rows` rows, so that one that cannot be sent is
// refused before it costs a scan. The limits of k and of the batch are for core to check; beyond
// them nothing is said here.
uint64_t LeastAnswerBytes(const v1::SearchRequest& request, uint64_t rows, uint32_t dimension) {
  if (request.k() > kMaxK || static_cast<uint32_t>(request.queries_size()) > kMaxQueries) return 0;
  const uint64_t hit_bytes =
      kMinHitBytes + (request.with_vectors() ? uint64_t{dimension} * sizeof(float) : 0);
  uint64_t bytes = 0;
  for (const v1::Query& query : request.queries()) {
    const uint64_t found = query.exclude_self() && rows > 0 ? rows - 1 : rows;
    bytes += std::min<uint64_t>(request.k(), found) * hit_bytes;
  }
  return bytes;
}

void FillHits(const std::vector<ScoredRow>& hits, Metric metric, bool with_vectors,
              v1::SearchResult& message) {
  message.mutable_hits()->Reserve(static_cast<int>(hits.size()));
  for (const ScoredRow& hit : hits) {
    v1::Hit& filled = *message.add_hits();
    Fill(hit.row.id(), *filled.mutable_id());
    filled.set_score(hit.score);
    if (metric == Metric::kL2) filled.set_distance(std::sqrt(hit.score));
    if (with_vectors) Fill(hit.row.vector(), *filled.mutable_vector());
  }
}

absl::StatusOr<SearchOptions> ReadOptions(const v1::SearchRequest& request,
                                          EngineKind default_engine) {
  const auto metric = FromProto(request.metric());
  if (!metric.ok()) return metric.status();
  const auto engine = FromProto(request.engine());
  if (!engine.ok()) return engine.status();
  return SearchOptions{
      .k = request.k(), .metric = *metric, .engine = engine->value_or(default_engine)};
}

// The two sides of a comparison; what views stored rows is kept by `snapshot`, copies are kept by
// `floats`.
struct Sides {
  std::array<std::span<const float>, 2> vectors;
  PointsResult stored;
  FloatViews floats;
};

absl::Status ReadSides(const v1::CompareRequest& request, const Collection* collection,
                       Sides& sides) {
  constexpr std::string_view kNames[] = {"a", "b"};
  const v1::Operand* operands[] = {&request.a(), &request.b()};
  std::vector<IdView> ids;
  std::vector<size_t> sides_of_ids;
  for (size_t i = 0; i < std::size(operands); ++i) {
    switch (operands[i]->form_case()) {
      case v1::Operand::kVector: {
        const auto vector = sides.floats.Read(kNames[i], operands[i]->vector());
        if (!vector.ok()) return vector.status();
        sides.vectors[i] = *vector;
        break;
      }
      case v1::Operand::kId: {
        const absl::StatusOr<IdView> id = FromProto(kNames[i], operands[i]->id());
        if (!id.ok()) return id.status();
        ids.push_back(*id);
        sides_of_ids.push_back(i);
        break;
      }
      case v1::Operand::FORM_NOT_SET:
        return absl::InvalidArgumentError(
            absl::StrFormat("%s is missing; give a vector or the id of a row", kNames[i]));
    }
  }
  if (ids.empty()) return absl::OkStatus();
  if (collection == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrFormat("collection is empty; it must name the one that %s's id is looked up in",
                        kNames[sides_of_ids.front()]));
  }
  // Both at once, so that they are of one moment.
  auto stored = collection->Get(ids);
  if (!stored.ok()) return stored.status();
  sides.stored = *std::move(stored);
  for (size_t i = 0; i < ids.size(); ++i) {
    sides.vectors[sides_of_ids[i]] = sides.stored.points[i].vector();
  }
  return absl::OkStatus();
}

void FillComparison(const Comparison& comparison, uint32_t dimension,
                    v1::CompareResponse& response) {
  response.set_dimension(dimension);
  response.set_dot_product(comparison.dot);
  if (comparison.cosine_similarity) {
    response.set_cosine_similarity(*comparison.cosine_similarity);
  }
  if (comparison.cosine_distance) response.set_cosine_distance(*comparison.cosine_distance);
  if (comparison.angle_degrees) response.set_angle_degrees(*comparison.angle_degrees);
  response.set_euclidean_distance(comparison.distance);
  response.set_squared_distance(comparison.squared_distance);
  response.set_norm_a(comparison.norm_a);
  response.set_norm_b(comparison.norm_b);
  if (comparison.scalar_projection) {
    response.set_scalar_projection(*comparison.scalar_projection);
  }
  response.mutable_vector_projection()->Add(comparison.vector_projection.begin(),
                                            comparison.vector_projection.end());
}

// One call of Search: from its bytes to the scheduler, and from there to the answer. Kept by what
// waits for the result.
class SearchCall {
 public:
  SearchCall(ServiceContext& context, const CallInfo& info, grpc::ByteBuffer* response,
             Respond respond)
      : context_(context), info_(info), response_bytes_(*response), respond_(std::move(respond)) {}

  // Responds, now or later.
  static void Run(std::shared_ptr<SearchCall> call, const grpc::ByteBuffer& request) {
    Scheduler::Search search;
    if (absl::Status status = call->Read(request, search); !status.ok()) {
      return call->respond_(status);
    }
    Scheduler& scheduler = call->context_.scheduler;
    search.done = [call = std::move(call)](absl::StatusOr<SearchResult> found) {
      const absl::Status status =
          RunGuarded([&] { return found.ok() ? call->Answer(*found) : found.status(); });
      call->respond_(status);
    };
    scheduler.Submit(std::move(search));
  }

 private:
  absl::Status Read(const grpc::ByteBuffer& bytes, Scheduler::Search& search) {
    if (absl::Status status = Parse(info_.caller, bytes, request_); !status.ok()) return status;
    auto collection = context_.catalog().Get(request_.collection());
    if (!collection.ok()) return collection.status();
    const auto options = ReadOptions(request_, context_.config.engine);
    if (!options.ok()) return options.status();
    absl::Status status = CheckAnswerBytes(
        context_.config,
        LeastAnswerBytes(request_, (*collection)->info().rows, (*collection)->dimension()),
        /*at_least=*/true);
    if (!status.ok()) return status;
    auto queries = ReadQueries(request_.queries(), floats_);
    if (!queries.ok()) return queries.status();
    engine_ = options->engine;
    trace_ = &info_.trace.search();
    *trace_ = {.collection = *collection,
               .engine = engine_,
               .queries = queries->size(),
               .k = options->k,
               .with_vectors = request_.with_vectors()};
    search = {.collection = *std::move(collection),
              .queries = *std::move(queries),
              .options = *options,
              .interrupt = info_.interrupt,
              .trace = trace_,
              .done = nullptr};
    return CheckSearch(search.queries.size(), search.options);
  }

  absl::Status Answer(const SearchResult& found) {
    trace_->rows = found.rows_compared;
    trace_->rows_refined = found.statistics.rows_refined;
    trace_->rows_rescored = found.statistics.rows_rescored;
    trace_->bytes_read = found.statistics.bytes_read;
    auto& response = *google::protobuf::Arena::CreateMessage<v1::SearchResponse>(&arena_);
    uint64_t bytes = 0;
    for (const auto& hits : found.hits) {
      v1::SearchResult& result = *response.add_results();
      FillHits(hits, found.metric, request_.with_vectors(), result);
      // As early as it is known: an answer that is too large should not be built to its end.
      bytes += result.ByteSizeLong();
      absl::Status status = CheckAnswerBytes(context_.config, bytes, /*at_least=*/true);
      if (!status.ok()) return status;
    }
    trace_->answer_bytes = bytes;
    response.set_metric(ToProto(found.metric));
    response.set_engine(ToProto(engine_));
    response.set_rows_compared(found.rows_compared);
    response.set_sequence(found.snapshot->sequence);
    response.set_rows_refined(found.statistics.rows_refined);
    response.set_rows_rescored(found.statistics.rows_rescored);
    response.set_bytes_read(found.statistics.bytes_read);
    const std::chrono::nanoseconds duration =
        std::chrono::steady_clock::now() - info_.trace.arrival();
    response.set_server_time_ns(static_cast<uint64_t>(duration.count()));
    return Serialize(context_.config, response, response_bytes_);
  }

  ServiceContext& context_;
  const CallInfo info_;
  grpc::ByteBuffer& response_bytes_;
  const Respond respond_;
  google::protobuf::Arena arena_;
  v1::SearchRequest& request_ = *google::protobuf::Arena::CreateMessage<v1::SearchRequest>(&arena_);
  FloatViews floats_;
  EngineKind engine_ = EngineKind::kScan;
  SlowSearch* trace_ = nullptr;
};

}  // namespace

absl::Status SearchService::RunCompare(const v1::CompareRequest& request,
                                       v1::CompareResponse& response) {
  std::shared_ptr<Collection> collection;
  if (!request.collection().empty()) {
    auto found = context_.catalog().Get(request.collection());
    if (!found.ok()) return found.status();
    collection = *std::move(found);
  }
  Sides sides;
  absl::Status status = ReadSides(request, collection.get(), sides);
  if (!status.ok()) return status;
  const auto comparison = vexact::Compare(sides.vectors[0], sides.vectors[1]);
  if (!comparison.ok()) return comparison.status();
  FillComparison(*comparison, static_cast<uint32_t>(sides.vectors[0].size()), response);
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* SearchService::Search(grpc::CallbackServerContext* call,
                                                const grpc::ByteBuffer* request_bytes,
                                                grpc::ByteBuffer* response_bytes) {
  return StartUnaryLater(
      context_, call, Permission<v1::SearchRequest>::kRole, "Search/Search",
      request_bytes->Length(), /*here=*/request_bytes->Length() <= kFewBytes,
      [this, request_bytes, response_bytes](const CallInfo& info, Respond respond) {
        if (absl::Status status = context_.scheduler.CheckRoom(); !status.ok()) {
          context_.metrics.CountRefusal(Refusal::kQueue);
          return respond(status);
        }
        SearchCall::Run(
            std::make_shared<SearchCall>(context_, info, response_bytes, std::move(respond)),
            *request_bytes);
      });
}

grpc::ServerUnaryReactor* SearchService::Compare(grpc::CallbackServerContext* call,
                                                 const grpc::ByteBuffer* request_bytes,
                                                 grpc::ByteBuffer* response_bytes) {
  return StartUnary<v1::CompareRequest, v1::CompareResponse>(
      context_, call, "Search/Compare", request_bytes, response_bytes,
      [this](const v1::CompareRequest& request, const CallInfo&, v1::CompareResponse& response) {
        return RunCompare(request, response);
      });
}

}  // namespace vexact::server

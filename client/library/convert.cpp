#include "client/library/convert.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace vexact::client {
namespace {

static_assert(std::endian::native == std::endian::little,
              "packed vectors are copied as they lie in memory");

void Pack(std::span<const float> components, std::string* out) {
  out->assign(reinterpret_cast<const char*>(components.data()), components.size_bytes());
}

std::vector<float> Unpack(const std::string& packed) {
  std::vector<float> components(packed.size() / sizeof(float));
  std::memcpy(components.data(), packed.data(), components.size() * sizeof(float));
  return components;
}

// The setter of either message's vector or id.
template <typename Message>
void SetTarget(const Query& query, Message* out) {
  if (const Id* id = std::get_if<Id>(&query.target)) {
    ToProto(*id, out->mutable_id());
  } else {
    ToProto(std::get<std::vector<float>>(query.target), out->mutable_vector());
  }
}

std::optional<double> When(bool present, double value) {
  return present ? std::optional<double>(value) : std::nullopt;
}

}  // namespace

v1::Metric ToProto(Metric metric) {
  switch (metric) {
    case Metric::kInnerProduct:
      return v1::METRIC_INNER_PRODUCT;
    case Metric::kCosine:
      return v1::METRIC_COSINE;
    case Metric::kL2:
      return v1::METRIC_L2;
  }
  return v1::METRIC_UNSPECIFIED;
}

v1::Normalization ToProto(Normalization normalization) {
  switch (normalization) {
    case Normalization::kNone:
      return v1::NORMALIZATION_NONE;
    case Normalization::kL2:
      return v1::NORMALIZATION_L2;
    case Normalization::kRequireUnit:
      return v1::NORMALIZATION_REQUIRE_UNIT;
  }
  return v1::NORMALIZATION_UNSPECIFIED;
}

v1::Engine ToProto(Engine engine) {
  switch (engine) {
    case Engine::kScan:
      return v1::ENGINE_SCAN;
    case Engine::kReference:
      return v1::ENGINE_REFERENCE;
    case Engine::kFaiss:
      return v1::ENGINE_FAISS;
    case Engine::kOther:
      break;
  }
  return v1::ENGINE_UNSPECIFIED;
}

void ToProto(const Id& id, v1::Id* out) {
  if (id.is_number()) {
    out->set_number(id.number());
  } else {
    out->set_text(id.text());
  }
}

void ToProto(std::span<const float> vector, v1::Vector* out) {
  Pack(vector, out->mutable_packed());
}

void ToProto(const Query& query, v1::Query* out) {
  SetTarget(query, out);
  out->set_exclude_self(query.exclude_self);
}

void ToProto(const Query& query, v1::Operand* out) { SetTarget(query, out); }

void ToProto(std::span<const Point> points, v1::UpsertRequest* out) {
  for (const Point& point : points) {
    v1::Point* added = out->add_points();
    ToProto(point.id, added->mutable_id());
    ToProto(point.vector, added->mutable_vector());
  }
}

void ToProto(const PointBlock& block, v1::UpsertRequest* out) {
  const size_t rows = block.ids.size();
  const auto numbers = std::count_if(block.ids.begin(), block.ids.end(),
                                     [](const Id& id) { return id.is_number(); });
  if (numbers == 0 || static_cast<size_t>(numbers) == rows) {
    v1::PointBlock* out_block = out->mutable_block();
    for (const Id& id : block.ids) {
      if (id.is_number()) {
        out_block->add_numbers(id.number());
      } else {
        out_block->add_texts(id.text());
      }
    }
    Pack(block.vectors, out_block->mutable_vectors());
    return;
  }
  // The last point takes what does not divide, so that the server sees the mistake and names it.
  const size_t dimension = block.vectors.size() / rows;
  for (size_t row = 0; row < rows; ++row) {
    v1::Point* point = out->add_points();
    ToProto(block.ids[row], point->mutable_id());
    const std::span<const float> rest = std::span(block.vectors).subspan(row * dimension);
    ToProto(row + 1 == rows ? rest : rest.first(dimension), point->mutable_vector());
  }
}

Metric FromProto(v1::Metric metric) {
  switch (metric) {
    case v1::METRIC_INNER_PRODUCT:
      return Metric::kInnerProduct;
    case v1::METRIC_L2:
      return Metric::kL2;
    default:
      return Metric::kCosine;
  }
}

Normalization FromProto(v1::Normalization normalization) {
  switch (normalization) {
    case v1::NORMALIZATION_L2:
      return Normalization::kL2;
    case v1::NORMALIZATION_REQUIRE_UNIT:
      return Normalization::kRequireUnit;
    default:
      return Normalization::kNone;
  }
}

Engine FromProto(v1::Engine engine) {
  switch (engine) {
    case v1::ENGINE_SCAN:
      return Engine::kScan;
    case v1::ENGINE_REFERENCE:
      return Engine::kReference;
    case v1::ENGINE_FAISS:
      return Engine::kFaiss;
    default:
      return Engine::kOther;
  }
}

Id FromProto(const v1::Id& id) {
  return id.form_case() == v1::Id::kText ? Id(id.text()) : Id(id.number());
}

std::vector<float> FromProto(const v1::Vector& vector) {
  if (vector.values_size() > 0) return {vector.values().begin(), vector.values().end()};
  return Unpack(vector.packed());
}

Collection FromProto(const v1::Collection& collection) {
  return {.name = collection.name(),
          .dimension = collection.dimension(),
          .metric = FromProto(collection.metric()),
          .normalization = FromProto(collection.normalization()),
          .rows = collection.rows(),
          .dead_rows = collection.dead_rows(),
          .sequence = collection.sequence()};
}

MemoryUse FromProto(const v1::MemoryUse& memory) {
  return {.rows_bytes = memory.rows_bytes(),
          .codes_bytes = memory.codes_bytes(),
          .ids_bytes = memory.ids_bytes(),
          .overhead_bytes = memory.overhead_bytes()};
}

LayoutKind FromProto(v1::LayoutKind kind) {
  switch (kind) {
    case v1::LAYOUT_KIND_IDENTITY:
      return LayoutKind::kIdentity;
    case v1::LAYOUT_KIND_ROTATION:
      return LayoutKind::kRotation;
    case v1::LAYOUT_KIND_LEADING_ROTATION:
      return LayoutKind::kLeadingRotation;
    default:
      return LayoutKind::kOther;
  }
}

Layout FromProto(const v1::Layout& message) {
  Layout layout{.kind = FromProto(message.kind()),
                .directions = message.directions(),
                .centered = message.centered(),
                .first_slab_dimensions = message.first_slab_dimensions(),
                .first_slab_sketch = message.first_slab_sketch(),
                .trained_rows = message.trained_rows(),
                .rows = message.rows(),
                .coded_rows = message.coded_rows(),
                .observed_queries = message.observed_queries(),
                .expected_bytes = When(message.has_expected_bytes(), message.expected_bytes()),
                .observed_bytes = When(message.has_observed_bytes(), message.observed_bytes()),
                .slabs = {}};
  for (const v1::Slab& slab : message.slabs()) {
    layout.slabs.push_back(
        {.energy = When(slab.has_energy(), slab.energy()),
         .expected_passed = When(slab.has_expected_passed(), slab.expected_passed()),
         .observed_passed = When(slab.has_observed_passed(), slab.observed_passed())});
  }
  return layout;
}

Description FromProto(const v1::GetCollectionResponse& response) {
  const v1::NormStatistics& norms = response.norms();
  return {.collection = FromProto(response.collection()),
          .norms = {.min = norms.min(),
                    .mean = norms.mean(),
                    .max = norms.max(),
                    .unit_rows = norms.unit_rows(),
                    .zero_rows = norms.zero_rows()},
          .memory = FromProto(response.memory()),
          .layout = FromProto(response.layout())};
}

Upserted FromProto(const v1::UpsertResponse& response) {
  return {
      .added = response.added(), .replaced = response.replaced(), .sequence = response.sequence()};
}

std::vector<Point> FromProto(const google::protobuf::RepeatedPtrField<v1::Point>& points) {
  std::vector<Point> out;
  out.reserve(static_cast<size_t>(points.size()));
  for (const v1::Point& point : points) {
    out.push_back({FromProto(point.id()), FromProto(point.vector())});
  }
  return out;
}

std::vector<Hit> FromProto(const v1::SearchResult& result) {
  std::vector<Hit> hits;
  hits.reserve(static_cast<size_t>(result.hits_size()));
  for (const v1::Hit& hit : result.hits()) {
    hits.push_back({.id = FromProto(hit.id()),
                    .score = hit.score(),
                    .distance = hit.distance(),
                    .vector = FromProto(hit.vector())});
  }
  return hits;
}

SearchAnswer FromProto(const v1::SearchResponse& response) {
  SearchAnswer answer{
      .results = {},
      .metric = FromProto(response.metric()),
      .engine = FromProto(response.engine()),
      .rows_compared = response.rows_compared(),
      .sequence = response.sequence(),
      .server_time = absl::Nanoseconds(static_cast<int64_t>(response.server_time_ns())),
      .rows_refined = response.rows_refined(),
      .rows_rescored = response.rows_rescored(),
      .bytes_read = response.bytes_read()};
  answer.results.reserve(static_cast<size_t>(response.results_size()));
  for (const v1::SearchResult& result : response.results()) {
    answer.results.push_back(FromProto(result));
  }
  return answer;
}

Comparison FromProto(const v1::CompareResponse& response) {
  return {.dimension = response.dimension(),
          .dot_product = response.dot_product(),
          .cosine_similarity = When(response.has_cosine_similarity(), response.cosine_similarity()),
          .cosine_distance = When(response.has_cosine_distance(), response.cosine_distance()),
          .angle_degrees = When(response.has_angle_degrees(), response.angle_degrees()),
          .euclidean_distance = response.euclidean_distance(),
          .squared_distance = response.squared_distance(),
          .norm_a = response.norm_a(),
          .norm_b = response.norm_b(),
          .scalar_projection = When(response.has_scalar_projection(), response.scalar_projection()),
          .vector_projection = {response.vector_projection().begin(),
                                response.vector_projection().end()}};
}

Durability FromProto(v1::Durability durability) {
  switch (durability) {
    case v1::DURABILITY_NONE:
      return Durability::kNone;
    case v1::DURABILITY_FSYNC:
      return Durability::kFsync;
    case v1::DURABILITY_ASYNC:
      return Durability::kAsync;
    default:
      return Durability::kOther;
  }
}

Storage FromProto(const v1::Storage& storage) {
  return {.durability = FromProto(storage.durability()),
          .data_dir = storage.data_dir(),
          .store_bytes = storage.store_bytes(),
          .codes_bytes = storage.codes_bytes(),
          .received_bytes = storage.received_bytes(),
          .written_bytes = storage.written_bytes(),
          .commits = storage.commits(),
          .syncs = storage.syncs(),
          .compactions_running = storage.compactions_running(),
          .compactions_pending_bytes = storage.compactions_pending_bytes()};
}

ServerInfo FromProto(const v1::GetInfoResponse& response) {
  const v1::Limits& limits = response.limits();
  return {.version = response.version(),
          .commit = response.commit(),
          .isa = response.isa(),
          .threads = response.threads(),
          .default_engine = FromProto(response.default_engine()),
          .uptime = absl::Seconds(response.uptime_seconds()),
          .limits = {.max_dimension = limits.max_dimension(),
                     .max_queries = limits.max_queries(),
                     .max_k = limits.max_k(),
                     .max_page_size = limits.max_page_size(),
                     .max_id_bytes = limits.max_id_bytes(),
                     .max_name_length = limits.max_name_length(),
                     .max_message_bytes = limits.max_message_bytes(),
                     .max_request_bytes = limits.max_request_bytes(),
                     .max_waiting_queries = limits.max_waiting_queries(),
                     .max_memory_bytes = limits.max_memory_bytes(),
                     .max_key_requests_per_second = limits.max_key_requests_per_second(),
                     .max_connections = limits.max_connections(),
                     .max_calls_per_connection = limits.max_calls_per_connection()},
          .collections = response.collections(),
          .rows = response.rows(),
          .memory = FromProto(response.memory()),
          .storage = FromProto(response.storage())};
}

}  // namespace vexact::client

#include "server/convert.h"

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/str_format.h"

namespace vexact::server {
namespace {

// Packed vectors are little-endian on the wire and are read and written as they lie in memory.
static_assert(std::endian::native == std::endian::little);

absl::Status Unknown(std::string_view field, int value, std::string_view known) {
  return absl::InvalidArgumentError(absl::StrFormat(
      "%s is %d, which this server does not know; there are %s", field, value, known));
}

std::string Row(int index) { return absl::StrFormat("row %d", index); }

absl::StatusOr<std::vector<PointView>> ReadList(const v1::UpsertRequest& request,
                                                FloatViews& floats) {
  std::vector<PointView> points;
  points.reserve(request.points_size());
  for (int i = 0; i < request.points_size(); ++i) {
    const v1::Point& point = request.points(i);
    const absl::StatusOr<IdView> id = FromProto(Row(i), point.id());
    if (!id.ok()) return id.status();
    const auto vector = floats.Read(Row(i), point.vector());
    if (!vector.ok()) return vector.status();
    points.push_back({*id, *vector});
  }
  return points;
}

absl::Status CheckBlock(const v1::PointBlock& block, const Collection& collection) {
  if (block.numbers_size() > 0 && block.texts_size() > 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("block has %d numbers and %d texts as ids; give one or the other",
                        block.numbers_size(), block.texts_size()));
  }
  const uint64_t rows =
      static_cast<uint64_t>(block.numbers_size()) + static_cast<uint64_t>(block.texts_size());
  const uint64_t expected = rows * collection.dimension() * sizeof(float);
  if (block.vectors().size() != expected) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "block.vectors has %d bytes; %d rows of the %d dimensions of collection \"%s\" take %d",
        block.vectors().size(), rows, collection.dimension(), collection.name(), expected));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<PointView>> ReadBlock(const v1::PointBlock& block,
                                                 const Collection& collection, FloatViews& floats) {
  if (absl::Status status = CheckBlock(block, collection); !status.ok()) return status;
  std::span<const float> rest = floats.Read(block.vectors());
  std::vector<PointView> points;
  points.reserve(block.numbers_size() + block.texts_size());
  const auto add = [&](IdView id) {
    points.push_back({id, rest.first(collection.dimension())});
    rest = rest.subspan(collection.dimension());
  };
  for (const uint64_t number : block.numbers()) add(number);
  for (const std::string& text : block.texts()) add(std::string_view(text));
  return points;
}

// The share of the energy in the coordinates that the slabs up to `level` hold, where it is known.
std::optional<double> EnergyAt(const TrainedLayout& trained, size_t level) {
  const Layout& layout = *trained.layout;
  if (level > 0 && layout.leading()) return std::nullopt;  // those hold components
  const size_t end = level == 0 ? layout.first_width : layout.slab_end(level);
  if (end == 0 || end > trained.energy.size()) return std::nullopt;
  return trained.energy[end - 1];
}

}  // namespace

absl::StatusOr<std::optional<Metric>> FromProto(v1::Metric metric) {
  switch (metric) {
    case v1::METRIC_UNSPECIFIED:
      return std::nullopt;
    case v1::METRIC_INNER_PRODUCT:
      return Metric::kInnerProduct;
    case v1::METRIC_COSINE:
      return Metric::kCosine;
    case v1::METRIC_L2:
      return Metric::kL2;
    default:
      return Unknown("metric", metric, "1 (inner_product), 2 (cosine) and 3 (l2)");
  }
}

absl::StatusOr<std::optional<Normalization>> FromProto(v1::Normalization normalization) {
  switch (normalization) {
    case v1::NORMALIZATION_UNSPECIFIED:
      return std::nullopt;
    case v1::NORMALIZATION_NONE:
      return Normalization::kNone;
    case v1::NORMALIZATION_L2:
      return Normalization::kL2;
    case v1::NORMALIZATION_REQUIRE_UNIT:
      return Normalization::kRequireUnit;
    default:
      return Unknown("normalization", normalization, "1 (none), 2 (l2) and 3 (require_unit)");
  }
}

absl::StatusOr<std::optional<EngineKind>> FromProto(v1::Engine engine) {
  switch (engine) {
    case v1::ENGINE_UNSPECIFIED:
      return std::nullopt;
    case v1::ENGINE_SCAN:
      return EngineKind::kScan;
    case v1::ENGINE_REFERENCE:
      return EngineKind::kReference;
    case v1::ENGINE_FAISS:
      return EngineKind::kFaiss;
    default:
      return Unknown("engine", engine, "1 (scan), 2 (reference) and 3 (faiss)");
  }
}

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

v1::Engine ToProto(EngineKind engine) {
  switch (engine) {
    case EngineKind::kScan:
      return v1::ENGINE_SCAN;
    case EngineKind::kReference:
      return v1::ENGINE_REFERENCE;
    case EngineKind::kFaiss:
      return v1::ENGINE_FAISS;
  }
  return v1::ENGINE_UNSPECIFIED;
}

v1::LayoutKind KindOf(const Layout& layout) {
  if (!layout.has_basis()) return v1::LAYOUT_KIND_IDENTITY;
  return layout.leading() ? v1::LAYOUT_KIND_LEADING_ROTATION : v1::LAYOUT_KIND_ROTATION;
}

absl::StatusOr<std::span<const float>> FloatViews::Read(std::string_view what,
                                                        const v1::Vector& vector) {
  const std::string& packed = vector.packed();
  if (vector.values_size() > 0 && !packed.empty()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: vector has %d values and %d packed bytes; give one or the other", what,
                        vector.values_size(), packed.size()));
  }
  if (packed.size() % sizeof(float) != 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s: vector.packed has %d bytes; it must be 4 bytes a component", what, packed.size()));
  }
  if (!packed.empty()) return Read(packed);
  if (vector.values_size() > 0) {
    return std::span<const float>(vector.values().data(), vector.values_size());
  }
  return absl::InvalidArgumentError(
      absl::StrFormat("%s: vector is empty; give its components in values or packed", what));
}

std::span<const float> FloatViews::Read(std::string_view packed) {
  const size_t components = packed.size() / sizeof(float);
  if (reinterpret_cast<uintptr_t>(packed.data()) % alignof(float) == 0) {
    return {reinterpret_cast<const float*>(packed.data()), components};
  }
  std::vector<float>& copy = copies_.emplace_back(components);
  std::memcpy(copy.data(), packed.data(), packed.size());
  return copy;
}

absl::StatusOr<IdView> FromProto(std::string_view what, const v1::Id& id) {
  switch (id.form_case()) {
    case v1::Id::kNumber:
      return id.number();
    case v1::Id::kText:
      return std::string_view(id.text());
    case v1::Id::FORM_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError(
      absl::StrFormat("%s: id is missing; give a number or a text", what));
}

absl::StatusOr<std::vector<PointView>> ReadPoints(const v1::UpsertRequest& request,
                                                  const Collection& collection,
                                                  FloatViews& floats) {
  const v1::PointBlock& block = request.block();
  const bool has_block =
      block.numbers_size() > 0 || block.texts_size() > 0 || !block.vectors().empty();
  if (!has_block) return ReadList(request, floats);
  if (request.points_size() > 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "the request has %d points and a block; give one or the other", request.points_size()));
  }
  return ReadBlock(block, collection, floats);
}

absl::StatusOr<std::vector<IdView>> ReadIds(const google::protobuf::RepeatedPtrField<v1::Id>& ids) {
  std::vector<IdView> views;
  views.reserve(ids.size());
  for (int i = 0; i < ids.size(); ++i) {
    const absl::StatusOr<IdView> id = FromProto(absl::StrFormat("ids[%d]", i), ids[i]);
    if (!id.ok()) return id.status();
    views.push_back(*id);
  }
  return views;
}

absl::StatusOr<std::vector<Query>> ReadQueries(
    const google::protobuf::RepeatedPtrField<v1::Query>& queries, FloatViews& floats) {
  std::vector<Query> read;
  read.reserve(queries.size());
  for (int i = 0; i < queries.size(); ++i) {
    const std::string what = absl::StrFormat("query %d", i);
    Query& query = read.emplace_back();
    query.exclude_self = queries[i].exclude_self();
    switch (queries[i].target_case()) {
      case v1::Query::kVector: {
        const auto vector = floats.Read(what, queries[i].vector());
        if (!vector.ok()) return vector.status();
        query.target = *vector;
        break;
      }
      case v1::Query::kId: {
        const absl::StatusOr<IdView> id = FromProto(what, queries[i].id());
        if (!id.ok()) return id.status();
        query.target = Own(*id);
        break;
      }
      case v1::Query::TARGET_NOT_SET:
        return absl::InvalidArgumentError(what + " is empty; give a vector or the id of a row");
    }
  }
  return read;
}

void Fill(IdView id, v1::Id& message) {
  if (const auto* number = std::get_if<uint64_t>(&id)) {
    message.set_number(*number);
  } else {
    message.set_text(std::string(std::get<std::string_view>(id)));
  }
}

void Fill(std::span<const float> vector, v1::Vector& message) {
  message.set_packed(vector.data(), vector.size_bytes());
}

void Fill(const RowRef& row, bool with_vector, v1::Point& message) {
  Fill(row.id(), *message.mutable_id());
  if (with_vector) Fill(row.vector(), *message.mutable_vector());
}

void Fill(const Collection& collection, v1::Collection& message) {
  const CollectionInfo info = collection.info();
  message.set_name(collection.name());
  message.set_dimension(info.config.dimension);
  message.set_metric(ToProto(info.config.metric));
  message.set_normalization(ToProto(info.config.normalization));
  message.set_rows(info.rows);
  message.set_dead_rows(info.dead_rows);
  message.set_sequence(info.sequence);
}

void Fill(const MemoryUse& memory, v1::MemoryUse& message) {
  message.set_rows_bytes(memory.rows_bytes);
  message.set_codes_bytes(memory.codes_bytes);
  message.set_ids_bytes(memory.ids_bytes);
  message.set_overhead_bytes(memory.overhead_bytes);
}

void Fill(const LayoutInfo& info, v1::Layout& message) {
  const Layout& layout = *info.trained.layout;
  const LayoutForecast& forecast = info.trained.forecast;
  message.set_kind(KindOf(layout));
  message.set_directions(layout.basis_rows);
  message.set_centered(!layout.center.empty());
  message.set_first_slab_dimensions(layout.first_width);
  message.set_first_slab_sketch(layout.has_sketch());
  message.set_trained_rows(info.trained.trained_rows);
  message.set_rows(info.rows);
  message.set_coded_rows(info.coded_rows);
  message.set_observed_queries(info.searches);
  if (!forecast.passed.empty()) {
    message.set_expected_bytes(forecast.bytes_per_query +
                               forecast.bytes_per_row * static_cast<double>(info.rows));
  }
  if (info.searches > 0) message.set_observed_bytes(info.observed_bytes);
  for (size_t level = 0; level < layout.levels(); ++level) {
    v1::Slab& slab = *message.add_slabs();
    if (const auto energy = EnergyAt(info.trained, level)) slab.set_energy(*energy);
    if (level < forecast.passed.size()) slab.set_expected_passed(forecast.passed[level]);
    if (level < info.observed_passed.size()) slab.set_observed_passed(info.observed_passed[level]);
  }
}

void Fill(const UpsertResult& result, v1::UpsertResponse& message) {
  message.set_added(result.added);
  message.set_replaced(result.replaced);
  message.set_sequence(result.sequence);
}

absl::Status Prefixed(std::string_view prefix, const absl::Status& status) {
  absl::Status prefixed(status.code(),
                        absl::StrFormat("%s: %s", prefix, std::string(status.message())));
  status.ForEachPayload([&](absl::string_view type, const absl::Cord& payload) {
    prefixed.SetPayload(type, payload);
  });
  return prefixed;
}

}  // namespace vexact::server

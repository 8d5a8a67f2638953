// Messages of package vexact.v1 to core's types and back. Errors are INVALID_ARGUMENT and name the
// row or query (from 0).
//
// What is converted from a message views that message wherever it can.
#pragma once

#include <deque>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/collection.h"
#include "core/engine.h"
#include "core/id.h"
#include "core/metric.h"
#include "vexact/v1/collections.pb.h"
#include "vexact/v1/points.pb.h"
#include "vexact/v1/search.pb.h"
#include "vexact/v1/types.pb.h"

namespace vexact::server {

// Absent for UNSPECIFIED. The message names the field.
absl::StatusOr<std::optional<Metric>> FromProto(v1::Metric metric);
absl::StatusOr<std::optional<Normalization>> FromProto(v1::Normalization normalization);
absl::StatusOr<std::optional<EngineKind>> FromProto(v1::Engine engine);

v1::Metric ToProto(Metric metric);
v1::Normalization ToProto(Normalization normalization);
v1::Engine ToProto(EngineKind engine);
v1::LayoutKind KindOf(const Layout& layout);

// The float32 components of vectors that came in messages, as spans; copies those bytes that do not
// lie where floats may. The spans are valid as long as both the message and this.
class FloatViews {
 public:
  // The components of either form. The message begins with `what`.
  absl::StatusOr<std::span<const float>> Read(std::string_view what, const v1::Vector& vector);

  // REQUIRES: a length that is a multiple of 4.
  std::span<const float> Read(std::string_view packed);

 private:
  std::deque<std::vector<float>> copies_;
};

// A view of the message. The error begins with `what`.
absl::StatusOr<IdView> FromProto(std::string_view what, const v1::Id& id);

// The rows of a request, from whichever of its two forms holds them, for a collection of that name
// and dimension.
absl::StatusOr<std::vector<PointView>> ReadPoints(const v1::UpsertRequest& request,
                                                  const Collection& collection, FloatViews& floats);

absl::StatusOr<std::vector<IdView>> ReadIds(const google::protobuf::RepeatedPtrField<v1::Id>& ids);

absl::StatusOr<std::vector<Query>> ReadQueries(
    const google::protobuf::RepeatedPtrField<v1::Query>& queries, FloatViews& floats);

void Fill(IdView id, v1::Id& message);
// In packed form.
void Fill(std::span<const float> vector, v1::Vector& message);
void Fill(const RowRef& row, bool with_vector, v1::Point& message);
void Fill(const Collection& collection, v1::Collection& message);
void Fill(const UpsertResult& result, v1::UpsertResponse& message);
void Fill(const MemoryUse& memory, v1::MemoryUse& message);
void Fill(const LayoutInfo& info, v1::Layout& message);

// The same code, with `prefix` and ": " before the message.
absl::Status Prefixed(std::string_view prefix, const absl::Status& status);

}  // namespace vexact::server

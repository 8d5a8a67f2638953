// Between the library's values and the messages on the wire.
//
// A value that this library does not know, from a newer server, becomes the nearest thing that says
// so (kOther) or the documented default; nothing here fails.
#pragma once

#include <span>
#include <vector>

#include "vexact/types.h"
#include "vexact/v1/collections.pb.h"
#include "vexact/v1/points.pb.h"
#include "vexact/v1/search.pb.h"
#include "vexact/v1/server.pb.h"
#include "vexact/v1/types.pb.h"

namespace vexact::client {

v1::Metric ToProto(Metric metric);
v1::Normalization ToProto(Normalization normalization);
v1::Engine ToProto(Engine engine);
void ToProto(const Id& id, v1::Id* out);
// In packed form.
void ToProto(std::span<const float> vector, v1::Vector* out);
void ToProto(const Query& query, v1::Query* out);
void ToProto(const Query& query, v1::Operand* out);
void ToProto(std::span<const Point> points, v1::UpsertRequest* out);
// As a block when all ids have one form, as points otherwise. A vector of the wrong total length is
// passed on, for the server to refuse.
void ToProto(const PointBlock& block, v1::UpsertRequest* out);

Metric FromProto(v1::Metric metric);
Normalization FromProto(v1::Normalization normalization);
Engine FromProto(v1::Engine engine);
Durability FromProto(v1::Durability durability);
Id FromProto(const v1::Id& id);
std::vector<float> FromProto(const v1::Vector& vector);
Collection FromProto(const v1::Collection& collection);
Description FromProto(const v1::GetCollectionResponse& response);
Upserted FromProto(const v1::UpsertResponse& response);
std::vector<Point> FromProto(const google::protobuf::RepeatedPtrField<v1::Point>& points);
std::vector<Hit> FromProto(const v1::SearchResult& result);
SearchAnswer FromProto(const v1::SearchResponse& response);
Comparison FromProto(const v1::CompareResponse& response);
MemoryUse FromProto(const v1::MemoryUse& memory);
Storage FromProto(const v1::Storage& storage);
ServerInfo FromProto(const v1::GetInfoResponse& response);

}  // namespace vexact::client

#include "server/collections_service.h"

#include <memory>
#include <string>

#include "server/call.h"
#include "server/convert.h"

namespace vexact::server {

absl::Status CollectionsService::Create(const v1::CreateCollectionRequest& request,
                                        v1::CreateCollectionResponse& response) {
  const auto metric = FromProto(request.metric());
  if (!metric.ok()) return metric.status();
  const auto normalization = FromProto(request.normalization());
  if (!normalization.ok()) return normalization.status();
  const CollectionConfig config = {
      .dimension = request.dimension(),
      .metric = metric->value_or(Metric::kCosine),
      .normalization = normalization->value_or(Normalization::kNone),
  };
  const auto created = context_.catalog().Create(request.name(), config);
  if (!created.ok()) return created.status();
  Fill(*created->collection, *response.mutable_collection());
  response.set_created(created->created);
  return absl::OkStatus();
}

absl::Status CollectionsService::Describe(const v1::GetCollectionRequest& request,
                                          v1::GetCollectionResponse& response) {
  const auto collection = context_.catalog().Get(request.name());
  if (!collection.ok()) return collection.status();
  Fill(**collection, *response.mutable_collection());
  const NormStatistics norms = (*collection)->Norms();
  v1::NormStatistics& norms_message = *response.mutable_norms();
  norms_message.set_min(norms.min);
  norms_message.set_mean(norms.mean);
  norms_message.set_max(norms.max);
  norms_message.set_unit_rows(norms.unit_rows);
  norms_message.set_zero_rows(norms.zero_rows);
  Fill((*collection)->memory(), *response.mutable_memory());
  Fill((*collection)->layout(), *response.mutable_layout());
  return absl::OkStatus();
}

absl::Status CollectionsService::Delete(const v1::DeleteCollectionRequest& request,
                                        v1::DeleteCollectionResponse& response) {
  const auto dropped = context_.catalog().Drop(request.name());
  if (!dropped.ok()) return dropped.status();
  response.set_rows(*dropped);
  return absl::OkStatus();
}

absl::Status CollectionsService::Set(const v1::SetMetricRequest& request,
                                     v1::SetMetricResponse& response) {
  const auto collection = context_.catalog().Get(request.name());
  if (!collection.ok()) return collection.status();
  const auto metric = FromProto(request.metric());
  if (!metric.ok()) return metric.status();
  if (!metric->has_value()) {
    return absl::InvalidArgumentError(
        "metric is missing; there are 1 (inner_product), 2 (cosine) and 3 (l2)");
  }
  absl::Status status = (*collection)->SetMetric(**metric);
  if (!status.ok()) return status;
  Fill(**collection, *response.mutable_collection());
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* CollectionsService::CreateCollection(
    grpc::CallbackServerContext* call, const grpc::ByteBuffer* request_bytes,
    grpc::ByteBuffer* response_bytes) {
  return StartUnary<v1::CreateCollectionRequest, v1::CreateCollectionResponse>(
      context_, call, "Collections/CreateCollection", request_bytes, response_bytes,
      [this](const v1::CreateCollectionRequest& request, const CallInfo&,
             v1::CreateCollectionResponse& response) { return Create(request, response); });
}

grpc::ServerUnaryReactor* CollectionsService::GetCollection(grpc::CallbackServerContext* call,
                                                            const grpc::ByteBuffer* request_bytes,
                                                            grpc::ByteBuffer* response_bytes) {
  return StartUnary<v1::GetCollectionRequest, v1::GetCollectionResponse>(
      context_, call, "Collections/GetCollection", request_bytes, response_bytes,
      [this](const v1::GetCollectionRequest& request, const CallInfo&,
             v1::GetCollectionResponse& response) { return Describe(request, response); });
}

grpc::ServerUnaryReactor* CollectionsService::ListCollections(grpc::CallbackServerContext* call,
                                                              const grpc::ByteBuffer* request_bytes,
                                                              grpc::ByteBuffer* response_bytes) {
  return StartUnary<v1::ListCollectionsRequest, v1::ListCollectionsResponse>(
      context_, call, "Collections/ListCollections", request_bytes, response_bytes,
      [this](const v1::ListCollectionsRequest&, const CallInfo& info,
             v1::ListCollectionsResponse& response) {
        for (const auto& collection : context_.catalog().List()) {
          if (!info.caller.Sees(collection->name())) continue;
          Fill(*collection, *response.add_collections());
        }
        for (const auto& [name, status] : context_.catalog().damaged()) {
          if (!info.caller.Sees(name)) continue;
          v1::DamagedCollection& damaged = *response.add_damaged();
          damaged.set_name(name);
          damaged.set_error(std::string(status.message()));
        }
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* CollectionsService::DeleteCollection(
    grpc::CallbackServerContext* call, const grpc::ByteBuffer* request_bytes,
    grpc::ByteBuffer* response_bytes) {
  return StartUnary<v1::DeleteCollectionRequest, v1::DeleteCollectionResponse>(
      context_, call, "Collections/DeleteCollection", request_bytes, response_bytes,
      [this](const v1::DeleteCollectionRequest& request, const CallInfo&,
             v1::DeleteCollectionResponse& response) { return Delete(request, response); });
}

grpc::ServerUnaryReactor* CollectionsService::SetMetric(grpc::CallbackServerContext* call,
                                                        const grpc::ByteBuffer* request_bytes,
                                                        grpc::ByteBuffer* response_bytes) {
  return StartUnary<v1::SetMetricRequest, v1::SetMetricResponse>(
      context_, call, "Collections/SetMetric", request_bytes, response_bytes,
      [this](const v1::SetMetricRequest& request, const CallInfo&,
             v1::SetMetricResponse& response) { return Set(request, response); });
}

}  // namespace vexact::server

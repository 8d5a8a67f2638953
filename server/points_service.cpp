#include "server/points_service.h"

#include <algorithm>
#include <memory>
#include <optional>

#include "server/call.h"
#include "server/convert.h"
#include "server/page_token.h"
#include "server/upsert.h"

namespace vexact::server {
namespace {

constexpr uint32_t kDefaultPageSize = 100;

// RESOURCE_EXHAUSTED when not even the vectors of `points` rows fit into an answer.
absl::Status CheckVectorBytes(const Config& config, uint64_t points, const Collection& collection) {
  return CheckAnswerBytes(config, points * collection.dimension() * sizeof(float),
                          /*at_least=*/true);
}

}  // namespace

absl::Status PointsService::Get(const v1::GetPointsRequest& request,
                                v1::GetPointsResponse& response) {
  const auto collection = context_.catalog().Get(request.collection());
  if (!collection.ok()) return collection.status();
  const auto ids = ReadIds(request.ids());
  if (!ids.ok()) return ids.status();
  const auto found = (*collection)->Get(*ids);
  if (!found.ok()) return found.status();
  if (!request.without_vectors()) {
    absl::Status status = CheckVectorBytes(context_.config, found->points.size(), **collection);
    if (!status.ok()) return status;
  }
  for (const RowRef& row : found->points) {
    Fill(row, !request.without_vectors(), *response.add_points());
  }
  response.set_sequence(found->snapshot->sequence);
  return absl::OkStatus();
}

absl::Status PointsService::Delete(const v1::DeletePointsRequest& request, const CallInfo& info,
                                   v1::DeletePointsResponse& response) {
  const auto collection = context_.catalog().Get(request.collection());
  if (!collection.ok()) return collection.status();
  const auto ids = ReadIds(request.ids());
  if (!ids.ok()) return ids.status();
  info.trace.write() = {.collection = (*collection)->name(), .rows = ids->size()};
  const auto result = (*collection)->Delete(*ids);
  if (!result.ok()) return result.status();
  response.set_deleted(result->deleted);
  response.set_missing(result->missing);
  response.set_sequence(result->sequence);
  return absl::OkStatus();
}

absl::Status PointsService::Count(const v1::CountPointsRequest& request,
                                  v1::CountPointsResponse& response) {
  const auto collection = context_.catalog().Get(request.collection());
  if (!collection.ok()) return collection.status();
  const CollectionInfo info = (*collection)->info();
  response.set_rows(info.rows);
  response.set_sequence(info.sequence);
  return absl::OkStatus();
}

absl::Status PointsService::Scroll(const v1::ScrollPointsRequest& request,
                                   v1::ScrollPointsResponse& response) {
  const auto collection = context_.catalog().Get(request.collection());
  if (!collection.ok()) return collection.status();
  std::optional<Id> after;
  if (!request.page_token().empty()) {
    auto read = ReadPageToken((*collection)->name(), request.page_token());
    if (!read.ok()) return read.status();
    after = *std::move(read);
  }
  const uint32_t page_size = request.page_size() == 0 ? kDefaultPageSize : request.page_size();
  const auto page =
      (*collection)->Scroll(after ? std::optional(View(*after)) : std::nullopt, page_size);
  if (!page.ok()) return page.status();
  if (request.with_vectors()) {
    absl::Status status = CheckVectorBytes(context_.config, page->points.size(), **collection);
    if (!status.ok()) return status;
  }
  for (const RowRef& row : page->points) Fill(row, request.with_vectors(), *response.add_points());
  if (page->next)
    response.set_next_page_token(MakePageToken((*collection)->name(), View(*page->next)));
  response.set_sequence(page->snapshot->sequence);
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* PointsService::Upsert(grpc::CallbackServerContext* call,
                                                const grpc::ByteBuffer* request_bytes,
                                                grpc::ByteBuffer* response_bytes) {
  return StartUnary<v1::UpsertRequest, v1::UpsertResponse>(
      context_, call, "Points/Upsert", request_bytes, response_bytes,
      [this](const v1::UpsertRequest& request, const CallInfo& info, v1::UpsertResponse& response) {
        return ApplyUpsert(context_, request, info.trace, response);
      });
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* PointsService::BulkUpsert(
    grpc::CallbackServerContext* call) {
  return StartBulkUpsert(context_, call);
}

grpc::ServerUnaryReactor* PointsService::GetPoints(grpc::CallbackServerContext* call,
                                                   const grpc::ByteBuffer* request_bytes,
                                                   grpc::ByteBuffer* response_bytes) {
  return StartUnary<v1::GetPointsRequest, v1::GetPointsResponse>(
      context_, call, "Points/GetPoints", request_bytes, response_bytes,
      [this](const v1::GetPointsRequest& request, const CallInfo&,
             v1::GetPointsResponse& response) { return Get(request, response); });
}

grpc::ServerUnaryReactor* PointsService::DeletePoints(grpc::CallbackServerContext* call,
                                                      const grpc::ByteBuffer* request_bytes,
                                                      grpc::ByteBuffer* response_bytes) {
  return StartUnary<v1::DeletePointsRequest, v1::DeletePointsResponse>(
      context_, call, "Points/DeletePoints", request_bytes, response_bytes,
      [this](const v1::DeletePointsRequest& request, const CallInfo& info,
             v1::DeletePointsResponse& response) { return Delete(request, info, response); });
}

grpc::ServerUnaryReactor* PointsService::CountPoints(grpc::CallbackServerContext* call,
                                                     const grpc::ByteBuffer* request_bytes,
                                                     grpc::ByteBuffer* response_bytes) {
  return StartUnary<v1::CountPointsRequest, v1::CountPointsResponse>(
      context_, call, "Points/CountPoints", request_bytes, response_bytes,
      [this](const v1::CountPointsRequest& request, const CallInfo&,
             v1::CountPointsResponse& response) { return Count(request, response); });
}

grpc::ServerUnaryReactor* PointsService::ScrollPoints(grpc::CallbackServerContext* call,
                                                      const grpc::ByteBuffer* request_bytes,
                                                      grpc::ByteBuffer* response_bytes) {
  return StartUnary<v1::ScrollPointsRequest, v1::ScrollPointsResponse>(
      context_, call, "Points/ScrollPoints", request_bytes, response_bytes,
      [this](const v1::ScrollPointsRequest& request, const CallInfo&,
             v1::ScrollPointsResponse& response) { return Scroll(request, response); });
}

}  // namespace vexact::server

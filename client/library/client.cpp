#include "vexact/client.h"

#include <utility>

#include "client/library/call.h"
#include "client/library/connection.h"
#include "client/library/convert.h"
#include "client/library/stream.h"

namespace vexact::client {
namespace {

template <typename Request>
Request Named(std::string_view name) {
  Request request;
  request.set_name(std::string(name));
  return request;
}

template <typename Request>
Request InCollection(std::string_view collection) {
  Request request;
  request.set_collection(std::string(collection));
  return request;
}

absl::StatusOr<Upserted> SendUpsert(Connection& connection, const CallOptions& call,
                                    const v1::UpsertRequest& request) {
  const auto response = Call<v1::Points>(connection, call, request, &v1::Points::Stub::Upsert);
  if (!response.ok()) return response.status();
  return FromProto(*response);
}

}  // namespace

struct Scroll::State {
  std::shared_ptr<Connection> connection;
  v1::ScrollPointsRequest request;
  CallOptions call;

  std::vector<Point> page;
  size_t next = 0;    // in the page
  bool last = false;  // no page follows
  absl::Status status;
};

Scroll::Scroll(std::unique_ptr<State> state) : state_(std::move(state)) {}
Scroll::~Scroll() = default;
Scroll::Scroll(Scroll&&) noexcept = default;
Scroll& Scroll::operator=(Scroll&&) noexcept = default;

bool Scroll::Next() {
  State& state = *state_;
  while (state.next == state.page.size()) {
    if (state.last || !state.status.ok()) return false;
    const auto response = Call<v1::Points>(*state.connection, state.call, state.request,
                                           &v1::Points::Stub::ScrollPoints);
    if (!response.ok()) {
      state.status = response.status();
      return false;
    }
    state.page = FromProto(response->points());
    state.next = 0;
    state.last = response->next_page_token().empty();
    state.request.set_page_token(response->next_page_token());
  }
  ++state.next;
  return true;
}

const Point& Scroll::point() const { return state_->page[state_->next - 1]; }
const absl::Status& Scroll::status() const { return state_->status; }

Client::Client(std::string address, ConnectOptions options)
    : connection_(std::make_shared<Connection>(std::move(address), std::move(options))) {}
Client::~Client() = default;
Client::Client(const Client&) = default;
Client& Client::operator=(const Client&) = default;

const std::string& Client::address() const { return connection_->address(); }

absl::StatusOr<Creation> Client::CreateCollection(const CollectionSpec& spec,
                                                  const CallOptions& call) const {
  auto request = Named<v1::CreateCollectionRequest>(spec.name);
  request.set_dimension(spec.dimension);
  request.set_metric(ToProto(spec.metric));
  request.set_normalization(ToProto(spec.normalization));
  const auto response =
      Call<v1::Collections>(*connection_, call, request, &v1::Collections::Stub::CreateCollection);
  if (!response.ok()) return response.status();
  return Creation{FromProto(response->collection()), response->created()};
}

absl::StatusOr<Description> Client::GetCollection(std::string_view name,
                                                  const CallOptions& call) const {
  const auto response =
      Call<v1::Collections>(*connection_, call, Named<v1::GetCollectionRequest>(name),
                            &v1::Collections::Stub::GetCollection);
  if (!response.ok()) return response.status();
  return FromProto(*response);
}

absl::StatusOr<CollectionList> Client::ListCollections(const CallOptions& call) const {
  const auto response = Call<v1::Collections>(*connection_, call, v1::ListCollectionsRequest(),
                                              &v1::Collections::Stub::ListCollections);
  if (!response.ok()) return response.status();
  CollectionList list;
  for (const v1::Collection& collection : response->collections()) {
    list.collections.push_back(FromProto(collection));
  }
  for (const v1::DamagedCollection& damaged : response->damaged()) {
    list.damaged.push_back({damaged.name(), damaged.error()});
  }
  return list;
}

absl::StatusOr<uint64_t> Client::DeleteCollection(std::string_view name,
                                                  const CallOptions& call) const {
  const auto response =
      Call<v1::Collections>(*connection_, call, Named<v1::DeleteCollectionRequest>(name),
                            &v1::Collections::Stub::DeleteCollection);
  if (!response.ok()) return response.status();
  return response->rows();
}

absl::StatusOr<Collection> Client::SetMetric(std::string_view name, Metric metric,
                                             const CallOptions& call) const {
  auto request = Named<v1::SetMetricRequest>(name);
  request.set_metric(ToProto(metric));
  const auto response =
      Call<v1::Collections>(*connection_, call, request, &v1::Collections::Stub::SetMetric);
  if (!response.ok()) return response.status();
  return FromProto(response->collection());
}

absl::StatusOr<Upserted> Client::Upsert(std::string_view collection,
                                        const std::vector<Point>& points,
                                        const CallOptions& call) const {
  auto request = InCollection<v1::UpsertRequest>(collection);
  ToProto(points, &request);
  return SendUpsert(*connection_, call, request);
}

absl::StatusOr<Upserted> Client::UpsertBlock(std::string_view collection, const PointBlock& block,
                                             const CallOptions& call) const {
  auto request = InCollection<v1::UpsertRequest>(collection);
  ToProto(block, &request);
  return SendUpsert(*connection_, call, request);
}

BulkWriter Client::BulkUpsert(std::string_view collection, const BulkOptions& options) const {
  return BulkWriter(
      std::make_unique<BulkWriter::Stream>(connection_, std::string(collection), options));
}

absl::StatusOr<std::vector<Point>> Client::Get(std::string_view collection,
                                               const std::vector<Id>& ids,
                                               const CallOptions& call) const {
  auto request = InCollection<v1::GetPointsRequest>(collection);
  for (const Id& id : ids) ToProto(id, request.add_ids());
  const auto response = Call<v1::Points>(*connection_, call, request, &v1::Points::Stub::GetPoints);
  if (!response.ok()) return response.status();
  return FromProto(response->points());
}

absl::StatusOr<Deleted> Client::Delete(std::string_view collection, const std::vector<Id>& ids,
                                       const CallOptions& call) const {
  auto request = InCollection<v1::DeletePointsRequest>(collection);
  for (const Id& id : ids) ToProto(id, request.add_ids());
  const auto response =
      Call<v1::Points>(*connection_, call, request, &v1::Points::Stub::DeletePoints);
  if (!response.ok()) return response.status();
  return Deleted{.deleted = response->deleted(),
                 .missing = response->missing(),
                 .sequence = response->sequence()};
}

absl::StatusOr<uint64_t> Client::Count(std::string_view collection, const CallOptions& call) const {
  const auto response =
      Call<v1::Points>(*connection_, call, InCollection<v1::CountPointsRequest>(collection),
                       &v1::Points::Stub::CountPoints);
  if (!response.ok()) return response.status();
  return response->rows();
}

Scroll Client::Scroll(std::string_view collection, const ScrollOptions& options,
                      const CallOptions& call) const {
  auto state = std::make_unique<client::Scroll::State>();
  state->connection = connection_;
  state->request = InCollection<v1::ScrollPointsRequest>(collection);
  state->request.set_page_size(options.page_size);
  state->request.set_with_vectors(options.with_vectors);
  state->call = call;
  return client::Scroll(std::move(state));
}

absl::StatusOr<SearchAnswer> Client::SearchBatch(std::string_view collection,
                                                 const std::vector<Query>& queries,
                                                 const SearchOptions& options,
                                                 const CallOptions& call) const {
  auto request = InCollection<v1::SearchRequest>(collection);
  for (const Query& query : queries) ToProto(query, request.add_queries());
  request.set_k(options.k);
  if (options.metric) request.set_metric(ToProto(*options.metric));
  if (options.engine) request.set_engine(ToProto(*options.engine));
  request.set_with_vectors(options.with_vectors);
  const auto response = Call<v1::Search>(*connection_, call, request, &v1::Search::Stub::Search);
  if (!response.ok()) return response.status();
  return FromProto(*response);
}

absl::StatusOr<std::vector<Hit>> Client::Search(std::string_view collection, const Query& query,
                                                const SearchOptions& options,
                                                const CallOptions& call) const {
  absl::StatusOr<SearchAnswer> answer = SearchBatch(collection, {query}, options, call);
  if (!answer.ok()) return answer.status();
  if (answer->results.size() != 1) {
    return absl::InternalError("the server did not answer one query with one result");
  }
  return std::move(answer->results.front());
}

absl::StatusOr<Comparison> Client::Compare(const Query& a, const Query& b,
                                           std::string_view collection,
                                           const CallOptions& call) const {
  auto request = InCollection<v1::CompareRequest>(collection);
  ToProto(a, request.mutable_a());
  ToProto(b, request.mutable_b());
  const auto response = Call<v1::Search>(*connection_, call, request, &v1::Search::Stub::Compare);
  if (!response.ok()) return response.status();
  return FromProto(*response);
}

absl::StatusOr<ServerInfo> Client::GetInfo(const CallOptions& call) const {
  const auto response =
      Call<v1::Server>(*connection_, call, v1::GetInfoRequest(), &v1::Server::Stub::GetInfo);
  if (!response.ok()) return response.status();
  return FromProto(*response);
}

absl::StatusOr<Health> Client::CheckHealth(const CallOptions& call) const {
  namespace health = grpc::health::v1;
  const auto response = Call<health::Health>(*connection_, call, health::HealthCheckRequest(),
                                             &health::Health::Stub::Check);
  if (!response.ok()) return response.status();
  switch (response->status()) {
    case health::HealthCheckResponse::SERVING:
      return Health::kServing;
    case health::HealthCheckResponse::NOT_SERVING:
      return Health::kNotServing;
    default:
      return Health::kUnknown;
  }
}

}  // namespace vexact::client

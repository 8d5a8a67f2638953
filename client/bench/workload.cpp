#include "client/bench/workload.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/command/interruption.h"
#include "client/command/npy_reader.h"
#include "client/library/convert.h"

namespace vexact::client {
namespace {

constexpr uint64_t kMostVectors = 10'000;
constexpr uint64_t kMostBytes = 64 << 20;
constexpr uint64_t kSampledVectors = 1'000;
// Rows that upserts write, and write again.
constexpr uint64_t kWrittenRows = 10'000;
// Ids of one request to get or to delete them.
constexpr uint64_t kIdsARequest = 100;

uint64_t MostVectors(uint64_t dimension, uint64_t most) {
  return std::clamp<uint64_t>(kMostBytes / (dimension * sizeof(float)), 1, most);
}

grpc::ByteBuffer Serialized(const google::protobuf::Message& message) {
  const grpc::Slice slice(message.SerializeAsString());
  return grpc::ByteBuffer(&slice, 1);
}

// A random choice of `most` ids of all, each as likely as any other (reservoir sampling).
absl::StatusOr<std::vector<Id>> SampleIds(const Client& client, const std::string& collection,
                                          uint64_t most, const CallOptions& call) {
  std::vector<Id> sample;
  std::mt19937_64 random(std::random_device{}());
  uint64_t seen = 0;
  Scroll scroll = client.Scroll(collection, {.page_size = 10'000, .with_vectors = false}, call);
  for (; scroll.Next(); ++seen) {
    if (Interrupted()) return absl::CancelledError("interrupted");
    if (sample.size() < most) {
      sample.push_back(scroll.point().id);
      continue;
    }
    const uint64_t place = std::uniform_int_distribution<uint64_t>(0, seen)(random);
    if (place < most) sample[place] = scroll.point().id;
  }
  if (!scroll.status().ok()) return scroll.status();
  std::shuffle(sample.begin(), sample.end(), random);
  return sample;
}

Id WrittenId(uint64_t row) { return Id(absl::StrCat("vexact-bench:", row)); }

}  // namespace

absl::StatusOr<BenchVectors> ReadVectors(const std::string& path) {
  absl::StatusOr<NpyReader> file = NpyReader::Open(path);
  if (!file.ok()) return file.status();
  BenchVectors vectors;
  const uint64_t count = std::min(file->rows(), MostVectors(file->dimension(), kMostVectors));
  while (vectors.size() < count) {
    const absl::StatusOr<std::span<const float>> row = file->Next();
    if (!row.ok()) return row.status();
    vectors.emplace_back(row->begin(), row->end());
  }
  return vectors;
}

absl::StatusOr<BenchVectors> SampleVectors(const Client& client, const Collection& collection,
                                           const CallOptions& call) {
  const absl::StatusOr<std::vector<Id>> ids =
      SampleIds(client, collection.name, MostVectors(collection.dimension, kSampledVectors), call);
  if (!ids.ok()) return ids.status();
  if (ids->empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("collection \"", collection.name,
                     "\" has no rows to search for; add some, or give queries with --queries"));
  }
  BenchVectors vectors;
  for (auto at = ids->begin(); at != ids->end();) {
    const auto end = at + std::min<long>(kIdsARequest, ids->end() - at);
    absl::StatusOr<std::vector<Point>> points =
        client.Get(collection.name, std::vector<Id>(at, end), call);
    if (!points.ok()) return points.status();
    for (Point& point : *points) vectors.push_back(std::move(point.vector));
    at = end;
  }
  return vectors;
}

std::vector<Query> QueriesOf(const BenchVectors& vectors, uint64_t first, uint32_t count) {
  std::vector<Query> queries;
  for (uint64_t i = first; i < first + count; ++i)
    queries.emplace_back(vectors[i % vectors.size()]);
  return queries;
}

Workload::Workload(const WorkloadOptions& options, const BenchVectors& vectors,
                   std::optional<Golden> golden)
    : options_(options), vectors_(vectors.size()), golden_(std::move(golden)) {
  if (options.upsert_share < 1) MakeSearches(vectors);
  if (options.upsert_share > 0) MakeUpserts(vectors);
}

void Workload::MakeSearches(const BenchVectors& vectors) {
  for (uint64_t first = 0; first < vectors.size(); first += options_.batch) {
    v1::SearchRequest request;
    request.set_collection(options_.collection);
    for (const Query& query : QueriesOf(vectors, first, options_.batch)) {
      ToProto(query, request.add_queries());
    }
    request.set_k(options_.search.k);
    if (options_.search.metric) request.set_metric(ToProto(*options_.search.metric));
    if (options_.search.engine) request.set_engine(ToProto(*options_.search.engine));
    searches_.push_back({Serialized(request), first});
  }
}

void Workload::MakeUpserts(const BenchVectors& vectors) {
  const uint64_t rows = MostVectors(vectors[0].size(), kWrittenRows);
  for (uint64_t first = 0; first < rows; first += options_.batch) {
    v1::UpsertRequest request;
    request.set_collection(options_.collection);
    PointBlock block;
    for (uint64_t row = first; row < first + options_.batch; ++row) {
      const std::vector<float>& vector = vectors[row % vectors.size()];
      block.ids.push_back(WrittenId(row));
      block.vectors.insert(block.vectors.end(), vector.begin(), vector.end());
    }
    ToProto(block, &request);
    upserts_.push_back({Serialized(request)});
  }
}

bool Workload::IsUpsert(uint64_t number) const {
  const auto upserts_before = [&](uint64_t requests) {
    return static_cast<uint64_t>(std::floor(static_cast<double>(requests) * options_.upsert_share));
  };
  return upserts_before(number + 1) > upserts_before(number);
}

uint64_t Workload::Found(const BenchRequest& request, const v1::SearchResponse& answer) const {
  uint64_t found = 0;
  for (int i = 0; i < answer.results_size(); ++i) {
    const uint64_t query = (request.first_query + static_cast<uint64_t>(i)) % vectors_;
    found += golden_->Found(query, answer.results(i));
  }
  return found;
}

absl::Status Workload::RemoveRows(const Client& client) const {
  const uint64_t rows = upserts_.size() * options_.batch;
  for (uint64_t first = 0; first < rows; first += kIdsARequest) {
    std::vector<Id> ids;
    for (uint64_t row = first; row < std::min(first + kIdsARequest, rows); ++row) {
      ids.push_back(WrittenId(row));
    }
    const absl::StatusOr<Deleted> deleted = client.Delete(options_.collection, ids);
    if (!deleted.ok()) return deleted.status();
  }
  return absl::OkStatus();
}

}  // namespace vexact::client

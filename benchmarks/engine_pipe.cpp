#include "benchmarks/engine_pipe.h"

#include <bit>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "benchmarks/fp32_scan.h"
#include "benchmarks/measure.h"
#include "core/collection.h"
#include "core/kernel/kernel.h"

namespace vexact::bench {
namespace {

static_assert(std::endian::native == std::endian::little);

// Rows are added in blocks; a longer request is a length that was misread.
constexpr uint64_t kMaxRequestBytes = uint64_t{1} << 30;

enum class Command : uint32_t { kPing, kCreate, kAdd, kSettle, kSearch, kFp32Scan, kDescribe };

// Takes the fields of a request one after another. Once one is missing all that follow are zero or
// empty, and complete() says so.
class Fields {
 public:
  explicit Fields(std::string_view bytes) : bytes_(bytes) {}

  template <typename T>
  T Take() {
    T value{};
    if (Has(sizeof(T))) Copy(&value, sizeof(T));
    return value;
  }

  // rows x dimension components.
  std::vector<float> TakeVectors(uint64_t rows, uint32_t dimension) {
    const uint64_t row_bytes = uint64_t{dimension} * sizeof(float);
    // Divided, not multiplied: rows may be anything.
    if (row_bytes != 0 && rows > bytes_.size() / row_bytes) missing_ = true;
    if (missing_) return {};
    std::vector<float> vectors(rows * dimension);
    Copy(vectors.data(), rows * row_bytes);
    return vectors;
  }

  // INVALID_ARGUMENT unless the fields taken are the whole request.
  absl::Status complete() const {
    if (missing_) return absl::InvalidArgumentError("the request ends before its last field");
    if (bytes_.empty()) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrFormat("the request goes on for %d bytes after its last field", bytes_.size()));
  }

 private:
  bool Has(size_t bytes) {
    if (bytes > bytes_.size()) missing_ = true;
    return !missing_;
  }
  void Copy(void* to, size_t bytes) {
    if (bytes > 0) std::memcpy(to, bytes_.data(), bytes);
    bytes_.remove_prefix(bytes);
  }

  std::string_view bytes_;
  bool missing_ = false;
};

template <typename T>
void Put(std::string& reply, const T& value) {
  reply.append(reinterpret_cast<const char*>(&value), sizeof(T));
}

// One of kMetrics or kEngineKinds by its place there.
template <typename T, size_t n>
absl::StatusOr<T> Choose(std::string_view field, const T (&choices)[n], uint32_t at) {
  if (at < n) return choices[at];
  return absl::InvalidArgumentError(
      absl::StrFormat("%s is %d; it is at most %d", field, at, n - 1));
}

std::span<const float> Row(const std::vector<float>& vectors, size_t row, uint32_t dimension) {
  return std::span(vectors).subspan(row * dimension, dimension);
}

uint64_t NumberOf(IdView id) { return std::get<uint64_t>(id); }

// The id of a row by the address of its first component.
uint64_t IdAt(const CollectionState& state, const float* row) {
  const auto address = reinterpret_cast<uintptr_t>(row);
  for (const CollectionState::Part& part : state.parts) {
    const auto first = reinterpret_cast<uintptr_t>(part.segment->vector(0).data());
    // Wraps around for rows that lie before the segment.
    const uintptr_t at = (address - first) / (part.segment->dimension() * sizeof(float));
    if (at < part.rows) return NumberOf(part.segment->id(static_cast<uint32_t>(at)));
  }
  return std::numeric_limits<uint64_t>::max();
}

class EnginePipe {
 public:
  explicit EnginePipe(int threads) : workers_(threads) {}

  // The reply's fields.
  absl::StatusOr<std::string> Answer(std::string_view request) {
    Fields fields(request);
    const auto command = fields.Take<uint32_t>();
    switch (static_cast<Command>(command)) {
      case Command::kPing:
        return Finish(fields);
      case Command::kCreate:
        return Create(fields);
      case Command::kAdd:
        return Add(fields);
      case Command::kSettle:
        return Settle(fields);
      case Command::kSearch:
        return Search(fields);
      case Command::kFp32Scan:
        return ScanFp32(fields);
      case Command::kDescribe:
        return Describe(fields);
    }
    return absl::InvalidArgumentError(absl::StrFormat("command is %d; it is at most %d", command,
                                                      static_cast<uint32_t>(Command::kDescribe)));
  }

 private:
  static absl::StatusOr<std::string> Finish(const Fields& fields) {
    if (absl::Status status = fields.complete(); !status.ok()) return status;
    return std::string();
  }

  // For every command but `ping` and `create`.
  absl::Status Ready(const Fields& fields) const {
    if (absl::Status status = fields.complete(); !status.ok()) return status;
    if (collection_.has_value()) return absl::OkStatus();
    return absl::FailedPreconditionError("there is no collection; send create first");
  }

  absl::StatusOr<std::string> Create(Fields fields) {
    CollectionConfig config;
    config.dimension = fields.Take<uint32_t>();
    const auto metric = Choose("metric", kMetrics, fields.Take<uint32_t>());
    if (absl::Status status = fields.complete(); !status.ok()) return status;
    if (!metric.ok()) return metric.status();
    config.metric = *metric;
    if (absl::Status status = Collection::Validate(config); !status.ok()) return status;
    collection_.emplace("bench", config, workers_);
    return std::string();
  }

  absl::StatusOr<std::string> Add(Fields fields) {
    const auto first = fields.Take<uint64_t>();
    const auto n = fields.Take<uint64_t>();
    const auto dimension = fields.Take<uint32_t>();
    const std::vector<float> vectors = fields.TakeVectors(n, dimension);
    if (absl::Status status = Ready(fields); !status.ok()) return status;
    std::vector<PointView> points(n);
    for (size_t i = 0; i < n; ++i) points[i] = {first + i, Row(vectors, i, dimension)};
    const auto added = collection_->Upsert(points);
    if (!added.ok()) return added.status();
    return std::string();
  }

  // Figures are those of a collection at rest: whatever else it does in the background is waited
  // for here.
  absl::StatusOr<std::string> Settle(const Fields& fields) {
    if (absl::Status status = Ready(fields); !status.ok()) return status;
    const double start = Seconds();
    if (absl::Status status = collection_->Maintain(); !status.ok()) return status;
    std::string reply;
    Put(reply, Seconds() - start);
    return reply;
  }

  absl::StatusOr<std::string> Search(Fields fields) {
    const auto engine = Choose("engine", kEngineKinds, fields.Take<uint32_t>());
    SearchOptions options;
    options.k = fields.Take<uint32_t>();
    const auto n = fields.Take<uint64_t>();
    const auto dimension = fields.Take<uint32_t>();
    const std::vector<float> vectors = fields.TakeVectors(n, dimension);
    if (absl::Status status = Ready(fields); !status.ok()) return status;
    if (!engine.ok()) return engine.status();
    options.engine = *engine;
    std::vector<Query> queries(n);
    for (size_t i = 0; i < n; ++i) queries[i].target = Row(vectors, i, dimension);

    const double start = Seconds();
    const auto result = collection_->Search(queries, options);
    const double seconds = Seconds() - start;
    if (!result.ok()) return result.status();

    std::string reply;
    Put(reply, seconds);
    Put(reply, uint64_t{result->hits.front().size()});
    for (const auto& hits : result->hits) {
      for (const ScoredRow& hit : hits) Put(reply, NumberOf(hit.row.id()));
    }
    for (const auto& hits : result->hits) {
      for (const ScoredRow& hit : hits) Put(reply, hit.score);
    }
    return reply;
  }

  absl::StatusOr<std::string> ScanFp32(Fields fields) {
    const auto k = fields.Take<uint32_t>();
    const auto dimension = fields.Take<uint32_t>();
    const std::vector<float> query = fields.TakeVectors(1, dimension);
    if (absl::Status status = Ready(fields); !status.ok()) return status;
    // A search that refuses what fp32_scan has to be spared, and hands out the rows.
    const Query same{std::span<const float>(query)};
    const auto rows = collection_->Search({&same, 1}, {.k = k});
    if (!rows.ok()) return rows.status();
    const CollectionState& state = *rows->snapshot;

    const double start = Seconds();
    const std::vector<Neighbour> nearest = Fp32Scan(state, query, k, workers_);
    std::string reply;
    Put(reply, Seconds() - start);
    Put(reply, uint64_t{nearest.size()});
    for (const Neighbour& neighbour : nearest) Put(reply, IdAt(state, neighbour.row));
    return reply;
  }

  absl::StatusOr<std::string> Describe(const Fields& fields) const {
    if (absl::Status status = Ready(fields); !status.ok()) return status;
    const CollectionInfo info = collection_->info();
    const MemoryUse memory = collection_->memory();
    return nlohmann::json{{"isa", ActiveKernel().isa},
                          {"threads", workers_.threads()},
                          {"rows", info.rows},
                          {"dimension", info.config.dimension},
                          {"metric", Name(info.config.metric)},
                          {"rows_bytes", memory.rows_bytes},
                          {"codes_bytes", memory.codes_bytes}}
        .dump();
  }

  Workers workers_;
  std::optional<Collection> collection_;
};

bool Write(const void* bytes, size_t size) { return std::fwrite(bytes, 1, size, stdout) == size; }

bool Send(const absl::StatusOr<std::string>& answer) {
  const uint32_t failed = answer.ok() ? 0 : 1;
  const std::string fields = answer.ok() ? *answer : std::string(answer.status().message());
  const uint64_t size = sizeof(failed) + fields.size();
  return Write(&size, sizeof(size)) && Write(&failed, sizeof(failed)) &&
         Write(fields.data(), fields.size()) && std::fflush(stdout) == 0;
}

int Fail(const std::string& message) {
  std::fprintf(stderr, "error: %s\n", message.c_str());
  return 1;
}

}  // namespace

int RunEnginePipe(int threads) {
  EnginePipe engine(threads);
  std::string request;
  uint64_t size = 0;
  while (const size_t got = std::fread(&size, 1, sizeof(size), stdin)) {
    if (got == sizeof(size) && size > kMaxRequestBytes)
      return Fail(
          absl::StrFormat("a request of %d bytes; the limit is %d", size, kMaxRequestBytes));
    request.resize(got == sizeof(size) ? size : 0);
    if (got < sizeof(size) || std::fread(request.data(), 1, size, stdin) < size)
      return Fail("the input ended within a request");
    if (!Send(engine.Answer(request))) return Fail("the output was closed before the input");
  }
  return 0;
}

}  // namespace vexact::bench

// The requests of a load, serialized once, before it.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/bench/golden.h"
#include "vexact/client.h"

namespace vexact::client {

// What a load searches for. It repeats them, so some thousands are enough: at most 10,000, and at
// most 64 MiB.
using BenchVectors = std::vector<std::vector<float>>;

// The first rows of a .npy file. INVALID_ARGUMENT or NOT_FOUND, naming the file.
absl::StatusOr<BenchVectors> ReadVectors(const std::string& path);

// Up to 1,000 rows of the collection, chosen at random among all of its ids. FAILED_PRECONDITION:
// it has none. CANCELLED: a signal came.
absl::StatusOr<BenchVectors> SampleVectors(const Client& client, const Collection& collection,
                                           const CallOptions& call);

// Queries `first` to `first` + `count`, the vectors repeated without end. REQUIRES: a vector.
std::vector<Query> QueriesOf(const BenchVectors& vectors, uint64_t first, uint32_t count);

struct WorkloadOptions {
  std::string collection = {};
  SearchOptions search = {};
  uint32_t batch = 1;       // queries of a search, rows of an upsert
  double upsert_share = 0;  // of the requests, 0 to 1
};

struct BenchRequest {
  grpc::ByteBuffer bytes;
  uint64_t first_query = 0;  // of a search: its first query, as QueriesOf counts
};

// Thread safety: const members may be called from any thread.
class Workload {
 public:
  // REQUIRES: at least one vector; with `golden`, at most as many as it has answers for.
  Workload(const WorkloadOptions& options, const BenchVectors& vectors,
           std::optional<Golden> golden);

  uint32_t batch() const { return options_.batch; }
  // Whether the load's request `number` is an upsert: they are spread evenly.
  bool IsUpsert(uint64_t number) const;
  const BenchRequest& search(uint64_t number) const { return searches_[number % searches_.size()]; }
  const BenchRequest& upsert(uint64_t number) const { return upserts_[number % upserts_.size()]; }

  const std::optional<Golden>& golden() const { return golden_; }
  // How many true hits an answer to a search should have, and how many one has. REQUIRES: golden().
  uint64_t hits_expected() const { return uint64_t{options_.batch} * options_.search.k; }
  uint64_t Found(const BenchRequest& request, const v1::SearchResponse& answer) const;

  // Deletes the rows that upserts may have written. Their ids are the same in every load, and
  // nobody else's: "vexact-bench:0" and so on.
  absl::Status RemoveRows(const Client& client) const;

 private:
  void MakeSearches(const BenchVectors& vectors);
  void MakeUpserts(const BenchVectors& vectors);

  const WorkloadOptions options_;
  const uint64_t vectors_;  // how many
  const std::optional<Golden> golden_;
  std::vector<BenchRequest> searches_;
  std::vector<BenchRequest> upserts_;
};

}  // namespace vexact::client

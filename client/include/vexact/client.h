// A Vexact server, from C++.
//
//   vexact::client::Client client("localhost:7700");
//   auto docs = client.CreateCollection({.name = "docs", .dimension = 384});
//   auto written = client.Upsert("docs", {{"vim", vector}, {"emacs", other}});
//   auto hits = client.Search("docs", query, {.k = 10});
//   for (const auto& hit : *hits) std::cout << hit.id << ' ' << hit.score << '\n';
//
// To a server that asks who calls: Client(address, {.tls = true, .ca = pem, .api_key = "vx_..."}).
//
// Errors are canonical: the code and the message are the server's own. Two are made here:
// UNAVAILABLE when the server cannot be reached and DEADLINE_EXCEEDED when it does not answer in
// time; both name the address.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "vexact/bulk_writer.h"
#include "vexact/connect_options.h"
#include "vexact/snapshots.h"
#include "vexact/statistics.h"
#include "vexact/types.h"

namespace vexact::client {

class Connection;

// The points of a collection in id order, fetched a page at a time.
//
//   for (Scroll scroll = client.Scroll("docs"); scroll.Next();) Use(scroll.point());
//   then look at scroll.status().
//
// Every page is consistent in itself; rows that stay untouched are seen exactly once. Use one from
// one thread at a time.
class Scroll {
 public:
  ~Scroll();
  Scroll(Scroll&&) noexcept;
  Scroll& operator=(Scroll&&) noexcept;

  // Moves to the next point. False at the end and on an error: status() tells which.
  bool Next();
  // REQUIRES: the last Next() was true.
  const Point& point() const;
  const absl::Status& status() const;

 private:
  friend class Client;
  struct State;
  explicit Scroll(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

struct ScrollOptions {
  uint32_t page_size = 1000;  // 1 to 10,000
  bool with_vectors = true;
};

// Thread safety: every member may be called from any thread at any time. Copies share one
// connection, which is made by the first call and made again after it broke.
class Client {
 public:
  // `address` is "host:port". Connects directly, whatever proxies the environment names.
  explicit Client(std::string address, ConnectOptions options = {});
  ~Client();
  Client(const Client&);
  Client& operator=(const Client&);

  const std::string& address() const;

  // Creating a collection that exists with the same parameters succeeds and changes nothing.
  // INVALID_ARGUMENT: a bad name or dimension. ALREADY_EXISTS: it exists with other parameters.
  absl::StatusOr<Creation> CreateCollection(const CollectionSpec& spec,
                                            const CallOptions& call = {}) const;
  // NOT_FOUND.
  absl::StatusOr<Description> GetCollection(std::string_view name,
                                            const CallOptions& call = {}) const;
  absl::StatusOr<CollectionList> ListCollections(const CallOptions& call = {}) const;
  // Deletes the collection and its rows; gives their number. NOT_FOUND.
  absl::StatusOr<uint64_t> DeleteCollection(std::string_view name,
                                            const CallOptions& call = {}) const;
  // The metric of searches that name none. NOT_FOUND. FAILED_PRECONDITION: kCosine, while zero rows
  // are stored.
  absl::StatusOr<Collection> SetMetric(std::string_view name, Metric metric,
                                       const CallOptions& call = {}) const;

  // Stores points, replacing those whose ids exist. All or nothing. NOT_FOUND: the collection.
  // INVALID_ARGUMENT, naming the row by its index: wrong dimension, NaN or infinity, a bad id or
  // one that occurs twice, and what the collection's metric and normalization refuse.
  absl::StatusOr<Upserted> Upsert(std::string_view collection, const std::vector<Point>& points,
                                  const CallOptions& call = {}) const;
  absl::StatusOr<Upserted> UpsertBlock(std::string_view collection, const PointBlock& block,
                                       const CallOptions& call = {}) const;
  // Many requests over one stream, surviving a broken connection; see BulkWriter. Never fails here.
  BulkWriter BulkUpsert(std::string_view collection, const BulkOptions& options = {}) const;

  // In the order of the ids. NOT_FOUND: the collection, or an id (the first missing is named).
  absl::StatusOr<std::vector<Point>> Get(std::string_view collection, const std::vector<Id>& ids,
                                         const CallOptions& call = {}) const;
  // Ids that are not stored are counted, not refused. NOT_FOUND: the collection. INVALID_ARGUMENT:
  // none, or one twice.
  absl::StatusOr<Deleted> Delete(std::string_view collection, const std::vector<Id>& ids,
                                 const CallOptions& call = {}) const;
  // Live rows. NOT_FOUND.
  absl::StatusOr<uint64_t> Count(std::string_view collection, const CallOptions& call = {}) const;
  // `call` holds for each page.
  client::Scroll Scroll(std::string_view collection, const ScrollOptions& options = {},
                        const CallOptions& call = {}) const;

  // The true first k of one query, nearest first. NOT_FOUND: the collection, or the query's id.
  // INVALID_ARGUMENT: k, or the query's vector. FAILED_PRECONDITION: kCosine, while zero rows are
  // stored.
  absl::StatusOr<std::vector<Hit>> Search(std::string_view collection, const Query& query,
                                          const SearchOptions& options = {},
                                          const CallOptions& call = {}) const;
  // The same for 1 to 4,096 queries over one state of the collection, with what was done to answer
  // them. RESOURCE_EXHAUSTED: the request or the answer would be larger than the server's message
  // limit.
  absl::StatusOr<SearchAnswer> SearchBatch(std::string_view collection,
                                           const std::vector<Query>& queries,
                                           const SearchOptions& options = {},
                                           const CallOptions& call = {}) const;
  // Each side is a vector or the id of a row of `collection`, which may be empty when both are
  // vectors.
  absl::StatusOr<Comparison> Compare(const Query& a, const Query& b,
                                     std::string_view collection = {},
                                     const CallOptions& call = {}) const;

  // Keeps the collection of this moment in a file of the server. Without a name it gets one of the
  // time and the sequence number. NOT_FOUND: the collection. INVALID_ARGUMENT: a bad name.
  // ALREADY_EXISTS: it has a snapshot of this name. FAILED_PRECONDITION, here and for the calls
  // below that concern files of the server: it keeps collections in memory alone.
  absl::StatusOr<Snapshot> CreateSnapshot(std::string_view collection, std::string_view name = {},
                                          const CallOptions& call = {}) const;
  // Of one collection, or of all: by collection, then oldest first.
  absl::StatusOr<std::vector<Snapshot>> ListSnapshots(std::string_view collection = {},
                                                      const CallOptions& call = {}) const;
  // Gives the bytes that this frees. NOT_FOUND.
  absl::StatusOr<uint64_t> DeleteSnapshot(std::string_view collection, std::string_view name,
                                          const CallOptions& call = {}) const;
  // Hands a snapshot file to `take`, piece by piece. NOT_FOUND. OUT_OF_RANGE: an offset beyond the
  // file's end.
  absl::StatusOr<Downloaded> DownloadSnapshot(std::string_view collection, const TakeBytes& take,
                                              const DownloadOptions& options = {},
                                              const CallOptions& call = {}) const;
  // Makes a new collection of the bytes of a snapshot file. ALREADY_EXISTS: the collection.
  // INVALID_ARGUMENT: its name, or bytes that are no whole and unaltered snapshot.
  absl::StatusOr<Restored> RestoreSnapshot(std::string_view collection, const GiveBytes& give,
                                           const CallOptions& call = {}) const;
  // The same of a snapshot that the server keeps. NOT_FOUND. DATA_LOSS: it is damaged.
  absl::StatusOr<Restored> RestoreStoredSnapshot(std::string_view collection,
                                                 std::string_view snapshot_collection,
                                                 std::string_view snapshot,
                                                 const CallOptions& call = {}) const;

  absl::StatusOr<ServerInfo> GetInfo(const CallOptions& call = {}) const;
  // What it has done since it started: for who watches it. Cheap enough for every second.
  absl::StatusOr<Statistics> GetStatistics(const CallOptions& call = {}) const;
  // The standard gRPC health check of the whole server.
  absl::StatusOr<Health> CheckHealth(const CallOptions& call = {}) const;

 private:
  std::shared_ptr<Connection> connection_;
};

}  // namespace vexact::client

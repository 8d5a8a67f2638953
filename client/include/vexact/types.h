// The values that calls take and give: ids, points, queries, hits, and what the server says about
// itself.
//
// Everything here is a plain value: copy it, keep it, use it from any thread.
#pragma once

#include <compare>
#include <concepts>
#include <cstdint>
#include <iosfwd>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace vexact::client {

// The name of a row: an unsigned 64-bit integer or a text of 1 to 512 bytes of UTF-8. Ordered as
// the server orders ties: numbers before texts, numbers numerically, texts bytewise.
class Id {
 public:
  Id() : form_(uint64_t{0}) {}
  // REQUIRES: not negative.
  template <std::integral Number>
  Id(Number number) : form_(static_cast<uint64_t>(number)) {}
  Id(std::string text) : form_(std::move(text)) {}
  Id(std::string_view text) : form_(std::string(text)) {}
  Id(const char* text) : form_(std::string(text)) {}

  bool is_number() const { return form_.index() == 0; }
  bool is_text() const { return form_.index() == 1; }
  // REQUIRES: is_number().
  uint64_t number() const { return std::get<uint64_t>(form_); }
  // REQUIRES: is_text().
  const std::string& text() const { return std::get<std::string>(form_); }

  friend bool operator==(const Id&, const Id&) = default;
  friend auto operator<=>(const Id&, const Id&) = default;
  // For containers of Abseil.
  template <typename H>
  friend H AbslHashValue(H state, const Id& id) {
    return H::combine(std::move(state), id.form_);
  }

 private:
  std::variant<uint64_t, std::string> form_;
};

// The number, or the text as it is.
std::ostream& operator<<(std::ostream& out, const Id& id);

enum class Metric { kInnerProduct, kCosine, kL2 };

inline constexpr Metric kMetrics[] = {Metric::kInnerProduct, Metric::kCosine, Metric::kL2};

// What the server does to vectors at the door of a collection.
enum class Normalization {
  kNone,         // keeps them as sent
  kL2,           // makes their norm 1
  kRequireUnit,  // refuses those whose norm is off 1 by more than 0.001
};

inline constexpr Normalization kNormalizations[] = {Normalization::kNone, Normalization::kL2,
                                                    Normalization::kRequireUnit};

// What computes an answer.
enum class Engine {
  kScan,       // refuses rows by certified bounds, scores the rest: the reference engine's answer,
               // faster
  kReference,  // scores every row with the reference score: exact by definition
  kFaiss,      // selects in float32, then scores what it selected with the reference score
  kOther,      // in answers only: an engine that is newer than this library
};

// "inner_product", "cosine", "l2"; "none", "l2", "require_unit"; "scan", "reference", "faiss",
// "other".
std::string_view Name(Metric metric);
std::string_view Name(Normalization normalization);
std::string_view Name(Engine engine);

// The inverse of Name; absent for any other word.
std::optional<Metric> ParseMetric(std::string_view name);
std::optional<Normalization> ParseNormalization(std::string_view name);
std::optional<Engine> ParseEngine(std::string_view name);

// What a collection is made from.
struct CollectionSpec {
  std::string name = {};
  uint32_t dimension = 0;
  Metric metric = Metric::kCosine;
  Normalization normalization = Normalization::kNone;
};

// A collection at one moment.
struct Collection {
  std::string name;
  uint32_t dimension = 0;
  Metric metric = Metric::kCosine;
  Normalization normalization = Normalization::kNone;
  uint64_t rows = 0;       // live rows
  uint64_t dead_rows = 0;  // deleted or replaced, their space not yet reclaimed
  uint64_t sequence = 0;   // the number of the last write
};

struct Creation {
  Collection collection;
  bool created = false;  // false: it existed already, with these same parameters
};

// One that does not serve until it is repaired or deleted: every other call about it is refused
// with DATA_LOSS.
struct DamagedCollection {
  std::string name;
  std::string error;  // what is damaged, and what to do about it
};

// Both by name.
struct CollectionList {
  std::vector<Collection> collections;
  std::vector<DamagedCollection> damaged;
};

// Euclidean norms of the live rows; all zero when there are none.
struct NormStatistics {
  double min = 0, mean = 0, max = 0;
  uint64_t unit_rows = 0;  // norm within 0.001 of 1
  uint64_t zero_rows = 0;  // every component 0
};

// Bytes of the server's memory.
struct MemoryUse {
  uint64_t rows_bytes = 0, codes_bytes = 0, ids_bytes = 0, overhead_bytes = 0;
};

// What the codes of a row say.
enum class LayoutKind {
  kIdentity,         // its components
  kRotation,         // its coordinates along other directions, those of most energy first
  kLeadingRotation,  // coordinates along the leading directions first, then the components
  kOther,            // a kind that is newer than this library, or a server that tells none
};

// "identity", "rotation", "leading_rotation", "other".
std::string_view Name(LayoutKind kind);

// Shares between 0 and 1, each over this slab and those before it; absent where they are not known.
struct Slab {
  std::optional<double> energy;  // of the rows' energy: what lies in these slabs' dimensions
  // Of the rows that a query meets: those that these slabs do not rule out.
  std::optional<double> expected_passed;
  std::optional<double> observed_passed;
};

// How rows are coded for kScan: decides how much a search reads, never what it finds.
struct Layout {
  LayoutKind kind = LayoutKind::kOther;
  uint32_t directions = 0;  // of the rotation
  bool centered = false;    // rows are coded as their difference from a center
  // The only slab that is read of every row. A query that is alone reads its sketch of 4 bits a
  // dimension instead, where it has one.
  uint32_t first_slab_dimensions = 0;
  bool first_slab_sketch = false;
  uint64_t trained_rows = 0;      // live rows when a layout was last looked for; 0: never
  uint64_t rows = 0;              // that have codes
  uint64_t coded_rows = 0;        // of these, under this layout; the others wait to be re-encoded
  uint64_t observed_queries = 0;  // since the layout came into use
  std::optional<double> expected_bytes = {};  // read for a query that is alone
  std::optional<double> observed_bytes = {};  // the mean
  std::vector<Slab> slabs = {};               // the first, then the later ones
};

struct Description {
  Collection collection;
  NormStatistics norms;
  MemoryUse memory;
  Layout layout;
};

struct Point {
  Id id;
  std::vector<float> vector;
};

// Many points: n ids and n x dimension components, row-major.
struct PointBlock {
  std::vector<Id> ids;
  std::vector<float> vectors;
};

struct Upserted {
  uint64_t added = 0;     // rows whose id was new
  uint64_t replaced = 0;  // rows whose id existed
  uint64_t sequence = 0;  // an answer with this sequence or a higher one has seen the write
};

struct Deleted {
  uint64_t deleted = 0;
  uint64_t missing = 0;  // ids that were not stored
  uint64_t sequence = 0;
};

// One query: a vector, or the id of a stored row whose vector is meant.
struct Query {
  Query(std::vector<float> vector) : target(std::move(vector)) {}
  // `without_self` leaves that row out of the answer.
  Query(Id id, bool without_self = false) : target(std::move(id)), exclude_self(without_self) {}

  std::variant<std::vector<float>, Id> target;
  bool exclude_self = false;
};

struct SearchOptions {
  uint32_t k = 10;  // 1 to 10,000; when there are fewer rows, all of them are returned
  std::optional<Metric> metric = {};  // absent: the collection's own
  std::optional<Engine> engine = {};  // absent: the server's default
  bool with_vectors = false;          // the stored vector with every hit
};

struct Hit {
  Id id;
  double score = 0;     // the reference score; for kL2 the squared distance
  double distance = 0;  // kL2 only: sqrt(score)
  std::vector<float> vector;
};

// The answers to a batch of queries, all over one state of the collection.
struct SearchAnswer {
  std::vector<std::vector<Hit>>
      results;  // one per query, nearest first; equal scores by ascending id
  Metric metric = Metric::kCosine;
  Engine engine = Engine::kScan;
  uint64_t rows_compared = 0;  // live rows that each query was compared with
  uint64_t sequence = 0;       // the state that this is the truth of
  absl::Duration server_time;
  // Over all queries:
  uint64_t rows_refined = 0;   // rows whose codes were read beyond the first slab; kScan only
  uint64_t rows_rescored = 0;  // rows that were scored with the reference score
  uint64_t bytes_read = 0;     // of codes and vectors; what queries read together counts once
};

// Everything there is to say about two vectors, computed in float64. What needs a direction is
// absent when a side is zero.
struct Comparison {
  uint32_t dimension = 0;
  double dot_product = 0;
  std::optional<double> cosine_similarity;
  std::optional<double> cosine_distance;
  std::optional<double> angle_degrees;
  double euclidean_distance = 0;
  double squared_distance = 0;
  double norm_a = 0, norm_b = 0;
  std::optional<double> scalar_projection;  // of a on b
  std::vector<double> vector_projection;    // of a on b; empty when b is zero
};

// What a request may ask the server for at most.
struct Limits {
  uint32_t max_dimension = 0;
  uint32_t max_queries = 0;
  uint32_t max_k = 0;
  uint32_t max_page_size = 0;
  uint32_t max_id_bytes = 0;
  uint32_t max_name_length = 0;
  uint64_t max_message_bytes = 0;
  // Of all requests together; what is beyond is refused.
  uint64_t max_request_bytes = 0;
  uint64_t max_waiting_queries = 0;
  uint64_t max_memory_bytes = 0;  // of the collections; 0: no limit
  // That the caller's API key may make; 0: no limit.
  uint64_t max_key_requests_per_second = 0;
  uint64_t max_connections = 0;
  uint32_t max_calls_per_connection = 0;
};

// What an acknowledged write has survived.
enum class Durability {
  kNone,   // nothing: collections live in the server's memory alone
  kFsync,  // a power cut: it is on the disk
  kAsync,  // the end of the server's process; a power cut may take the last writes
  kOther,  // one that is newer than this library, or a server that tells none
};

// "none", "fsync", "async", "other".
std::string_view Name(Durability durability);

// Where the server keeps collections. With kNone nothing else is set.
struct Storage {
  Durability durability = Durability::kOther;
  std::string data_dir = {};
  uint64_t store_bytes = 0, codes_bytes = 0;  // of files now
  // Since the server started: handed in by writes, and written by the database for them so far.
  uint64_t received_bytes = 0, written_bytes = 0;
  uint64_t commits = 0;  // groups of writes that became durable together
  uint64_t syncs = 0;    // of the database's log
  uint64_t compactions_running = 0, compactions_pending_bytes = 0;
};

struct ServerInfo {
  std::string version;  // major.minor.patch
  std::string commit;   // that it was made of: its first digits, or "unknown"
  std::string isa;      // the instruction set of its kernels
  uint32_t threads = 0;
  Engine default_engine = Engine::kScan;
  absl::Duration uptime;
  Limits limits;
  uint64_t collections = 0;
  uint64_t rows = 0;
  MemoryUse memory;
  Storage storage;
};

enum class Health { kUnknown, kServing, kNotServing };

// "UNKNOWN", "SERVING", "NOT_SERVING".
std::string_view Name(Health health);

// The id by which the server's log names the request that this error is of; empty where there is
// none.
std::string RequestId(const absl::Status& status);

// What every call takes beside its own arguments.
struct CallOptions {
  // Give up after this long with DEADLINE_EXCEEDED; the server then drops the request as soon as it
  // can.
  absl::Duration timeout = absl::InfiniteDuration();
};

}  // namespace vexact::client

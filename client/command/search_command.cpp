// search.
#include <algorithm>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/command/command.h"
#include "client/command/format.h"
#include "client/command/ids.h"
#include "client/command/npy_reader.h"
#include "client/command/table.h"
#include "client/command/vector_argument.h"

namespace vexact::client {
namespace {

struct CommandOptions {
  std::string collection;
  std::vector<std::string> like;
  bool include_self = false;
  std::string vector;
  std::string from;
  uint32_t k = 10;
  std::string metric;
  std::string engine;
  bool with_vectors = false;

  SearchOptions search() const {
    return {.k = k,
            .metric = ParseMetric(metric),
            .engine = ParseEngine(engine),
            .with_vectors = with_vectors};
  }
};

// Where the queries come from, a batch at a time.
class QuerySource {
 public:
  static absl::StatusOr<QuerySource> Open(const CommandOptions& options) {
    QuerySource source;
    if (!options.from.empty()) {
      absl::StatusOr<NpyReader> file = NpyReader::Open(options.from);
      if (!file.ok()) return file.status();
      source.count_ = file->rows();
      source.dimension_ = file->dimension();
      source.file_.emplace(*std::move(file));
    } else if (!options.vector.empty()) {
      absl::StatusOr<std::vector<float>> vector = ParseVector(options.vector);
      if (!vector.ok()) {
        return absl::InvalidArgumentError(
            absl::StrCat("--vector: ", std::string(vector.status().message())));
      }
      source.count_ = 1;
      source.dimension_ = vector->size();
      source.queries_.emplace_back(*std::move(vector));
    } else {
      for (const std::string& word : options.like) {
        source.queries_.emplace_back(IdFromWord(word), !options.include_self);
      }
      source.count_ = source.queries_.size();
    }
    return source;
  }

  uint64_t count() const { return count_; }
  // Of the vectors; 0 where queries are ids.
  uint64_t dimension() const { return dimension_; }

  // The next queries, at most `most`; empty at the end. INVALID_ARGUMENT: a row that cannot be
  // read.
  absl::StatusOr<std::vector<Query>> Next(uint64_t most) {
    const uint64_t take = std::min(most, count_ - next_);
    std::vector<Query> batch;
    for (uint64_t i = 0; i < take; ++i, ++next_) {
      if (!file_) {
        batch.push_back(queries_[next_]);
        continue;
      }
      const absl::StatusOr<std::span<const float>> row = file_->Next();
      if (!row.ok()) return row.status();
      batch.emplace_back(std::vector<float>(row->begin(), row->end()));
    }
    return batch;
  }

 private:
  uint64_t count_ = 0;
  uint64_t dimension_ = 0;
  uint64_t next_ = 0;
  std::vector<Query> queries_;
  std::optional<NpyReader> file_;
};

// Shows answers as they come, so that a large file of queries needs no memory for all of them.
class Output {
 public:
  Output(const CommandOptions& options, bool json, uint64_t queries)
      : options_(options), json_(json), queries_(queries) {}

  void Add(const std::vector<Query>& queries, const SearchAnswer& answer) {
    if (shown_ == 0 && json_) Begin(answer);
    for (size_t i = 0; i < answer.results.size(); ++i, ++shown_) {
      if (json_) {
        AddJson(queries[i], answer, answer.results[i]);
      } else {
        AddTable(queries[i], answer.metric, answer.results[i]);
      }
    }
    time_ += answer.server_time;
    rows_refined_ += answer.rows_refined;
    rows_rescored_ += answer.rows_rescored;
    bytes_read_ += answer.bytes_read;
    last_rows_ = answer.rows_compared;
    last_engine_ = answer.engine;
    last_metric_ = answer.metric;
  }

  void End() {
    if (json_) {
      const Json tail{{"server_time_ms", absl::ToDoubleMilliseconds(time_)},
                      {"rows_refined", rows_refined_},
                      {"rows_rescored", rows_rescored_},
                      {"bytes_read", bytes_read_}};
      std::cout << "]," << tail.dump().substr(1) << '\n';
      return;
    }
    std::cout << Claim() << ' ' << Rows(last_rows_);
    if (queries_ > 1) std::cout << ", " << Thousands(queries_) << " queries";
    std::cout << " in " << Elapsed(time_) << " (" << Name(last_metric_);
    if (last_engine_ == Engine::kFaiss) std::cout << "; near ties at the last place may differ";
    std::cout << "); ";
    if (rows_refined_ > 0) std::cout << Thousands(rows_refined_) << " refined, ";
    std::cout << Thousands(rows_rescored_) << " rescored, " << Bytes(bytes_read_) << " read\n";
  }

 private:
  static bool IsExact(Engine engine) {
    return engine == Engine::kScan || engine == Engine::kReference;
  }

  // What the engine warrants. An engine that this program does not know is not spoken for.
  std::string Claim() const {
    if (IsExact(last_engine_)) return "exact over";
    if (last_engine_ == Engine::kFaiss) return "selected in float32 by faiss from";
    return "compared with";
  }

  void Begin(const SearchAnswer& answer) const {
    std::string head = Json{{"collection", options_.collection},
                            {"metric", Name(answer.metric)},
                            {"engine", Name(answer.engine)},
                            {"exact", IsExact(answer.engine)}}
                           .dump();
    head.back() = ',';
    std::cout << head << "\"results\":[";
  }

  void AddJson(const Query& query, const SearchAnswer& answer, const std::vector<Hit>& hits) const {
    Json result;
    if (const Id* id = std::get_if<Id>(&query.target)) {
      result["like"] = ToJson(*id);
    } else {
      result["query"] = shown_;
    }
    result["rows_compared"] = answer.rows_compared;
    result["sequence"] = answer.sequence;
    result["hits"] = Json::array();
    for (const Hit& hit : hits) {
      Json shown{{"id", ToJson(hit.id)}, {"score", hit.score}};
      if (answer.metric == Metric::kL2) shown["distance"] = hit.distance;
      if (options_.with_vectors) shown["vector"] = hit.vector;
      result["hits"].push_back(std::move(shown));
    }
    std::cout << (shown_ > 0 ? "," : "")
              << result.dump(-1, ' ', false, Json::error_handler_t::replace);
  }

  void AddTable(const Query& query, Metric metric, const std::vector<Hit>& hits) const {
    if (queries_ > 1) {
      const Id* id = std::get_if<Id>(&query.target);
      std::cout << (id != nullptr ? Printable(WordFromId(*id)) : absl::StrCat("query ", shown_))
                << '\n';
    }
    std::vector<Table::Column> columns = {{"#", Align::kRight}};
    if (metric == Metric::kL2) columns.push_back({"distance", Align::kRight});
    columns.push_back({metric == Metric::kL2 ? "squared" : "score", Align::kRight});
    columns.push_back({"id"});
    if (options_.with_vectors) columns.push_back({"vector"});
    Table table(columns);
    for (size_t i = 0; i < hits.size(); ++i) {
      std::vector<std::string> cells = {std::to_string(i + 1)};
      if (metric == Metric::kL2) cells.push_back(Score(hits[i].distance));
      cells.push_back(Score(hits[i].score));
      cells.push_back(WordFromId(hits[i].id));
      if (options_.with_vectors) cells.push_back(FirstComponents(hits[i].vector));
      table.Add(cells);
    }
    std::cout << table.Render("  ") << (queries_ > 1 ? "\n" : "");
  }

  const CommandOptions& options_;
  const bool json_;
  const uint64_t queries_;
  uint64_t shown_ = 0;
  absl::Duration time_;
  uint64_t rows_refined_ = 0, rows_rescored_ = 0, bytes_read_ = 0;
  uint64_t last_rows_ = 0;
  Engine last_engine_ = Engine::kScan;
  Metric last_metric_ = Metric::kCosine;
};

// Queries a request, so that neither it nor its answer meets the server's limits. Ids are taken to
// be short; a batch that is too large all the same is halved when the server says so.
uint64_t BatchSize(const CommandOptions& options, uint64_t dimension, const Limits& limits) {
  constexpr uint64_t kMost = 256;  // answers keep coming while a large file is worked through
  constexpr uint64_t kHitBytes = 64;
  const uint64_t query_bytes = dimension * sizeof(float) + 64;
  const uint64_t hit_bytes =
      kHitBytes + (options.with_vectors ? limits.max_dimension * sizeof(float) : 0);
  const uint64_t answer_bytes = std::max<uint64_t>(options.k, 1) * hit_bytes;
  const uint64_t fit = limits.max_message_bytes / std::max(query_bytes, answer_bytes);
  return std::clamp<uint64_t>(fit, 1, std::min<uint64_t>(kMost, limits.max_queries));
}

// The server counts queries from the first of its request; a person counts from the first of the
// file.
absl::Status InFile(const absl::Status& status, uint64_t first) {
  return absl::Status(status.code(),
                      Renumber(std::string(status.message()), "query", [first](uint64_t index) {
                        return absl::StrCat("query ", first + index);
                      }));
}

int SearchAll(const Globals& globals, const CommandOptions& options, QuerySource& source) {
  const Client client = globals.client();
  uint64_t batch_size = source.count();
  if (source.count() > 1) {
    const auto info = client.GetInfo(globals.call());
    if (!info.ok()) return Fail(info.status());
    batch_size = BatchSize(options, source.dimension(), info->limits);
  }
  Output output(options, globals.json, source.count());
  for (uint64_t first = 0; first < source.count();) {
    absl::StatusOr<std::vector<Query>> batch = source.Next(batch_size);
    if (!batch.ok()) return BadInput(std::string(batch.status().message()));
    while (!batch->empty()) {
      const size_t take = std::min<size_t>(batch->size(), batch_size);
      const std::vector<Query> queries(batch->begin(), batch->begin() + static_cast<long>(take));
      const auto answer =
          client.SearchBatch(options.collection, queries, options.search(), globals.call());
      if (absl::IsResourceExhausted(answer.status()) && take > 1) {
        batch_size = take / 2;
        continue;
      }
      if (!answer.ok()) return Fail(InFile(answer.status(), first));
      output.Add(queries, *answer);
      batch->erase(batch->begin(), batch->begin() + static_cast<long>(take));
      first += take;
    }
  }
  output.End();
  return kDone;
}

int RunSearch(const Globals& globals, const CommandOptions& options) {
  absl::StatusOr<QuerySource> source = QuerySource::Open(options);
  if (!source.ok()) return BadInput(std::string(source.status().message()));
  if (source->count() == 0) return BadInput(options.from + " holds no queries");
  return SearchAll(globals, options, *source);
}

}  // namespace

void AddSearchCommand(Program& program) {
  auto options = std::make_shared<CommandOptions>();
  CLI::App* search = AddCommand<CommandOptions>(
      program, "search", "Find the nearest rows of one or many queries",
      "  vexact search words --like kitten -k 5\n"
      "  vexact search docs --vector \"0.1, 0.2, 0.3\" --metric l2\n"
      "  vexact search docs --from queries.npy -k 100 --json > answers.json",
      options, RunSearch);
  AddCollectionArgument(search, &options->collection);
  CLI::App* queries = search->add_option_group("Queries", "What to look for, one of");
  queries
      ->add_option("--like", options->like,
                   "Stored rows, by id; each is left out of its own answer")
      ->type_name("ID...");
  queries->add_option("--vector", options->vector, "A vector: \"0.1, 0.2\"")->type_name("VECTOR");
  queries->add_option("--from", options->from, "The rows of a .npy file")->type_name("FILE");
  queries->require_option(1);
  search->add_flag("--include-self", options->include_self, "With --like: leave the row itself in");
  search->add_option("-k", options->k, "Neighbours per query, 1 to 10000")
      ->type_name("N")
      ->capture_default_str();
  AddMetricOption(search, &options->metric, "Instead of the collection's own");
  search->add_option("--engine", options->engine, "Instead of the server's default")
      ->check(OneOf({"scan", "reference", "faiss"}))
      ->type_name("scan|reference|faiss");
  search->add_flag("--with-vectors", options->with_vectors, "Show the stored vector of every hit");
}

}  // namespace vexact::client

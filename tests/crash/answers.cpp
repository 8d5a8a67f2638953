#include "tests/crash/answers.h"

#include <algorithm>
#include <bit>
#include <span>
#include <utility>

#include "absl/strings/str_format.h"
#include "tests/crash/reference.h"
#include "tests/crash/text.h"

namespace vexact::crash {
namespace {

constexpr uint32_t kK = 10;
constexpr size_t kQueries = 40, kSmallBatch = 5, kAlone = 6;

// As a textbook would add: neither 16 lanes nor a tree.
double ScoreInOtherOrder(client::Metric metric, std::span<const float> query,
                         std::span<const float> row) {
  double sum = 0;
  for (size_t j = 0; j < query.size(); ++j) {
    const double difference = double{query[j]} - double{row[j]};
    sum +=
        metric == client::Metric::kL2 ? difference * difference : double{query[j]} * double{row[j]};
  }
  return sum;
}

}  // namespace

void Answers::Check(uint32_t number, const Found& found) {
  CheckGet(number, found);
  CheckSearches(number, found);
}

// Rows by their ids: the way through the index.
void Answers::CheckGet(uint32_t number, const Found& found) {
  constexpr size_t kSome = 50;
  std::vector<client::Id> ids;
  std::vector<const Row*> rows;
  for (size_t i = 0; i < kSome && !found.rows.empty(); ++i) {
    rows.push_back(&found.rows[random_() % found.rows.size()]);
    ids.push_back(rows.back()->id);
  }
  if (!ids.empty()) {
    const auto points = client_.Get(found.info.name, ids, {.timeout = kPatience});
    if (!points.ok()) {
      return defects_.Add("collection \"", found.info.name,
                          "\": rows that were listed cannot be got: ", points.status().ToString());
    }
    for (size_t i = 0; i < ids.size(); ++i) {
      if (SameBits((*points)[i].vector, rows[i]->vector)) continue;
      defects_.Add("collection \"", found.info.name, "\": a row has other bits when got by its id");
    }
  }
  for (size_t i = 0; i < kSome; ++i) {
    const auto actor = static_cast<uint32_t>(random_() % kActors);
    const uint32_t owned = OwnedIds(actor, number);
    if (owned == 0) continue;
    const auto index = static_cast<uint32_t>(random_() % owned);
    if (found.vectors[actor].contains(index)) continue;
    const auto point = client_.Get(found.info.name, {IdOf(actor, index)}, {.timeout = kPatience});
    if (absl::IsNotFound(point.status())) continue;
    defects_.Add("collection \"", found.info.name, "\": a row that is not listed is answered with ",
                 point.status().ToString());
  }
}

// New vectors, stored ones, their opposites, and ones beside them.
std::vector<client::Query> Answers::Queries(uint32_t number, const Found& found) {
  std::vector<client::Query> queries;
  for (size_t i = 0; i < kQueries; ++i) {
    std::vector<float> vector = world_.Sent(number, 0, 0, random_());
    if (i % 4 != 0 && !found.rows.empty()) {
      vector = found.rows[random_() % found.rows.size()].vector;
      for (float& component : vector) {
        if (i % 4 == 2) component = -component;
        if (i % 4 == 3) component *= 1 + 0x1p-12f * static_cast<float>(random_() % 16);
      }
    }
    queries.emplace_back(std::move(vector));
  }
  return queries;
}

void Answers::CheckSearches(uint32_t number, const Found& found) {
  const std::vector<client::Query> queries = Queries(number, found);
  const ScoreFunction score = options_.other_order ? ScoreInOtherOrder : Score;
  const std::string& name = found.info.name;
  for (const client::Metric metric : client::kMetrics) {
    std::vector<std::vector<client::Hit>> expected;
    for (const client::Query& query : queries) {
      std::vector<float> vector = std::get<std::vector<float>>(query.target);
      AtTheDoor(found.info.normalization, vector);
      expected.push_back(Nearest(found.rows, metric, vector, kK, score));
    }
    const auto compare = [&](std::string_view what, size_t count, client::Engine engine) {
      const auto answer = client_.SearchBatch(
          name, {queries.begin(), queries.begin() + static_cast<ptrdiff_t>(count)},
          {.k = kK, .metric = metric, .engine = engine}, {.timeout = kPatience});
      if (!answer.ok()) {
        return defects_.Add("search in \"", name, "\": ", answer.status().ToString());
      }
      if (answer->rows_compared != found.rows.size() || answer->sequence != found.info.sequence) {
        defects_.Add("search in \"", name, "\" compared ", answer->rows_compared,
                     " rows at sequence ", answer->sequence);
      }
      for (size_t q = 0; q < count; ++q) {
        CompareHits(Text(what, " in \"", name, "\" (", Name(metric), ", query ", q, ")"),
                    expected[q], answer->results[q]);
      }
    };
    compare("batch", kQueries, client::Engine::kScan);
    compare("small batch", kSmallBatch, client::Engine::kScan);
    compare("reference engine", kQueries, client::Engine::kReference);
    for (size_t q = 0; q < kAlone; ++q) {
      const auto hits = client_.Search(name, queries[q],
                                       {.k = kK, .metric = metric, .engine = client::Engine::kScan},
                                       {.timeout = kPatience});
      CompareHits(Text("search in \"", name, "\" (", Name(metric), ")"), expected[q],
                  hits.value_or(std::vector<client::Hit>()));
    }
  }
}

void Answers::CompareHits(std::string_view what, const std::vector<client::Hit>& expected,
                          const std::vector<client::Hit>& got) {
  ++searches_;
  const auto same = [](const client::Hit& a, const client::Hit& b) {
    return a.id == b.id && std::bit_cast<uint64_t>(a.score) == std::bit_cast<uint64_t>(b.score);
  };
  if (std::ranges::equal(expected, got, same)) return;
  if (expected.size() != got.size()) {
    return defects_.Add(what, " found ", got.size(), " rows instead of ", expected.size());
  }
  const auto at = std::ranges::mismatch(expected, got, same);
  defects_.Add(what, ": hit ", at.in1 - expected.begin(), " scores ",
               absl::StrFormat("%a", at.in2->score), " instead of ",
               absl::StrFormat("%a", at.in1->score),
               at.in1->id == at.in2->id ? "" : ", another row");
}

}  // namespace vexact::crash

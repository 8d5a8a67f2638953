// The promise itself, from file to answer: through the real command, server and library, the true
// top k with the very bits of the reference score. On real embeddings with answers that an
// independent program computed, and on made ones with answers that this test computes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <random>
#include <set>

#include "absl/strings/str_cat.h"
#include "tests/client/command_line.h"
#include "tests/client/npy_bytes.h"
#include "tests/support/files.h"
#include "tests/support/server_process.h"
#include "vexact/client.h"

namespace vexact::testing {
namespace {

using client::Client;
using client::Engine;
using client::Hit;
using client::Id;
using client::Metric;
using client::Query;

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr size_t kQueries = 20;
#else
constexpr size_t kQueries = 500;
#endif
constexpr size_t kTop = 100;
constexpr size_t kBatch = 100;
// Those that claim to be exact.
constexpr Engine kExactEngines[] = {Engine::kScan, Engine::kReference};

// The elements of a version 1 .npy file, whatever its shape.
template <typename Value>
std::vector<Value> Elements(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  const size_t header = 10 + static_cast<unsigned char>(bytes[8]) +
                        256 * static_cast<size_t>(static_cast<unsigned char>(bytes[9]));
  std::vector<Value> elements((bytes.size() - header) / sizeof(Value));
  std::memcpy(elements.data(), bytes.data() + header, elements.size() * sizeof(Value));
  return elements;
}

// Answers to compare with: for each query the ids and scores of its first k.
struct Expected {
  std::vector<std::vector<Id>> ids;
  std::vector<std::vector<double>> scores;
};

Expected ReadExpected(const std::string& set, Metric metric, const std::vector<Id>& row_ids) {
  const std::string stem = absl::StrCat(set, ".top100.", std::string(Name(metric)));
  const auto ids = Elements<uint64_t>(FindDataFile(stem + ".ids.npy").value());
  const auto scores = Elements<double>(FindDataFile(stem + ".scores.npy").value());
  Expected expected;
  for (size_t query = 0; query < kQueries; ++query) {
    auto& query_ids = expected.ids.emplace_back();
    for (size_t i = 0; i < kTop; ++i) query_ids.push_back(row_ids[ids[query * kTop + i]]);
    const auto first = scores.begin() + static_cast<long>(query * kTop);
    expected.scores.emplace_back(first, first + kTop);
  }
  return expected;
}

// Scores must have the same bits, place by place. Ids too, but the files order equal scores by row:
// where ids have another order, a group of equal scores is compared as a set, and one that the last
// place cuts by its scores alone.
void ExpectSame(const std::vector<Hit>& hits, const std::vector<Id>& ids,
                const std::vector<double>& scores, bool ids_in_row_order) {
  ASSERT_EQ(hits.size(), ids.size());
  for (size_t begin = 0, end; begin < hits.size(); begin = end) {
    std::set<Id> found, expected;
    for (end = begin; end < hits.size() && scores[end] == scores[begin]; ++end) {
      ASSERT_EQ(std::bit_cast<uint64_t>(hits[end].score), std::bit_cast<uint64_t>(scores[end]))
          << "place " << end << ": " << hits[end].score << " for " << scores[end];
      if (ids_in_row_order) {
        ASSERT_EQ(hits[end].id, ids[end]) << "place " << end;
      }
      found.insert(hits[end].id);
      expected.insert(ids[end]);
    }
    if (end < hits.size()) {
      ASSERT_EQ(found, expected) << "places " << begin << " to " << end;
    }
  }
}

void ExpectAnswers(const Client& client, const std::string& collection,
                   const std::vector<Query>& queries, Metric metric, const Expected& expected,
                   bool ids_in_row_order) {
  for (Engine engine : kExactEngines) {
    for (size_t first = 0; first < queries.size(); first += kBatch) {
      const size_t end = std::min(first + kBatch, queries.size());
      const std::vector<Query> batch(queries.begin() + static_cast<long>(first),
                                     queries.begin() + static_cast<long>(end));
      const auto answer = client.SearchBatch(
          collection, batch,
          {.k = static_cast<uint32_t>(expected.ids[0].size()), .metric = metric, .engine = engine});
      ASSERT_TRUE(answer.ok()) << answer.status();
      ASSERT_EQ(answer->engine, engine);
      for (size_t i = first; i < end; ++i) {
        SCOPED_TRACE(
            absl::StrCat(std::string(Name(engine)), " ", std::string(Name(metric)), " query ", i));
        ExpectSame(answer->results[i - first], expected.ids[i], expected.scores[i],
                   ids_in_row_order);
        if (::testing::Test::HasFatalFailure()) return;
      }
    }
  }
}

// ---- real embeddings

TEST(Golden, RealSentencesLoadFastInLittleMemoryAndAnswerBitForBit) {
  const auto rows = FindDataFile("sentences.f16.npy");
  const auto queries_file = FindDataFile("queries.f32.npy");
  if (!rows || !queries_file)
    GTEST_SKIP() << "sentences.f16.npy is not there (VEXACT_TEST_DATA_DIR)";
  const ServerProcess server;
  const Client client(server.address());
  ASSERT_TRUE(client.CreateCollection({.name = "sentences", .dimension = 384}).ok());

  RunningVexact add({"--server", server.address(), "add", "sentences", rows->string()});
  const auto begin = std::chrono::steady_clock::now();
  const Finished added = add.Wait();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  ASSERT_EQ(added.status, 0) << added.err;
  std::cout << "153,770 x 384 float16 loaded in " << seconds.count() << " s; the client held "
            << add.peak_memory() / (1 << 20) << " MiB at most\n";
#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
  EXPECT_LT(add.peak_memory(), 200'000'000u);
#endif
  ASSERT_EQ(*client.Count("sentences"), 153'770u);

  std::vector<Id> ids;
  for (uint64_t row = 0; row < 153'770; ++row) ids.emplace_back(row);
  const auto vectors = Elements<float>(*queries_file);
  std::vector<Query> queries;
  for (size_t i = 0; i < kQueries; ++i) {
    const auto first = vectors.begin() + static_cast<long>(i * 384);
    queries.emplace_back(std::vector<float>(first, first + 384));
  }
  for (Metric metric : client::kMetrics) {
    ExpectAnswers(client, "sentences", queries, metric, ReadExpected("sentences", metric, ids),
                  true);
    if (HasFatalFailure()) return;
  }
}

TEST(Golden, RealTokensUnderTheirOwnNamesAnswerBitForBit) {
  const auto rows = FindDataFile("tokens.f32.npy");
  const auto names = FindDataFile("tokens.txt");
  const auto query_rows = FindDataFile("tokens.queries.rows.npy");
  if (!rows || !names || !query_rows) {
    GTEST_SKIP() << "tokens.f32.npy is not there (VEXACT_TEST_DATA_DIR)";
  }
  std::vector<Id> ids;
  std::ifstream lines(*names);
  for (std::string line; std::getline(lines, line);) ids.emplace_back(line);
  ASSERT_EQ(std::set<Id>(ids.begin(), ids.end()).size(), 30'522u);

  const ServerProcess server;
  const Client client(server.address());
  ASSERT_TRUE(client.CreateCollection({.name = "tokens", .dimension = 384}).ok());
  const Finished added = Vexact(
      server.address(), {"add", "tokens", rows->string(), "--ids", names->string(), "--text-ids"});
  ASSERT_EQ(added.status, 0) << added.err;
  ASSERT_EQ(*client.Count("tokens"), 30'522u);

  // The row numbers may be of any integer type.
  const size_t size = std::filesystem::file_size(*query_rows) - 128;
  std::vector<Query> queries;
  for (size_t i = 0; i < kQueries; ++i) {
    const uint64_t row =
        size == 500 * 8 ? Elements<uint64_t>(*query_rows)[i] : Elements<uint32_t>(*query_rows)[i];
    queries.emplace_back(ids.at(row));
  }
  for (Metric metric : client::kMetrics) {
    ExpectAnswers(client, "tokens", queries, metric, ReadExpected("tokens", metric, ids), false);
    if (HasFatalFailure()) return;
  }
}

// ---- made vectors, with this test's own reference score

// Section 1 of docs/exactness.md, written once more: 16 lanes, then halving.
template <typename Term>
double Lanes(size_t dimension, const Term& term) {
  double lanes[16] = {};
  for (size_t j = 0; j < dimension; ++j) lanes[j % 16] += term(j);
  for (size_t width = 8; width > 0; width /= 2) {
    for (size_t lane = 0; lane < width; ++lane) lanes[lane] += lanes[lane + width];
  }
  return lanes[0];
}

double Score(Metric metric, const std::vector<float>& q, const std::vector<float>& x) {
  const auto dot = [&](const std::vector<float>& a, const std::vector<float>& b) {
    return Lanes(a.size(), [&](size_t j) { return double{a[j]} * double{b[j]}; });
  };
  if (metric == Metric::kInnerProduct) return dot(q, x);
  if (metric == Metric::kCosine) return dot(q, x) / std::sqrt(dot(q, q) * dot(x, x));
  return Lanes(q.size(), [&](size_t j) {
    const double difference = double{q[j]} - double{x[j]};
    return difference * difference;
  });
}

struct World {
  std::vector<client::Point> points;
  std::vector<std::vector<float>> queries;
};

// Rows with many ties: small integers, repeated vectors, wild norms; ids of both forms, in no
// order.
World MakeWorld(size_t rows, size_t dimension, std::mt19937_64& random) {
  World world;
  std::normal_distribution<float> normal;
  std::uniform_int_distribution<int> small(-2, 2), kind(0, 3), exponent(-20, 20);
  const auto make = [&] {
    std::vector<float> vector(dimension);
    switch (kind(random)) {
      case 0:
        for (float& component : vector) component = static_cast<float>(small(random));
        vector[0] = 1;  // not the zero vector
        break;
      case 1:
        if (!world.points.empty()) {
          vector = world.points[random() % world.points.size()].vector;
          break;
        }
        [[fallthrough]];
      default: {
        const float scale = std::ldexp(1.0f, kind(random) == 0 ? exponent(random) : 0);
        for (float& component : vector) component = normal(random) * scale;
      }
    }
    return vector;
  };
  for (size_t row = 0; row < rows; ++row) {
    const uint64_t number = row * 7919 % rows;
    world.points.push_back({row % 3 == 0 ? Id(absl::StrCat("t", number)) : Id(number), make()});
  }
  for (int i = 0; i < 20; ++i) world.queries.push_back(make());
  return world;
}

Expected Answers(const World& world, Metric metric, size_t k) {
  Expected expected;
  for (const std::vector<float>& query : world.queries) {
    std::vector<std::pair<double, Id>> all;
    for (const client::Point& point : world.points) {
      const double score = Score(metric, query, point.vector);
      // Ascending: nearest first, then by id.
      all.emplace_back(metric == Metric::kL2 ? score : -score, point.id);
    }
    std::sort(all.begin(), all.end());
    all.resize(std::min(k, all.size()));
    auto& ids = expected.ids.emplace_back();
    auto& scores = expected.scores.emplace_back();
    for (const auto& [order, id] : all) {
      ids.push_back(id);
      // 0 - order would turn a score of -0.0 into 0.0.
      scores.push_back(metric == Metric::kL2 ? order : -order);
    }
  }
  return expected;
}

TEST(Golden, MadeVectorsAnswerBitForBit) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937_64 random(seed);
  const ServerProcess server;
  const Client client(server.address());
  for (size_t dimension : {1, 3, 16, 63, 100, 384}) {
    SCOPED_TRACE(absl::StrCat("dimension ", dimension));
    const World world = MakeWorld(2000, dimension, random);
    const std::string name = absl::StrCat("d", dimension);
    ASSERT_TRUE(
        client.CreateCollection({.name = name, .dimension = static_cast<uint32_t>(dimension)})
            .ok());
    ASSERT_TRUE(client.Upsert(name, world.points).ok());
    std::vector<Query> queries(world.queries.begin(), world.queries.end());
    for (Metric metric : client::kMetrics) {
      ExpectAnswers(client, name, queries, metric, Answers(world, metric, 50), true);
      if (HasFatalFailure()) return;
    }
  }
}

TEST(Golden, EveryRowIsReturnedWhenKIsLarger) {
  std::mt19937_64 random(1);
  const World world = MakeWorld(300, 20, random);
  const ServerProcess server;
  const Client client(server.address());
  ASSERT_TRUE(client.CreateCollection({.name = "c", .dimension = 20}).ok());
  ASSERT_TRUE(client.Upsert("c", world.points).ok());
  const Expected expected = Answers(world, Metric::kL2, 10'000);
  for (Engine engine : {Engine::kScan, Engine::kReference, Engine::kFaiss}) {
    const auto hits = client.Search("c", Query(world.queries[0]),
                                    {.k = 10'000, .metric = Metric::kL2, .engine = engine});
    ASSERT_TRUE(hits.ok()) << hits.status();
    ExpectSame(*hits, expected.ids[0], expected.scores[0], true);
  }
}

}  // namespace
}  // namespace vexact::testing

// Every error term of the certificate is necessary: without it, data that needs it gets a wrong
// answer.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "core/collection.h"
#include "tests/exactness/worlds.h"

namespace vexact {
namespace {

struct Case {
  Metric metric = Metric::kInnerProduct;
  std::shared_ptr<const Layout> layout = nullptr;  // the identity
  uint32_t k = 1;
  std::vector<std::vector<float>> rows = {};
  std::vector<std::vector<float>> queries = {};
};

// Queries whose answer differs from the reference engine's when `left_out` is missing from the
// certificate.
size_t WrongAnswers(const Case& data, Term left_out, const Kernel& kernel) {
  Workers workers(2);
  const auto dimension = static_cast<uint32_t>(data.rows.front().size());
  CollectionTuning tuning{.layout = data.layout, .scan = {.kernel = &kernel, .left_out = left_out}};
  Collection collection("case", {.dimension = dimension, .metric = data.metric}, workers, nullptr,
                        tuning);
  std::vector<PointView> points;
  for (size_t i = 0; i < data.rows.size(); ++i) points.push_back({uint64_t{i}, data.rows[i]});
  EXPECT_TRUE(collection.Upsert(points).ok());
  std::vector<Query> queries;
  for (const auto& query : data.queries)
    queries.push_back({.target = std::span<const float>(query)});
  const auto got = collection.Search(queries, {.k = data.k});
  const auto expected = collection.Search(queries, {.k = data.k, .engine = EngineKind::kReference});
  EXPECT_TRUE(got.ok() && expected.ok());
  size_t wrong = 0;
  for (size_t q = 0; q < queries.size(); ++q) {
    const auto same = [](const ScoredRow& a, const ScoredRow& b) {
      return a.row == b.row && a.score == b.score;
    };
    wrong += !std::equal(got->hits[q].begin(), got->hits[q].end(), expected->hits[q].begin(),
                         expected->hits[q].end(), same);
  }
  return wrong;
}

// Data that needs the term for most seeds, made for one kernel.
using MakeCase = std::function<Case(const Kernel&, Random&)>;

void ExpectNeeded(Term term, const MakeCase& make) {
  for (const Kernel* kernel : RunnableKernels()) {
    SCOPED_TRACE(kernel->isa);
    size_t wrong = 0;
    for (uint64_t seed = 1; seed <= 8; ++seed) {
      Random random(seed);
      const Case data = make(*kernel, random);
      EXPECT_EQ(WrongAnswers(data, Term::kNone, *kernel), 0u);
      wrong += WrongAnswers(data, term, *kernel);
    }
    EXPECT_GT(wrong, 0u);
  }
}

std::vector<std::vector<float>> Vectors(size_t n, size_t dimension,
                                        const std::function<float(size_t)>& component) {
  std::vector<std::vector<float>> vectors(n, std::vector<float>(dimension));
  for (auto& vector : vectors) {
    for (size_t j = 0; j < dimension; ++j) vector[j] = component(j);
  }
  return vectors;
}

float Integer(Random& random, int low, int high) {
  return static_cast<float>(low +
                            static_cast<int>(Below(random, static_cast<size_t>(high - low + 1))));
}

TEST(Certificate, NeedsTheRowsResidual) {
  ExpectNeeded(Term::kRowResidual, [](const Kernel&, Random& random) {
    Case data{.k = 100, .rows = MakeRows(Kind::kGaussian, 5'000, 32, random)};
    data.queries = MakeRows(Kind::kGaussian, 20, 32, random);
    return data;
  });
}

TEST(Certificate, NeedsTheUnreadTail) {
  ExpectNeeded(Term::kTail, [](const Kernel&, Random& random) {
    Case data{.layout = Layout::Identity(96, 32),
              .k = 100,
              .rows = MakeRows(Kind::kGaussian, 5'000, 96, random)};
    data.queries = MakeRows(Kind::kGaussian, 20, 96, random);
    return data;
  });
}

// Integer rows with 127 among their components, the others small enough for the layout's reach, are
// their own codes: nothing is lost but the query's fractions.
TEST(Certificate, NeedsTheQuerysResidual) {
  ExpectNeeded(Term::kQueryResidual, [](const Kernel&, Random& random) {
    Case data{.k = 4'000};
    data.rows =
        Vectors(40'000, 16, [&](size_t j) { return j == 0 ? 127.0f : Integer(random, -30, 30); });
    data.queries = MakeRows(Kind::kGaussian, 20, 16, random);
    return data;
  });
}

// Rows and queries of integers that are their own codes and digits, so that only float32 rounds.
// The sums of products are near 2^31, far beyond its 24 bits, and differ by little: rows differ in
// a few components by 1, and the query's components are alike.
TEST(Certificate, NeedsTheRoundingOfFloat32) {
  ExpectNeeded(Term::kRounding, [](const Kernel& kernel, Random& random) {
    const int largest = 128 * kernel.max_digit;
    Case data{.k = 200};
    data.rows = Vectors(600, 4'096, [&](size_t j) {
      return j == 0 ? 127.0f : Below(random, 512) == 0 ? 41.0f : 40.0f;
    });
    data.queries = Vectors(4, 4'096, [&](size_t j) {
      return j == 0 ? static_cast<float>(largest) : Integer(random, largest - 250, largest);
    });
    return data;
  });
}

}  // namespace
}  // namespace vexact

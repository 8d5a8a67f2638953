// Every error term of the certificate is necessary: without it, data that needs it gets a wrong
// answer.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "core/code.h"
#include "core/collection.h"
#include "core/ranking.h"
#include "core/reference_score.h"
#include "tests/exactness/worlds.h"

namespace vexact {
namespace {

struct Case {
  Metric metric = Metric::kInnerProduct;
  uint32_t first_width = 0;
  uint32_t k = 1;
  std::vector<std::vector<float>> rows;
  std::vector<std::vector<float>> queries;
};

// Queries whose answer differs from the reference engine's when `left_out` is missing from the
// certificate.
size_t WrongAnswers(const Case& data, Term left_out, const Kernel& kernel) {
  Workers workers(2);
  const auto dimension = static_cast<uint32_t>(data.rows.front().size());
  CollectionTuning tuning{.first_width = data.first_width,
                          .scan = {.kernel = &kernel, .left_out = left_out}};
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
    Case data{.first_width = 32, .k = 100, .rows = MakeRows(Kind::kGaussian, 5'000, 96, random)};
    data.queries = MakeRows(Kind::kGaussian, 20, 96, random);
    return data;
  });
}

// Integer rows with 127 among their components are their own codes: nothing is lost but the query's
// fractions.
TEST(Certificate, NeedsTheQuerysResidual) {
  ExpectNeeded(Term::kQueryResidual, [](const Kernel&, Random& random) {
    Case data{.k = 4'000};
    data.rows =
        Vectors(40'000, 8, [&](size_t j) { return j == 0 ? 127.0f : Integer(random, -127, 127); });
    data.queries = MakeRows(Kind::kGaussian, 20, 8, random);
    return data;
  });
}

// Rows and queries of integers that are their own codes and digits, so that only float32 rounds.
// The sums of products are near 2^32, far beyond its 24 bits, and differ by little: rows differ in
// a few components by 1, and the query's components are alike.
TEST(Certificate, NeedsTheRoundingOfFloat32) {
  ExpectNeeded(Term::kRounding, [](const Kernel& kernel, Random& random) {
    const int largest = 128 * kernel.max_digit;
    Case data{.k = 200};
    data.rows = Vectors(600, 4'096, [&](size_t j) {
      return j == 0 ? 127.0f : Below(random, 512) == 0 ? 101.0f : 100.0f;
    });
    data.queries = Vectors(4, 4'096, [&](size_t j) {
      return j == 0 ? static_cast<float>(largest) : Integer(random, largest - 250, largest);
    });
    return data;
  });
}

// Rows are stored with their norm rounded up to float32, so that the square of what is stored lies
// up to 2^-22 above |x|^2. The other margins of the L2 bound hide that from an answer, as far as
// data was found; the bound itself is wrong without it. Rows and query are integers: their ranks
// are exact in float64.
TEST(Certificate, NeedsTheRoundingOfSquares) {
  Random random(5);
  constexpr uint32_t kDimension = 256;
  constexpr uint32_t kRows = 256;
  const auto rows = Vectors(kRows, kDimension, [&](size_t) { return Integer(random, 63, 65); });
  const auto query = Vectors(1, kDimension, [&](size_t) { return Integer(random, 0, 1); }).front();
  auto segment = Segment::Create(Layout::Whole(kDimension), kRows);
  ASSERT_TRUE(segment.ok());
  for (uint64_t i = 0; i < kRows; ++i) (*segment)->Append(i, rows[i], Dot(rows[i], rows[i]));
  const EncodedQuery encoded =
      EncodeQuery(query, Dot(query, query), Layout::Whole(kDimension), *RunnableKernels().front());
  const double scale = std::ldexp(1.0, -encoded.exponent);
  const auto rows_outside = [&](Term left_out) {
    const Ranking ranking(Metric::kL2, encoded, left_out);
    size_t outside = 0;
    for (uint32_t row = 0; row < kRows; ++row) {
      const double product = Dot(query, rows[row]) * scale;
      const double rank = product - Dot(rows[row], rows[row]) / 2 * scale;
      const double norm = (*segment)->codes().norm[row];
      outside += ranking.Upper(product, 0, norm) < rank || ranking.Lower(product, 0, norm) > rank;
    }
    return outside;
  };
  EXPECT_EQ(rows_outside(Term::kNone), 0u);
  EXPECT_GT(rows_outside(Term::kSquareRounding), 0u);
}

// The two margins without a switch are too small for any float32 data to reach. kSumMargin (2^-36)
// and the reference score's own error (2^-40 of |q| |x|, in Ranking 2^-36 of |q|^2) are at most
// 2^-16 of the float32 rounding that EncodeQuery adds beside them, whatever the data; that they are
// there matters for the proof, not for an answer. The test below holds them to what they promise.
TEST(Certificate, BoundsContainTheScore) {
  Random random(6);
  for (int kind = 0; kind < kKinds; ++kind) {
    for (const uint32_t dimension : {1u, 3u, 64u, 65u, 200u}) {
      SCOPED_TRACE(testing::Message()
                   << Name(static_cast<Kind>(kind)) << ", " << dimension << " dimensions");
      const uint32_t first = static_cast<uint32_t>(1 + Below(random, dimension));
      const Layout layout{dimension, first};
      auto segment = Segment::Create(layout, 64);
      ASSERT_TRUE(segment.ok());
      const auto rows = MakeRows(static_cast<Kind>(kind), 64, dimension, random);
      for (uint64_t i = 0; i < 64; ++i) (*segment)->Append(i, rows[i], Dot(rows[i], rows[i]));
      const std::vector<float> query = MakeQuery(static_cast<Kind>(kind), rows, false, random);
      for (const Kernel* kernel : RunnableKernels()) {
        const EncodedQuery encoded = EncodeQuery(query, Dot(query, query), layout, *kernel);
        const CodeColumns& codes = (*segment)->codes();
        FilterInput input{.codes = codes.first_slab,
                          .width = layout.first_bytes(),
                          .scale = codes.scale,
                          .row_error = codes.error,
                          .norm = codes.norm,
                          .tail = codes.tail,
                          .high = encoded.high.data(),
                          .low = encoded.low.data(),
                          .high_offset = encoded.high_offsets[0],
                          .low_offset = encoded.low_offsets[0],
                          .query_scale = encoded.scale,
                          .threshold = -std::numeric_limits<float>::infinity()};
        Survivor survivors[64];
        ASSERT_EQ(kernel->filter(input, 4, survivors), 64u);  // everything reaches minus infinity
        for (uint32_t row = 0; row < 64; ++row) {
          const EncodedQuery::Factors& factors = encoded.factors[0];
          const double radius =
              double{factors.error} * codes.error[row] + double{factors.norm} * codes.norm[row] +
              (codes.tail == nullptr ? 0 : double{factors.tail} * codes.tail[row]);
          for (const Metric metric : kMetrics) {
            const double dot = (*segment)->dot(row);
            if (metric == Metric::kCosine && dot == 0) continue;
            const Ranking ranking(metric, encoded);
            const double score =
                ReferenceScore(metric, query, encoded.dot, (*segment)->vector(row), dot);
            const double upper = ranking.Upper(survivors[row].estimate, radius, codes.norm[row]);
            const double lower = ranking.Lower(survivors[row].estimate, radius, codes.norm[row]);
            // Upper is not below the score's own rank, whose bound from below is FromScore; Lower
            // does not promise a better score.
            EXPECT_GE(upper, ranking.FromScore(score)) << Name(metric) << ", row " << row;
            EXPECT_LE(lower, upper);
            if (metric != Metric::kL2) {
              const double rank =
                  score *
                  (metric == Metric::kCosine ? encoded.norm : std::ldexp(1.0, -encoded.exponent));
              EXPECT_LE(lower, rank) << Name(metric) << ", row " << row;
            }
          }
        }
      }
    }
  }
}

TEST(Certificate, RoundsOutward) {
  Random random(7);
  for (int i = 0; i < 100'000; ++i) {
    const double value = std::bit_cast<double>(random());
    if (std::isnan(value)) continue;
    ASSERT_GE(RoundUp(value), value);
    ASSERT_LE(RoundDown(value), value);
  }
  EXPECT_EQ(RoundUp(1.0), 1.0f);
  EXPECT_EQ(RoundDown(1.0), 1.0f);
  EXPECT_EQ(RoundDown(1e300), std::numeric_limits<float>::max());
  EXPECT_EQ(RoundUp(-1e300), -std::numeric_limits<float>::max());
}

}  // namespace
}  // namespace vexact

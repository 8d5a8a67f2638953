// Every error term of the certificate is necessary: without it, data that needs it gets a wrong
// answer.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "core/collection.h"
#include "tests/exactness/layouts.h"
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

// A few queries pass alone, on all of their digits. The rows of a cluster are nearer to each other
// than their codes can tell.
TEST(Certificate, NeedsTheRowsResidual) {
  ExpectNeeded(Term::kRowResidual, [](const Kernel&, Random& random) {
    Case data{.k = 10, .rows = MakeRows(Kind::kClustered, 5'000, 32, random)};
    data.queries = MakeRows(Kind::kGaussian, 3, 32, random);
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
// their own codes: nothing is lost but the query's fractions, of which a batch first leaves many.
TEST(Certificate, NeedsTheQuerysResidual) {
  ExpectNeeded(Term::kQueryResidual, [](const Kernel&, Random& random) {
    Case data{.k = 100};
    data.rows =
        Vectors(5'000, 16, [&](size_t j) { return j == 0 ? 127.0f : Integer(random, -30, 30); });
    data.queries = MakeRows(Kind::kGaussian, 20, 16, random);
    return data;
  });
}

// Rows and queries of integers that are their own codes and digits, so that only float32 rounds.
// The sums of products are near 2^31, far beyond its 24 bits, and differ by little: as many
// components of each row are 41 and not 40, and the query's components are alike.
TEST(Certificate, NeedsTheRoundingOfFloat32) {
  ExpectNeeded(Term::kRounding, [](const Kernel& kernel, Random& random) {
    const int largest = 128 * kernel.max_digit;
    constexpr uint32_t kDimension = 4'096;
    Case data;
    data.rows = Vectors(600, kDimension, [](size_t j) { return j == 0 ? 127.0f : 40.0f; });
    for (auto& row : data.rows) {
      for (int i = 0; i < 8; ++i) row[1 + 500 * i + Below(random, 500)] = 41;
    }
    data.queries = Vectors(3, kDimension, [&](size_t j) {
      return j == 0 ? static_cast<float>(largest) : Integer(random, largest - 2, largest);
    });
    return data;
  });
}

TEST(Certificate, NeedsWhatALeadingBasisLeavesOut) {
  ExpectNeeded(Term::kTail, [](const Kernel&, Random& random) {
    Case data{.k = 100, .rows = MakeRows(Kind::kGaussian, 5'000, 64, random)};
    const LayoutForm form{.dimension = 64, .first_width = 32, .basis = Basis::kLeading};
    data.layout = MakeLayout(form, random);
    data.queries = MakeRows(Kind::kGaussian, 20, 64, random);
    return data;
  });
}

// A sketch is all that the first pass reads when its residual is missing from the certificate: up
// to three queries pass alone.
TEST(Certificate, NeedsTheSketchsResidual) {
  ExpectNeeded(Term::kRowResidual, [](const Kernel&, Random& random) {
    Case data{.k = 60, .rows = MakeRows(Kind::kGaussian, 5'000, 64, random)};
    const LayoutForm form{.dimension = 64, .first_width = 64, .sketch = true};
    data.layout = MakeLayout(form, random);
    data.queries = MakeRows(Kind::kGaussian, 3, 64, random);
    return data;
  });
}

// Rows whose first two components are large, and in truth in balance.
std::vector<std::vector<float>> TwoLongAxes(size_t n, uint32_t dimension, Random& random) {
  auto rows = MakeRows(Kind::kGaussian, n, dimension, random);
  for (auto& row : rows) {
    row[0] *= 10;
    row[1] *= 10;
  }
  return rows;
}

// Along one axis a basis that is a little too short, along another a little too long: it says so of
// itself, and what it says is needed.
TEST(Certificate, NeedsTheDefectOfTheBasis) {
  ExpectNeeded(Term::kDefect, [](const Kernel&, Random& random) {
    constexpr uint32_t kDimension = 16;
    Case data{.k = 50, .rows = TwoLongAxes(5'000, kDimension, random)};
    std::vector<std::vector<double>> basis(kDimension, std::vector<double>(kDimension));
    for (size_t i = 0; i < kDimension; ++i) basis[i][i] = i == 0 ? 0.98 : i == 1 ? 1.02 : 1;
    const auto layout = std::make_shared<Layout>(*Layout::Identity(kDimension));
    SetBasis(*layout, basis);
    data.layout = layout;
    data.queries = TwoLongAxes(20, kDimension, random);
    return data;
  });
}

// A projection that is off by up to one part in forty, with a layout that says so.
void ProjectBadly(const float* basis, size_t panels, size_t d, const float* rows, size_t n,
                  float* out) {
  RunnableKernels().front()->project(basis, panels, d, rows, n, out);
  for (size_t i = 0; i < n; ++i) {
    out[i * panels * kPanelRows] *= 0.976f;
    out[i * panels * kPanelRows + 1] *= 1.024f;
  }
}

TEST(Certificate, NeedsTheErrorOfTheProjection) {
  for (const Kernel* kernel : RunnableKernels()) {
    SCOPED_TRACE(kernel->isa);
    Kernel bad = *kernel;
    bad.project = ProjectBadly;
    constexpr uint32_t kDimension = 16;
    size_t wrong = 0;
    for (uint64_t seed = 1; seed <= 8; ++seed) {
      Random random(seed);
      Case data{.k = 50, .rows = TwoLongAxes(5'000, kDimension, random)};
      const LayoutForm form{.dimension = kDimension, .first_width = 16, .basis = Basis::kNone};
      const auto layout = MakeLayout(form, random);
      std::vector<std::vector<double>> axes(kDimension, std::vector<double>(kDimension));
      for (size_t i = 0; i < kDimension; ++i) axes[i][i] = 1;
      SetBasis(*layout, axes);
      layout->projection_error += 0.0241;
      data.layout = layout;
      data.queries = TwoLongAxes(20, kDimension, random);
      EXPECT_EQ(WrongAnswers(data, Term::kNone, bad), 0u);
      wrong += WrongAnswers(data, Term::kProjection, bad);
    }
    EXPECT_GT(wrong, 0u);
  }
}

// Rows whose length along the center is next to nothing, though it is kept as the difference of two
// large numbers, and queries that ask for nothing else. All but one of the center's components are
// 100; the rows' are in pairs that cancel, and equally long, for cosine.
Case AlongTheCenter(Metric metric, Random& random) {
  constexpr uint32_t kDimension = 64;
  std::vector<float> center(kDimension, 100.0f);
  center[0] = 0.001f;
  Case data{.metric = metric,
            .rows = Vectors(2'000, kDimension, [&](size_t j) { return center[j]; })};
  for (auto& row : data.rows) {
    row[0] = Integer(random, 1, 30);
    for (size_t j = 2; j < kDimension; j += 2) {
      float step = Integer(random, 20, 30);
      if (metric == Metric::kCosine) step = Below(random, 2) == 0 ? 25.0f : -25.0f;
      row[j] += step;
      row[j - 1] -= step;
    }
    if (metric == Metric::kCosine) row[0] = Integer(random, 1, 2) / 64;
  }
  const LayoutForm form{
      .dimension = kDimension, .first_width = kDimension, .center = center, .longest = 16 * 30 * 8};
  data.layout = MakeLayout(form, random);
  for (const float lambda : {0x1p19f, 0x1p20f, 0x1p21f}) {
    data.queries.push_back(center);
    for (float& x : data.queries.back()) x *= lambda;
  }
  return data;
}

TEST(Certificate, NeedsTheRoundingOfNorms) {
  for (const Metric metric : {Metric::kInnerProduct, Metric::kCosine}) {
    SCOPED_TRACE(Name(metric));
    ExpectNeeded(Term::kNormRounding, [metric](const Kernel&, Random& random) {
      return AlongTheCenter(metric, random);
    });
  }
}

}  // namespace
}  // namespace vexact

// What a query makes of coded rows, step by step: no step gives up a row whose rank reaches tau.
#include "core/scan_query.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <set>
#include <vector>

#include "core/reference_score.h"
#include "core/segment_codes.h"
#include "tests/core/harness.h"
#include "tests/exactness/layouts.h"
#include "tests/exactness/worlds.h"

namespace vexact {
namespace {

using Rows = std::vector<std::vector<float>>;

constexpr double kAnyRank = -std::numeric_limits<double>::infinity();

// Rows in a segment, in whole groups, with their codes.
struct CodedRows {
  CodedRows(const Rows& rows, const std::shared_ptr<const Layout>& layout, const Kernel& kernel) {
    const auto count = static_cast<uint32_t>(rows.size());
    segment = *Segment::Create(layout->dimension, count);
    for (uint64_t i = 0; i < rows.size(); ++i)
      segment->Append(i, i, rows[i], Dot(rows[i], rows[i]));
    codes = *SegmentCodes::Create(layout, segment->capacity());
    codes->Encode(*segment, kernel, 0, count);
    groups = rows.size() / kGroupRows;
  }
  std::unique_ptr<Segment> segment;
  std::unique_ptr<SegmentCodes> codes;
  size_t groups;
};

class ScanQueryTest : public testing::TestWithParam<const Kernel*> {
 protected:
  // Searches for the rows that reach `tau`, and expects to lose none.
  void ExpectNoneLost(const CodedRows& rows, const CodedQuery& query,
                      const std::vector<double>& ranks, double tau) const {
    const CodeColumns& columns = rows.codes->columns();
    std::vector<Layout::BasisLine> bounds(rows.groups);  // for their alignment
    float* const bound = bounds[0].lane;
    std::vector<Survivor> out(rows.groups * kGroupRows);
    out.resize(query.Bound(columns, 0, rows.groups, kAnyRank, bound, out.data()));
    ASSERT_EQ(out.size(), rows.groups * kGroupRows);
    out.resize(query.Select(columns, 0, rows.groups, tau, bound, out.data()));
    std::set<uint32_t> selected;
    for (const Survivor& survivor : out) selected.insert(survivor.row);
    for (uint32_t row = 0; row < ranks.size(); ++row) {
      if (ranks[row] < tau) continue;
      SCOPED_TRACE(testing::Message() << "row " << row << ", rank " << ranks[row]);
      ASSERT_TRUE(selected.contains(row));
      const auto refined = query.RefineBound(columns, row, bound[row], tau);
      ASSERT_TRUE(refined.survived) << "after " << refined.slabs << " slabs";
      ASSERT_FALSE(refined.upper < ranks[row]);
    }
    ExpectNoneLostInBatch(rows, query, ranks, tau);
  }

  // The same from the high digits alone.
  void ExpectNoneLostInBatch(const CodedRows& rows, const CodedQuery& query,
                             const std::vector<double>& ranks, double tau) const {
    const CodeColumns& columns = rows.codes->columns();
    const EncodedQuery* const member = &query.encoded();
    const PackedTile packed = PackTile({&member, 1}, *GetParam());
    const std::vector<QueryTerms> terms(GetParam()->tile_queries,
                                        query.ranking().Terms(tau, Reading::kHighDigits));
    const FirstSlab slab = columns.first(FirstCode::kByte, 0, query.ranking().needs_norm(),
                                         query.ranking().needs_bend());
    std::vector<Survivor> out(rows.groups * kGroupRows);
    out.resize(GetParam()->filter_tile(
        slab, rows.groups,
        {packed.digits.data(), packed.sums.data(), terms.data(), 1, query.ranking().norm_apart()},
        out.data()));
    std::set<uint32_t> refined_rows;
    for (const Survivor& survivor : out) {
      const auto refined = query.RefineEstimate(columns, survivor.row, survivor.estimate, tau);
      if (!refined.survived) continue;
      refined_rows.insert(survivor.row);
      ASSERT_FALSE(refined.upper < ranks[survivor.row]) << "row " << survivor.row;
    }
    for (uint32_t row = 0; row < ranks.size(); ++row) {
      if (ranks[row] >= tau) {
        ASSERT_TRUE(refined_rows.contains(row)) << "row " << row << " of a batch";
      }
    }
  }
};

INSTANTIATE_TEST_SUITE_P(, ScanQueryTest,
                         testing::ValuesIn(RunnableKernels().begin(), RunnableKernels().end()),
                         [](const auto& instance) { return std::string(instance.param->isa); });

TEST_P(ScanQueryTest, LosesNoRowUnderAnyLayout) {
  for (uint64_t seed = 1; seed <= 150; ++seed) {
    Random random(seed);
    const auto kind = static_cast<Kind>(Below(random, kKinds));
    const auto dimension = static_cast<uint32_t>(1 + Below(random, 220));
    const Rows rows = MakeRows(kind, 48, dimension, random);
    const Rows others = MakeRows(static_cast<Kind>(Below(random, kKinds)), 8, dimension, random);
    const auto layout = MakeLayout(AnyForm(seed % 3 == 0 ? others : rows, random), random);
    const CodedRows coded(rows, layout, *GetParam());
    const bool zeros =
        std::any_of(rows.begin(), rows.end(), [](const auto& row) { return Dot(row, row) == 0; });
    for (const Metric metric : kMetrics) {
      if (metric == Metric::kCosine && zeros) continue;
      SCOPED_TRACE(testing::Message() << "seed " << seed << ", " << Name(kind) << ", "
                                      << Name(metric) << ", " << Describe(*layout));
      const std::vector<float> vector = MakeQuery(kind, rows, false, random);
      const CodedQuery query(vector, Dot(vector, vector), metric, *layout, *GetParam());
      std::vector<double> ranks;
      for (const auto& row : rows) {
        const double score =
            ReferenceScore(metric, vector, Dot(vector, vector), row, Dot(row, row));
        ranks.push_back(Ranking::FromScore(metric, query.encoded(), score));
      }
      for (int i = 0; i < 5; ++i) {
        ExpectNoneLost(coded, query, ranks, ranks[Below(random, ranks.size())]);
        if (HasFatalFailure()) return;
      }
    }
  }
}

// What is certain is used: of rows that are nowhere near, almost none is left to be scored.
TEST_P(ScanQueryTest, GivesUpRowsThatAreFar) {
  Random random(7);
  const Rows rows = MakeRows(Kind::kGaussian, 3'200, 160, random);
  for (const Basis basis : {Basis::kNone, Basis::kWhole, Basis::kLeading}) {
    const auto layout = MakeLayout(
        {.dimension = 160, .first_width = 64, .sketch = true, .basis = basis, .weight_range = 0},
        random);
    SCOPED_TRACE(Describe(*layout));
    const CodedRows coded(rows, layout, *GetParam());
    const CodedQuery query(rows[0], Dot(rows[0], rows[0]), Metric::kL2, *layout, *GetParam());
    // A tenth of the usual distance between two rows.
    const double tau = Ranking::FromScore(Metric::kL2, query.encoded(), 32);
    std::vector<Layout::BasisLine> bounds(coded.groups);
    std::vector<Survivor> out(rows.size());
    const CodeColumns& columns = coded.codes->columns();
    (void)query.Bound(columns, 0, coded.groups, kAnyRank, bounds[0].lane, out.data());
    out.resize(query.Select(columns, 0, coded.groups, tau, bounds[0].lane, out.data()));
    size_t survived = 0;
    for (const Survivor& survivor : out) {
      survived +=
          query.RefineBound(columns, survivor.row, bounds[0].lane[survivor.row], tau).survived;
    }
    EXPECT_EQ(survived, 1u) << "the row itself";
  }
}

// --------------------------------------------------------------------------------- one query's run

TEST(ScanQuery, TauIsTheRankOfTheWorstAnswerAndOnlyRises) {
  const auto segment = *Segment::Create(1, 16);
  for (uint64_t i = 0; i < 8; ++i) {
    segment->Append(i, i, std::vector<float>{static_cast<float>(i)}, static_cast<double>(i * i));
  }
  const std::vector<float> vector = {1};
  const EngineQuery engine_query{.vector = vector, .dot = 1, .excluded = {}};
  ScanQuery query(Metric::kInnerProduct, 3, engine_query);
  const std::vector<std::shared_ptr<const Layout>> layouts = {Layout::Identity(1)};
  query.Encode(layouts, *RunnableKernels().front(), Term::kNone);
  EXPECT_EQ(query.tau(), kAnyRank);
  for (const uint32_t row : {4u, 1u, 6u}) {
    EXPECT_EQ(query.tau(), kAnyRank) << "any row may be an answer until there are three";
    query.Offer({static_cast<double>(row), {segment.get(), row}});
  }
  EXPECT_EQ(query.tau(), 1);
  query.Offer({0, {segment.get(), 0}});
  EXPECT_EQ(query.tau(), 1);
  query.Offer({5, {segment.get(), 5}});
  EXPECT_EQ(query.tau(), 4);
  const auto answer = query.TakeAnswer();
  ASSERT_EQ(answer.size(), 3);
  EXPECT_EQ(answer[0].row.row, 6u);
  EXPECT_EQ(answer[1].row.row, 5u);
  EXPECT_EQ(answer[2].row.row, 4u);
}

TEST(ScanQuery, RemembersItsSeeds) {
  const std::vector<float> vector = {1};
  const EngineQuery engine_query{.vector = vector, .dot = 1, .excluded = {}};
  ScanQuery query(Metric::kInnerProduct, 3, engine_query);
  const std::vector<std::pair<uint32_t, uint32_t>> seeds = {{2, 5}, {0, 9}, {2, 1}};
  query.RememberSeeds(seeds.size(), [&](size_t i) { return seeds[i]; });
  for (const auto& [part, row] : seeds) EXPECT_TRUE(query.IsSeed(part, row));
  EXPECT_FALSE(query.IsSeed(2, 2));
  EXPECT_FALSE(query.IsSeed(1, 5));
}

}  // namespace
}  // namespace vexact

#include "core/top_k.h"

#include <gtest/gtest.h>

#include <memory>

#include "tests/core/harness.h"

namespace vexact {
namespace {

// Rows to offer; only their ids matter here.
std::unique_ptr<Segment> RowsWithIds(const std::vector<Id>& ids) {
  auto segment = Segment::Create(1, static_cast<uint32_t>(ids.size()));
  EXPECT_THAT(segment.status(), IsOk());
  for (const Id& id : ids) (*segment)->Append(0, View(id), std::vector<float>{1}, 1);
  return *std::move(segment);
}

TEST(TopK, IsTheBeginningOfTheSortedRowsInAnyOrderOfOffers) {
  std::vector<Id> ids;
  for (uint64_t i = 0; i < 100; ++i) ids.push_back(99 - i);
  for (int i = 0; i < 100; ++i) ids.push_back(std::to_string(i) + "th");
  const auto segment = RowsWithIds(ids);
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    SCOPED_TRACE(seed);
    oracle::Random random(seed);
    const Metric metric = kMetrics[random.Below(3)];
    std::vector<ScoredRow> rows;
    std::vector<Point> points;  // one component each, so that its product with 1 is the score
    for (uint32_t row = 0; row < ids.size(); ++row) {
      // Few distinct scores: most comparisons are decided by the id. -0.0 and 0.0 are equal.
      const auto score = static_cast<float>(random.Below(5)) * (random.Chance(0.5) ? -0.0f : 0.5f);
      rows.push_back({score, {segment.get(), row}});
      points.push_back({ids[row], {score}});
    }
    for (const size_t k : {0, 1, 2, 50, 199, 200, 1'000}) {
      TopK left(metric, k);
      TopK right(metric, k);
      for (const ScoredRow& row : rows) (random.Chance(0.3) ? left : right).Offer(row);
      left.Merge(right);
      std::vector<Id> expected;
      // Squared distance to 0 orders non-negative scores as L2 orders them.
      const std::vector<float> q = {metric == Metric::kL2 ? 0.0f : 1.0f};
      const Metric order = metric == Metric::kL2 ? Metric::kL2 : Metric::kInnerProduct;
      for (const Hit& hit : oracle::TopK(order, points, q, k)) expected.push_back(hit.id);
      EXPECT_EQ(Ids(Owned(left.TakeSorted())), expected) << "k " << k;
    }
  }
}

}  // namespace
}  // namespace vexact

#include "core/metric.h"

#include <gtest/gtest.h>

namespace vexact {
namespace {

TEST(Metric, NamesAreThoseOfTheContract) {
  EXPECT_EQ(Name(Metric::kInnerProduct), "inner_product");
  EXPECT_EQ(Name(Metric::kCosine), "cosine");
  EXPECT_EQ(Name(Metric::kL2), "l2");
  EXPECT_EQ(Name(Normalization::kNone), "none");
  EXPECT_EQ(Name(Normalization::kL2), "l2");
  EXPECT_EQ(Name(Normalization::kRequireUnit), "require_unit");
}

TEST(Metric, ParsesItsOwnNamesAndNothingElse) {
  for (const Metric metric : kMetrics) EXPECT_EQ(ParseMetric(Name(metric)), metric);
  for (const Normalization normalization :
       {Normalization::kNone, Normalization::kL2, Normalization::kRequireUnit}) {
    EXPECT_EQ(ParseNormalization(Name(normalization)), normalization);
  }
  for (const char* wrong : {"", "Cosine", "euclidean", "cosine ", "l22"}) {
    EXPECT_EQ(ParseMetric(wrong), std::nullopt);
    EXPECT_EQ(ParseNormalization(wrong), std::nullopt);
  }
}

TEST(Metric, NearerIsGreaterExceptForL2) {
  EXPECT_TRUE(Nearer(Metric::kInnerProduct, 2, 1));
  EXPECT_TRUE(Nearer(Metric::kCosine, 0.5, -0.5));
  EXPECT_TRUE(Nearer(Metric::kL2, 1, 2));
  for (const Metric metric : kMetrics) {
    EXPECT_FALSE(Nearer(metric, 1, 1));
    EXPECT_FALSE(Nearer(metric, 0.0, -0.0));
    EXPECT_NE(Nearer(metric, 1, 2), Nearer(metric, 2, 1));
  }
}

}  // namespace
}  // namespace vexact

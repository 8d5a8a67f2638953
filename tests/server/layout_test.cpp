// What a caller sees of layouts: how they come into use while it searches on, and what a search
// read.
#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "tests/server/running_server.h"

namespace vexact::testing {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr uint32_t kDimension = 256;
constexpr uint64_t kBlockRows = 1'000;

// Rows with most of their energy in few directions, as those of embeddings have.
class CorrelatedRows {
 public:
  CorrelatedRows() : basis_(kRank, std::vector<float>(kDimension)) {
    for (std::vector<float>& direction : basis_) {
      for (float& component : direction) component = normal_(random_);
    }
  }

  std::vector<float> Next() {
    std::vector<float> row(kDimension);
    for (float& component : row) component = 0.3f * normal_(random_);
    for (const std::vector<float>& direction : basis_) {
      const float share = normal_(random_);
      for (uint32_t j = 0; j < kDimension; ++j) row[j] += share * direction[j];
    }
    return row;
  }

 private:
  static constexpr size_t kRank = 24;
  std::minstd_rand random_{5};
  std::normal_distribution<float> normal_;
  std::vector<std::vector<float>> basis_;
};

class LayoutTest : public ::testing::Test {
 protected:
  void SetUp() override {
    server_.Create("docs", kDimension);
    for (int i = 0; i < 7; ++i) queries_.push_back(ByVector(source_.Next()));
  }

  void Add(uint64_t blocks) {
    for (; blocks > 0; --blocks, rows_ += kBlockRows) {
      std::vector<std::vector<float>> block(kBlockRows);
      for (std::vector<float>& row : block) row = source_.Next();
      ASSERT_THAT(server_.Upsert(Block("docs", rows_, block)), IsOk());
    }
  }

  v1::Layout Describe() const {
    PatientContext context;
    v1::GetCollectionRequest request;
    request.set_name("docs");
    v1::GetCollectionResponse response;
    EXPECT_THAT(server_.collections->GetCollection(&context, request, &response), IsOk());
    return response.layout();
  }

  // The layout once one was looked for and all rows are coded under it.
  v1::Layout AwaitTrained() const {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (std::chrono::steady_clock::now() < deadline) {
      v1::Layout layout = Describe();
      if (layout.trained_rows() > 0 && layout.coded_rows() == layout.rows()) return layout;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    ADD_FAILURE() << "no layout was trained and applied: " << Describe().DebugString();
    return {};
  }

  v1::SearchResponse Search(v1::Engine engine, size_t queries) {
    v1::SearchRequest request =
        MakeSearch("docs", 10, {queries_.begin(), queries_.begin() + static_cast<long>(queries)});
    request.set_engine(engine);
    v1::SearchResponse response;
    EXPECT_THAT(server_.Search(request, &response), IsOk());
    return response;
  }

  // The ids and the bits of the scores.
  std::string Answers(v1::Engine engine) {
    std::string answers;
    const v1::SearchResponse response = Search(engine, queries_.size());
    for (const v1::SearchResult& result : response.results()) {
      answers += result.SerializeAsString();
    }
    return answers;
  }

  RunningServer server_;
  CorrelatedRows source_;
  uint64_t rows_ = 0;
  std::vector<v1::Query> queries_;
};

TEST_F(LayoutTest, IsTheIdentityUntilThereIsSomethingToLearn) {
  EXPECT_EQ(Describe().kind(), v1::LAYOUT_KIND_IDENTITY) << "of an empty collection";
  Add(1);
  const v1::Layout layout = Describe();
  EXPECT_EQ(layout.kind(), v1::LAYOUT_KIND_IDENTITY);
  EXPECT_EQ(layout.directions(), 0);
  EXPECT_EQ(layout.first_slab_dimensions(), kDimension);
  EXPECT_EQ(layout.trained_rows(), 0);
  EXPECT_EQ(layout.coded_rows(), layout.rows());
  EXPECT_FALSE(layout.has_expected_bytes());
  EXPECT_FALSE(layout.has_observed_bytes());
  ASSERT_EQ(layout.slabs_size(), 1);
  EXPECT_FALSE(layout.slabs(0).has_energy());
  EXPECT_FALSE(layout.slabs(0).has_expected_passed());
  EXPECT_FALSE(layout.slabs(0).has_observed_passed());
}

TEST_F(LayoutTest, IsTrainedInTheBackgroundAndChangesNoAnswer) {
  Add(8);
  ASSERT_EQ(Describe().trained_rows(), 0);
  const std::string before = Answers(v1::ENGINE_SCAN);
  EXPECT_EQ(Answers(v1::ENGINE_REFERENCE), before);
  Add(2);
  const std::string grown = Answers(v1::ENGINE_REFERENCE);
  EXPECT_EQ(Answers(v1::ENGINE_SCAN), grown) << "while the layout is on its way";
  const v1::Layout layout = AwaitTrained();
  EXPECT_NE(layout.kind(), v1::LAYOUT_KIND_IDENTITY);
  EXPECT_EQ(Answers(v1::ENGINE_SCAN), grown);
  EXPECT_EQ(Answers(v1::ENGINE_REFERENCE), grown);
  // Without the rows that were too many for the identity, the answers are those that it gave.
  v1::DeletePointsRequest remove;
  remove.set_collection("docs");
  for (uint64_t id = 8 * kBlockRows; id < rows_; ++id) *remove.add_ids() = NumberId(id);
  ASSERT_THAT(server_.Delete(remove), IsOk());
  EXPECT_EQ(Answers(v1::ENGINE_SCAN), before);
}

TEST_F(LayoutTest, SaysWhatIsExpectedOfItAndWhatWasObserved) {
  Add(10);
  const v1::Layout trained = AwaitTrained();
  EXPECT_GE(trained.trained_rows(), 8'192);
  EXPECT_LE(trained.trained_rows(), rows_);
  EXPECT_EQ(trained.rows(), rows_ / 16 * 16);
  ASSERT_NE(trained.kind(), v1::LAYOUT_KIND_IDENTITY);
  const bool leading = trained.kind() == v1::LAYOUT_KIND_LEADING_ROTATION;
  const uint32_t width = trained.first_slab_dimensions();
  EXPECT_LT(width, kDimension);
  EXPECT_EQ(trained.directions(), leading ? width : kDimension);
  EXPECT_EQ(trained.slabs_size(), 1 + (kDimension - (leading ? 0 : width) + 63) / 64);

  EXPECT_EQ(trained.observed_queries(), 0);
  const uint64_t read = Search(v1::ENGINE_SCAN, 1).bytes_read();
  const v1::Layout one = Describe();
  EXPECT_EQ(one.observed_queries(), 1);
  EXPECT_EQ(one.observed_bytes(), static_cast<double>(read));
  Search(v1::ENGINE_REFERENCE, 5);
  EXPECT_EQ(Describe().observed_queries(), 1)
      << "what other engines read says nothing about the layout";
  Search(v1::ENGINE_SCAN, 6);
  const v1::Layout layout = Describe();
  EXPECT_EQ(layout.observed_queries(), 7);

  const double raw_bytes = static_cast<double>(rows_ * kDimension * sizeof(float));
  for (const double bytes : {layout.expected_bytes(), layout.observed_bytes()}) {
    EXPECT_GT(bytes, 0);
    EXPECT_LT(bytes, raw_bytes / 4) << "less than the bytes of the identity";
  }
  // Slab by slab more of the energy is read, up to all of it, and fewer rows are left.
  v1::Slab last;
  last.set_expected_passed(1);
  last.set_observed_passed(1);
  for (const v1::Slab& slab : layout.slabs()) {
    EXPECT_EQ(slab.has_energy(), !leading || &slab == &layout.slabs(0));
    if (slab.has_energy()) {
      EXPECT_GT(slab.energy(), last.energy());
    }
    EXPECT_LE(slab.expected_passed(), last.expected_passed());
    EXPECT_LE(slab.observed_passed(), last.observed_passed());
    last = slab;
  }
  if (!leading) {
    EXPECT_NEAR(last.energy(), 1, 1e-3);
  }
  EXPECT_GT(last.observed_passed(), 0) << "the answers themselves";
  EXPECT_GT(layout.slabs(0).energy(), 0.5);
}

TEST_F(LayoutTest, IsLoggedWhenItWasTrainedAndWhenAllRowsHaveIt) {
  Add(8);
  EXPECT_THAT(server_.process.log(), Not(HasSubstr("info trained ")));
  Add(2);
  const v1::Layout layout = AwaitTrained();
  ASSERT_TRUE(server_.process.WaitForLog("info reencoded collection=docs "));
  const std::string log = server_.process.log();
  EXPECT_THAT(log, HasSubstr("info trained collection=docs rows=" +
                             std::to_string(layout.trained_rows()) + " seconds="));
  EXPECT_THAT(log, ContainsRegex("layout=(leading_)?rotation changed=true directions=[0-9]+ "
                                 "centered=(true|false) first_slab_dimensions=[0-9]+ "
                                 "first_slab_sketch=(true|false)\n"));
  EXPECT_THAT(log, ContainsRegex("info reencoded collection=docs rows=[0-9]+ seconds=[0-9.]+\n"));
}

TEST_F(LayoutTest, ASearchSaysWhatItRead) {
  Add(10);
  AwaitTrained();
  constexpr size_t kQueries = 7;
  const uint64_t row_bytes = kDimension * sizeof(float);
  const v1::SearchResponse scan = Search(v1::ENGINE_SCAN, kQueries);
  const v1::SearchResponse reference = Search(v1::ENGINE_REFERENCE, kQueries);
  const v1::SearchResponse faiss = Search(v1::ENGINE_FAISS, kQueries);
  for (const v1::SearchResponse& response : {scan, reference, faiss}) {
    EXPECT_EQ(response.rows_compared(), rows_);
    EXPECT_GE(response.rows_rescored(), 10 * kQueries) << "every answer has its exact score";
    EXPECT_GE(response.bytes_read(), response.rows_rescored() / kQueries * row_bytes);
  }
  EXPECT_EQ(reference.rows_rescored(), rows_ * kQueries);
  EXPECT_EQ(reference.bytes_read(), rows_ * row_bytes) << "the queries read the rows together";
  EXPECT_EQ(reference.rows_refined(), 0);
  EXPECT_EQ(faiss.rows_refined(), 0);
  EXPECT_LT(scan.rows_rescored(), rows_ * kQueries / 10);
  EXPECT_GE(scan.rows_refined(), 10 * kQueries) << "the first slab rules no answer out";
  EXPECT_LT(scan.rows_refined(), rows_ * kQueries / 2);
}

}  // namespace
}  // namespace vexact::testing

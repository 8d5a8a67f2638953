// Every RPC, and every way in which a request can be refused.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "tests/server/running_server.h"

namespace vexact::testing {
namespace {

using ::grpc::StatusCode;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::vector<float> Unpacked(const v1::Vector& vector) {
  std::vector<float> components(vector.packed().size() / sizeof(float));
  std::memcpy(components.data(), vector.packed().data(), vector.packed().size());
  return components;
}

// Collections "docs" (3 dimensions, L2 metric, points 1, "two" and 30) and "cos" (2 dimensions,
// cosine, one point).
class ServiceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    server_.Create("docs", 3, v1::METRIC_L2);
    ASSERT_THAT(server_.Upsert(Points("docs", {MakePoint(NumberId(1), Values({1, 0, 0})),
                                               MakePoint(TextId("two"), Packed({0, 2, 0})),
                                               MakePoint(NumberId(30), Values({0, 0, -3}))})),
                IsOk());
    server_.Create("cos", 2);
    ASSERT_THAT(server_.Upsert(Block("cos", 7, {{3, 4}})), IsOk());
    before_ = server_.Contents();
  }

  // Every test that expects refusals ends here: they have changed nothing.
  void ExpectUnchanged() { EXPECT_EQ(server_.Contents(), before_); }

  grpc::Status Create(const std::string& name, uint32_t dimension,
                      v1::Metric metric = v1::METRIC_UNSPECIFIED,
                      v1::Normalization normalization = v1::NORMALIZATION_UNSPECIFIED) {
    v1::CreateCollectionRequest request;
    request.set_name(name);
    request.set_dimension(dimension);
    request.set_metric(metric);
    request.set_normalization(normalization);
    PatientContext context;
    return server_.collections->CreateCollection(&context, request, &created_);
  }

  RunningServer server_;
  std::string before_;
  v1::CreateCollectionResponse created_;
};

TEST_F(ServiceTest, CreatesWithDefaultsAndAgainWithoutChange) {
  ASSERT_THAT(Create("new", 65'536), IsOk());
  EXPECT_TRUE(created_.created());
  EXPECT_EQ(created_.collection().metric(), v1::METRIC_COSINE);
  EXPECT_EQ(created_.collection().normalization(), v1::NORMALIZATION_NONE);
  EXPECT_EQ(created_.collection().rows(), 0);
  ASSERT_THAT(Create("new", 65'536, v1::METRIC_COSINE, v1::NORMALIZATION_NONE), IsOk());
  EXPECT_FALSE(created_.created());
}

TEST_F(ServiceTest, RefusesToCreate) {
  EXPECT_THAT(Create("", 3), IsRefusal(StatusCode::INVALID_ARGUMENT, StartsWith("name is empty")));
  EXPECT_THAT(Create(std::string(129, 'a'), 3),
              IsRefusal(StatusCode::INVALID_ARGUMENT, "name has 129 characters; the limit is 128"));
  for (const char* name : {"-a", "a b", "a/b", ".a", "caf\u00e9"}) {
    EXPECT_THAT(Create(name, 3), IsRefusal(StatusCode::INVALID_ARGUMENT, HasSubstr("not allowed")));
  }
  EXPECT_THAT(Create("new", 0),
              IsRefusal(StatusCode::INVALID_ARGUMENT, "dimension is 0; it must be 1 to 65536"));
  EXPECT_THAT(Create("new", 65'537),
              IsRefusal(StatusCode::INVALID_ARGUMENT, "dimension is 65537; it must be 1 to 65536"));
  EXPECT_THAT(Create("new", 3, static_cast<v1::Metric>(4)),
              IsRefusal(StatusCode::INVALID_ARGUMENT,
                        "metric is 4, which this server does not know; there are 1 "
                        "(inner_product), 2 (cosine) and 3 (l2)"));
  EXPECT_THAT(Create("new", 3, v1::METRIC_L2, static_cast<v1::Normalization>(-1)),
              IsRefusal(StatusCode::INVALID_ARGUMENT, StartsWith("normalization is -1, which")));
  EXPECT_THAT(Create("docs", 4, v1::METRIC_L2),
              IsRefusal(StatusCode::ALREADY_EXISTS,
                        "collection \"docs\" exists with dimension 3; 4 was asked for"));
  EXPECT_THAT(Create("docs", 3),
              IsRefusal(StatusCode::ALREADY_EXISTS,
                        "collection \"docs\" exists with metric l2; cosine was asked for"));
  EXPECT_THAT(Create("docs", 3, v1::METRIC_L2, v1::NORMALIZATION_L2),
              IsRefusal(StatusCode::ALREADY_EXISTS,
                        "collection \"docs\" exists with normalization none; l2 was asked for"));
  ExpectUnchanged();
}

TEST_F(ServiceTest, NamesTheCollectionsThereAreWhenOneIsMissing) {
  const auto missing =
      IsRefusal(StatusCode::NOT_FOUND, "no collection \"dox\". There are: cos, docs.");
  {
    PatientContext context;
    v1::GetCollectionRequest request;
    request.set_name("dox");
    v1::GetCollectionResponse response;
    EXPECT_THAT(server_.collections->GetCollection(&context, request, &response), missing);
  }
  {
    PatientContext context;
    v1::DeleteCollectionRequest request;
    request.set_name("dox");
    v1::DeleteCollectionResponse response;
    EXPECT_THAT(server_.collections->DeleteCollection(&context, request, &response), missing);
  }
  {
    PatientContext context;
    v1::CountPointsRequest request;
    request.set_collection("dox");
    v1::CountPointsResponse response;
    EXPECT_THAT(server_.points->CountPoints(&context, request, &response), missing);
  }
  EXPECT_THAT(server_.SetMetric("dox", v1::METRIC_L2), missing);
  EXPECT_THAT(server_.Upsert(Block("dox", 1, {{1}})), missing);
  v1::GetPointsRequest get;
  get.set_collection("dox");
  EXPECT_THAT(server_.Get(get), missing);
  v1::DeletePointsRequest remove;
  remove.set_collection("dox");
  EXPECT_THAT(server_.Delete(remove), missing);
  v1::ScrollPointsRequest scroll;
  scroll.set_collection("dox");
  EXPECT_THAT(server_.Scroll(scroll), missing);
  EXPECT_THAT(server_.Search(MakeSearch("dox", 1, {ByVector({1})})), missing);
  v1::CompareRequest compare;
  compare.set_collection("dox");
  *compare.mutable_a()->mutable_vector() = Values({1});
  *compare.mutable_b()->mutable_vector() = Values({1});
  EXPECT_THAT(server_.Compare(compare), missing);
  ExpectUnchanged();
}

TEST_F(ServiceTest, ChangesTheMetricOfSearchesThatNameNone) {
  v1::SearchResponse response;
  ASSERT_THAT(server_.Search(MakeSearch("docs", 1, {ByVector({0, 0, -1})}), &response), IsOk());
  EXPECT_EQ(response.metric(), v1::METRIC_L2);
  EXPECT_EQ(response.results(0).hits(0).id().number(), 1);  // 2 away, as "two" is 5 and 30 is 4
  const uint64_t sequence = response.sequence();
  ASSERT_THAT(server_.SetMetric("docs", v1::METRIC_INNER_PRODUCT), IsOk());
  ASSERT_THAT(server_.Search(MakeSearch("docs", 1, {ByVector({0, 0, -1})}), &response), IsOk());
  EXPECT_EQ(response.metric(), v1::METRIC_INNER_PRODUCT);
  EXPECT_EQ(response.results(0).hits(0).id().number(), 30);
  EXPECT_EQ(response.sequence(), sequence + 1);
}

TEST_F(ServiceTest, RefusesAMetric) {
  EXPECT_THAT(server_.SetMetric("docs", v1::METRIC_UNSPECIFIED),
              IsRefusal(StatusCode::INVALID_ARGUMENT, StartsWith("metric is missing")));
  EXPECT_THAT(server_.SetMetric("docs", static_cast<v1::Metric>(77)),
              IsRefusal(StatusCode::INVALID_ARGUMENT, StartsWith("metric is 77, which")));
  ExpectUnchanged();
}

TEST_F(ServiceTest, RefusesCosineWhileAZeroRowIsStored) {
  ASSERT_THAT(server_.Upsert(Points("docs", {MakePoint(TextId("nil"), Values({0, 0, 0})),
                                             MakePoint(NumberId(9), Values({0, -0.0f, 0}))})),
              IsOk());
  before_ = server_.Contents();
  const auto refused = IsRefusal(
      StatusCode::FAILED_PRECONDITION,
      StartsWith("collection \"docs\" stores a zero vector under id 9, which has no direction"));
  EXPECT_THAT(server_.SetMetric("docs", v1::METRIC_COSINE), refused);
  v1::SearchRequest search = MakeSearch("docs", 1, {ByVector({1, 1, 1})});
  search.set_metric(v1::METRIC_COSINE);
  EXPECT_THAT(server_.Search(search), refused);
  ExpectUnchanged();
}

TEST_F(ServiceTest, AddsReplacesAndReturnsTheBitsThatWereSent) {
  v1::UpsertResponse upserted;
  const std::vector<float> odd = {-0.0f, 1e-45f, 3.4e38f};
  ASSERT_THAT(server_.Upsert(Points("docs", {MakePoint(TextId("two"), Packed(odd)),
                                             MakePoint(NumberId(2), Values(odd))}),
                             &upserted),
              IsOk());
  EXPECT_EQ(upserted.added(), 1);
  EXPECT_EQ(upserted.replaced(), 1);
  v1::GetPointsRequest request;
  request.set_collection("docs");
  *request.add_ids() = NumberId(2);
  *request.add_ids() = TextId("two");
  *request.add_ids() = NumberId(2);
  v1::GetPointsResponse response;
  ASSERT_THAT(server_.Get(request, &response), IsOk());
  EXPECT_EQ(response.sequence(), upserted.sequence());
  ASSERT_EQ(response.points_size(), 3);
  EXPECT_EQ(response.points(1).id().text(), "two");
  for (const v1::Point& point : response.points()) {
    EXPECT_EQ(std::memcmp(point.vector().packed().data(), odd.data(), sizeof(float) * 3), 0);
  }
  request.set_without_vectors(true);
  ASSERT_THAT(server_.Get(request, &response), IsOk());
  EXPECT_FALSE(response.points(0).has_vector());
}

TEST_F(ServiceTest, RefusesPoints) {
  const auto point = [](const v1::Vector& vector) { return MakePoint(NumberId(5), vector); };
  const v1::Point good = MakePoint(NumberId(4), Values({1, 2, 3}));
  v1::Vector both = Values({1, 2, 3});
  both.set_packed("12345678abcd");
  v1::Vector ragged;
  ragged.set_packed("12345");
  v1::Point unnamed;
  *unnamed.mutable_vector() = Values({1, 2, 3});
  const struct {
    v1::Point bad;
    std::string message;
  } cases[] = {
      {point(Values({1, 2})), "row 1 has 2 components; collection \"docs\" has 3 dimensions"},
      {point(Packed({1, 2, 3, 4})), "row 1 has 4 components; collection \"docs\" has 3 dimensions"},
      {point(Values({1, kNan, 3})), "row 1: component 1 is NaN; vectors must be finite"},
      {point(Packed({1, 2, -kInfinity})),
       "row 1: component 2 is -infinity; vectors must be finite"},
      {point(v1::Vector()), "row 1: vector is empty; give its components in values or packed"},
      {point(both), "row 1: vector has 3 values and 12 packed bytes; give one or the other"},
      {point(ragged), "row 1: vector.packed has 5 bytes; it must be 4 bytes a component"},
      {unnamed, "row 1: id is missing; give a number or a text"},
      {MakePoint(TextId(""), Values({1, 2, 3})), "row 1: id is an empty string"},
      {MakePoint(NumberId(4), Values({1, 2, 3})),
       "row 1: id 4 occurs already at row 0; an id may occur once in a request"},
  };
  for (const auto& [bad, message] : cases) {
    EXPECT_THAT(server_.Upsert(Points("docs", {good, bad})),
                IsRefusal(StatusCode::INVALID_ARGUMENT, message));
  }
  EXPECT_THAT(
      server_.Upsert(
          Points("docs", {good, MakePoint(TextId(std::string(513, 'x')), Values({1, 2, 3}))})),
      IsRefusal(StatusCode::INVALID_ARGUMENT, HasSubstr("has 513 bytes; the limit is 512")));
  EXPECT_THAT(
      server_.Upsert(Points("docs", {})),
      IsRefusal(StatusCode::INVALID_ARGUMENT, "the request has no points; it needs at least 1"));
  EXPECT_THAT(server_.Upsert(Points("cos", {MakePoint(NumberId(1), Values({0, 0}))})),
              IsRefusal(StatusCode::INVALID_ARGUMENT, StartsWith("row 0 is a zero vector")));
  ExpectUnchanged();
}

TEST_F(ServiceTest, RefusesABlock) {
  v1::UpsertRequest request = Block("docs", 4, {{1, 2, 3}, {4, 5, 6}});
  request.mutable_block()->mutable_vectors()->pop_back();
  EXPECT_THAT(server_.Upsert(request),
              IsRefusal(StatusCode::INVALID_ARGUMENT,
                        "block.vectors has 23 bytes; 2 rows of the 3 dimensions of collection "
                        "\"docs\" take 24"));
  request = Block("docs", 4, {{1, 2, 3}});
  request.mutable_block()->add_texts("four");
  EXPECT_THAT(server_.Upsert(request),
              IsRefusal(StatusCode::INVALID_ARGUMENT,
                        "block has 1 numbers and 1 texts as ids; give one or the other"));
  request = Block("docs", 4, {{1, 2, 3}});
  *request.add_points() = MakePoint(NumberId(5), Values({1, 2, 3}));
  EXPECT_THAT(server_.Upsert(request),
              IsRefusal(StatusCode::INVALID_ARGUMENT,
                        "the request has 1 points and a block; give one or the other"));
  EXPECT_THAT(
      server_.Upsert(Block("docs", 4, {{1, 2, 3}, {4, kNan, 6}})),
      IsRefusal(StatusCode::INVALID_ARGUMENT, "row 1: component 1 is NaN; vectors must be finite"));
  ExpectUnchanged();
}

TEST_F(ServiceTest, NormalisesOrRequiresUnitRows) {
  server_.Create("unit", 2, v1::METRIC_INNER_PRODUCT, v1::NORMALIZATION_REQUIRE_UNIT);
  EXPECT_THAT(server_.Upsert(Block("unit", 1, {{1, 0}, {3, 4}})),
              IsRefusal(StatusCode::INVALID_ARGUMENT,
                        "row 1 has norm 5; collection \"unit\" requires a norm of 1 within 0.001"));
  ASSERT_THAT(server_.Upsert(Block("unit", 1, {{1, 0}, {0.6f, 0.8f}})), IsOk());
  EXPECT_THAT(server_.Search(MakeSearch("unit", 1, {ByVector({1, 0}), ByVector({2, 0})})),
              IsRefusal(StatusCode::INVALID_ARGUMENT, StartsWith("query 1 has norm 2; ")));

  server_.Create("normal", 2, v1::METRIC_INNER_PRODUCT, v1::NORMALIZATION_L2);
  ASSERT_THAT(server_.Upsert(Block("normal", 1, {{3, 4}})), IsOk());
  v1::SearchRequest request = MakeSearch("normal", 1, {ByVector({30, 40})});
  request.set_with_vectors(true);
  v1::SearchResponse response;
  ASSERT_THAT(server_.Search(request, &response), IsOk());
  EXPECT_EQ(Unpacked(response.results(0).hits(0).vector()), std::vector<float>({0.6f, 0.8f}));
  EXPECT_NEAR(response.results(0).hits(0).score(), 1, 1e-6);
  EXPECT_THAT(server_.Upsert(Block("normal", 2, {{0, 0}})),
              IsRefusal(StatusCode::INVALID_ARGUMENT, StartsWith("row 0 is a zero vector")));
}

TEST_F(ServiceTest, DeletesAndCounts) {
  v1::DeletePointsRequest request;
  request.set_collection("docs");
  *request.add_ids() = TextId("two");
  *request.add_ids() = NumberId(99);
  v1::DeletePointsResponse response;
  ASSERT_THAT(server_.Delete(request, &response), IsOk());
  EXPECT_EQ(response.deleted(), 1);
  EXPECT_EQ(response.missing(), 1);
  PatientContext context;
  v1::CountPointsRequest count;
  count.set_collection("docs");
  v1::CountPointsResponse counted;
  ASSERT_THAT(server_.points->CountPoints(&context, count, &counted), IsOk());
  EXPECT_EQ(counted.rows(), 2);
  EXPECT_EQ(counted.sequence(), response.sequence());
}

TEST_F(ServiceTest, RefusesToDeleteOrGet) {
  v1::DeletePointsRequest remove;
  remove.set_collection("docs");
  EXPECT_THAT(server_.Delete(remove), IsRefusal(StatusCode::INVALID_ARGUMENT,
                                                "the request has no ids; it needs at least 1"));
  *remove.add_ids() = NumberId(1);
  remove.add_ids();
  EXPECT_THAT(server_.Delete(remove), IsRefusal(StatusCode::INVALID_ARGUMENT,
                                                "ids[1]: id is missing; give a number or a text"));
  *remove.mutable_ids(1) = NumberId(1);
  EXPECT_THAT(server_.Delete(remove),
              IsRefusal(StatusCode::INVALID_ARGUMENT, HasSubstr("id 1 occurs already")));

  v1::GetPointsRequest get;
  get.set_collection("docs");
  EXPECT_THAT(server_.Get(get), IsRefusal(StatusCode::INVALID_ARGUMENT,
                                          "the request has no ids; it needs at least 1"));
  *get.add_ids() = NumberId(1);
  *get.add_ids() = TextId("three");
  EXPECT_THAT(server_.Get(get),
              IsRefusal(StatusCode::NOT_FOUND, "no id \"three\" in collection \"docs\""));
  ExpectUnchanged();
}

TEST_F(ServiceTest, ScrollsInIdOrderAndRefusesForeignTokens) {
  v1::ScrollPointsRequest request;
  request.set_collection("docs");
  request.set_page_size(2);
  v1::ScrollPointsResponse first;
  ASSERT_THAT(server_.Scroll(request, &first), IsOk());
  ASSERT_EQ(first.points_size(), 2);
  EXPECT_EQ(first.points(0).id().number(), 1);
  EXPECT_EQ(first.points(1).id().number(), 30);
  EXPECT_FALSE(first.points(0).has_vector());
  request.set_page_token(first.next_page_token());
  v1::ScrollPointsResponse last;
  ASSERT_THAT(server_.Scroll(request, &last), IsOk());
  ASSERT_EQ(last.points_size(), 1);
  EXPECT_EQ(last.points(0).id().text(), "two");
  EXPECT_EQ(last.next_page_token(), "");

  const auto refused =
      IsRefusal(StatusCode::INVALID_ARGUMENT, HasSubstr("is not one that a page of collection"));
  std::string damaged = first.next_page_token();
  damaged.back() = static_cast<char>(damaged.back() ^ 1);
  for (const std::string& token : {damaged, std::string("x"), first.next_page_token() + "x"}) {
    request.set_page_token(token);
    EXPECT_THAT(server_.Scroll(request), refused);
  }
  request.set_page_token(first.next_page_token());
  request.set_collection("cos");
  EXPECT_THAT(server_.Scroll(request), refused);
  request.clear_page_token();
  request.set_page_size(10'001);
  EXPECT_THAT(server_.Scroll(request),
              IsRefusal(StatusCode::INVALID_ARGUMENT, "page_size is 10001; it must be 1 to 10000"));
  ExpectUnchanged();
}

TEST_F(ServiceTest, AnswersABatchWithEveryEngine) {
  for (const v1::Engine engine :
       {v1::ENGINE_UNSPECIFIED, v1::ENGINE_SCAN, v1::ENGINE_REFERENCE, v1::ENGINE_FAISS}) {
    v1::SearchRequest request =
        MakeSearch("docs", 10, {ByVector({0, 2, 0}), ById(TextId("two"), true)});
    request.set_engine(engine);
    v1::SearchResponse response;
    ASSERT_THAT(server_.Search(request, &response), IsOk());
    EXPECT_EQ(response.engine(), engine == v1::ENGINE_UNSPECIFIED ? v1::ENGINE_SCAN : engine);
    EXPECT_EQ(response.rows_compared(), 3);
    EXPECT_GT(response.server_time_ns(), 0);
    ASSERT_EQ(response.results_size(), 2);
    ASSERT_EQ(response.results(0).hits_size(), 3);
    EXPECT_EQ(response.results(0).hits(0).id().text(), "two");
    EXPECT_EQ(response.results(0).hits(0).score(), 0);
    EXPECT_EQ(response.results(0).hits(1).id().number(), 1);
    EXPECT_EQ(response.results(0).hits(1).score(), 5);
    EXPECT_EQ(response.results(0).hits(1).distance(), std::sqrt(5.0));
    EXPECT_FALSE(response.results(0).hits(1).has_vector());
    ASSERT_EQ(response.results(1).hits_size(), 2);
    EXPECT_EQ(response.results(1).hits(0).id().number(), 1);
  }
}

TEST_F(ServiceTest, RefusesASearch) {
  const v1::Query good = ByVector({1, 2, 3});
  const auto refused = [](const std::string& message) {
    return IsRefusal(StatusCode::INVALID_ARGUMENT, message);
  };
  EXPECT_THAT(server_.Search(MakeSearch("docs", 0, {good})),
              refused("k is 0; it must be 1 to 10000"));
  EXPECT_THAT(server_.Search(MakeSearch("docs", 10'001, {good})),
              refused("k is 10001; it must be 1 to 10000"));
  EXPECT_THAT(server_.Search(MakeSearch("docs", 1, {})),
              refused("the request has 0 queries; it must have 1 to 4096"));
  EXPECT_THAT(server_.Search(MakeSearch("docs", 1, std::vector<v1::Query>(4'097, good))),
              refused("the request has 4097 queries; it must have 1 to 4096"));
  EXPECT_THAT(server_.Search(MakeSearch("docs", 1, {good, ByVector({1, 2})})),
              refused("query 1 has 2 components; collection \"docs\" has 3 dimensions"));
  EXPECT_THAT(server_.Search(MakeSearch("docs", 1, {good, ByVector({1, 2, kNan})})),
              refused("query 1: component 2 is NaN; vectors must be finite"));
  EXPECT_THAT(server_.Search(MakeSearch("docs", 1, {good, v1::Query()})),
              refused("query 1 is empty; give a vector or the id of a row"));
  EXPECT_THAT(server_.Search(MakeSearch("docs", 1, {ById(v1::Id())})),
              refused("query 0: id is missing; give a number or a text"));
  EXPECT_THAT(server_.Search(MakeSearch("docs", 1, {good, ById(NumberId(5))})),
              IsRefusal(StatusCode::NOT_FOUND, "query 1: no id 5 in collection \"docs\""));
  EXPECT_THAT(server_.Search(MakeSearch("cos", 1, {ByVector({0, 0})})),
              refused("query 0 is a zero vector, which has no direction under cosine"));
  v1::SearchRequest request = MakeSearch("docs", 1, {good});
  request.mutable_queries(0)->set_exclude_self(true);
  EXPECT_THAT(
      server_.Search(request),
      refused("query 0 has exclude_self but names no id; only a stored row can be left out"));
  request = MakeSearch("docs", 1, {good});
  request.set_metric(static_cast<v1::Metric>(9));
  EXPECT_THAT(server_.Search(request),
              IsRefusal(StatusCode::INVALID_ARGUMENT, StartsWith("metric is 9, which")));
  request.clear_metric();
  request.set_engine(static_cast<v1::Engine>(9));
  EXPECT_THAT(server_.Search(request),
              IsRefusal(StatusCode::INVALID_ARGUMENT, StartsWith("engine is 9, which")));
  ExpectUnchanged();
}

TEST_F(ServiceTest, ComparesWhatIsStoredWithWhatIsSent) {
  v1::CompareRequest request;
  request.set_collection("docs");
  *request.mutable_a()->mutable_id() = TextId("two");
  *request.mutable_b()->mutable_vector() = Packed({0, 1, 1});
  v1::CompareResponse response;
  ASSERT_THAT(server_.Compare(request, &response), IsOk());
  EXPECT_EQ(response.dimension(), 3);
  EXPECT_EQ(response.dot_product(), 2);
  EXPECT_EQ(response.squared_distance(), 2);
  EXPECT_EQ(response.norm_a(), 2);
  EXPECT_NEAR(response.angle_degrees(), 45, 1e-12);
  EXPECT_NEAR(response.cosine_similarity() + response.cosine_distance(), 1, 1e-15);
  EXPECT_THAT(response.vector_projection(), ::testing::ElementsAre(0, 1, 1));
  *request.mutable_b()->mutable_id() = NumberId(30);
  ASSERT_THAT(server_.Compare(request, &response), IsOk());
  EXPECT_EQ(response.dot_product(), 0);
  EXPECT_EQ(response.angle_degrees(), 90);
  EXPECT_EQ(response.squared_distance(), 13);
  *request.mutable_b()->mutable_vector() = Values({0, 0, 0});
  ASSERT_THAT(server_.Compare(request, &response), IsOk());
  EXPECT_FALSE(response.has_cosine_similarity());
  EXPECT_FALSE(response.has_angle_degrees());
  EXPECT_FALSE(response.has_scalar_projection());
  EXPECT_EQ(response.vector_projection_size(), 0);
}

TEST_F(ServiceTest, RefusesAComparison) {
  v1::CompareRequest request;
  *request.mutable_a()->mutable_vector() = Values({1, 2});
  EXPECT_THAT(
      server_.Compare(request),
      IsRefusal(StatusCode::INVALID_ARGUMENT, "b is missing; give a vector or the id of a row"));
  *request.mutable_b()->mutable_vector() = Values({1, 2, 3});
  EXPECT_THAT(
      server_.Compare(request),
      IsRefusal(StatusCode::INVALID_ARGUMENT, ::testing::AllOf(HasSubstr("2"), HasSubstr("3"))));
  *request.mutable_b()->mutable_vector() = Values({1, kNan});
  EXPECT_THAT(server_.Compare(request), IsRefusal(StatusCode::INVALID_ARGUMENT,
                                                  "b: component 1 is NaN; vectors must be finite"));
  *request.mutable_b()->mutable_id() = NumberId(1);
  EXPECT_THAT(server_.Compare(request),
              IsRefusal(StatusCode::INVALID_ARGUMENT,
                        "collection is empty; it must name the one that b's id is looked up in"));
  request.set_collection("docs");
  *request.mutable_b()->mutable_id() = NumberId(2);
  EXPECT_THAT(server_.Compare(request),
              IsRefusal(StatusCode::NOT_FOUND, "no id 2 in collection \"docs\""));
  ExpectUnchanged();
}

TEST_F(ServiceTest, DescribesItselfAndItsLimits) {
  PatientContext context;
  v1::GetInfoResponse info;
  ASSERT_THAT(server_.server->GetInfo(&context, v1::GetInfoRequest(), &info), IsOk());
  EXPECT_EQ(info.collections(), 2);
  EXPECT_EQ(info.rows(), 4);
  EXPECT_EQ(info.default_engine(), v1::ENGINE_SCAN);
  EXPECT_GE(info.threads(), 1);
  EXPECT_EQ(info.limits().max_message_bytes(), 64 << 20);
  EXPECT_THAT(server_.process.log(), HasSubstr(" isa=" + info.isa() + " "));
  EXPECT_THAT(server_.process.log(), HasSubstr(" version=" + info.version() + " "));
}

TEST_F(ServiceTest, LogsARefusalOnOneLineAndASuccessNotAtAll) {
  const std::string before = server_.process.log();
  ASSERT_THAT(server_.Search(MakeSearch("docs", 1, {ByVector({1, 2, 3})})), IsOk());
  v1::GetPointsRequest get;
  get.set_collection("docs");
  *get.add_ids() = TextId("a\nb\" code=OK");
  EXPECT_EQ(server_.Get(get).error_code(), StatusCode::NOT_FOUND);
  ASSERT_TRUE(server_.process.WaitForLog("code=NOT_FOUND"));
  server_.process.Signal(SIGTERM);
  EXPECT_EQ(server_.process.Wait(), 0);
  const std::string added = server_.process.log().substr(before.size());
  EXPECT_THAT(added,
              ::testing::ContainsRegex(
                  "warning request method=Points/GetPoints "
                  "code=NOT_FOUND peer=ipv4:127.0.0.1:[0-9]+ "
                  "ms=[0-9.]+ request_id=[0-9a-f]{12} message=\"no id [^\n]* in collection"));
  EXPECT_EQ(added.find("Search/Search"), std::string::npos);
  EXPECT_EQ(std::count(added.begin(), added.end(), '\n'), 3) << added;
}

}  // namespace
}  // namespace vexact::testing

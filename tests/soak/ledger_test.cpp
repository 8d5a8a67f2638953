// What the soak must find out, told to it without a server.
#include "tests/soak/ledger.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace vexact::soak {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class LedgerTest : public ::testing::Test {
 protected:
  static Apply Upsert(uint64_t id) {
    return [id](Model& model) {
      model.Upsert({{id, {static_cast<float>(id), 1}}});
      return std::string();
    };
  }
  static Check Rows(uint64_t rows) {
    return [rows](const Model& model) { return model.CheckRows(rows); };
  }
  void Cancelled(uint64_t id) {
    ledger_.SendUnplaced([id] { return Unplaced{.writes = {Upsert(id)}, .without_effect = {}}; });
  }

  Ledger ledger_;
  Model model_{{.name = "docs", .dimension = 2, .metric = client::Metric::kInnerProduct}};
};

TEST_F(LedgerTest, AnswersAreComparedAtTheirOwnTimeWheneverTheyCame) {
  ledger_.Write(2, Upsert(2));
  ledger_.Read(2, 2, Rows(2));
  ledger_.Write(1, Upsert(1));
  ledger_.Read(1, 0, Rows(1));
  ledger_.Read(0, 0, Rows(0));
  EXPECT_THAT(Replay(ledger_.Take(2), model_), IsEmpty());
  ledger_.Read(2, 2, Rows(3));
  EXPECT_THAT(Replay(ledger_.Take(2), model_),
              ElementsAre("at 2: the number of rows is 3, but must be 2"));
}

TEST_F(LedgerTest, AnAnswerMayNotBeOlderThanWhatWasSeenBefore) {
  ledger_.Write(1, Upsert(1));
  ledger_.Read(0, 1, Rows(0));
  EXPECT_THAT(Replay(ledger_.Take(1), model_), ElementsAre(HasSubstr("but 1 was seen before")));
}

TEST_F(LedgerTest, AWriteThatWasCancelledTakesTheNumberThatNobodyHas) {
  ledger_.Write(1, Upsert(1));
  Cancelled(7);
  ledger_.Write(3, Upsert(3));
  ledger_.Read(3, 3, Rows(3));
  Round round = ledger_.Take(3);
  EXPECT_EQ(round.late_writes, 1u);
  EXPECT_THAT(Replay(std::move(round), model_), IsEmpty());
}

TEST_F(LedgerTest, AWriteThatWasCancelledMayHaveNoEffect) {
  Cancelled(7);
  ledger_.Write(1, Upsert(1));
  EXPECT_TRUE(ledger_.Unsettled(1));
  EXPECT_THAT(Replay(ledger_.Take(1), model_), IsEmpty());
}

TEST_F(LedgerTest, AWriteOfNobodyIsADefect) {
  ledger_.Write(2, Upsert(2));
  EXPECT_THAT(Replay(ledger_.Take(2), model_),
              ElementsAre("write 1 is nobody's", "at 1: the model is at 0"));
}

TEST_F(LedgerTest, ANumberIsGivenOnce) {
  ledger_.Write(1, Upsert(1));
  ledger_.Write(1, Upsert(2));
  EXPECT_THAT(Replay(ledger_.Take(1), model_), ElementsAre(HasSubstr("told the number 1")));
}

// A search over one row, answered with one bit too many.
TEST_F(LedgerTest, OneBitOfAScoreIsADefect) {
  model_.Upsert({{uint64_t{5}, {3, 4}}});
  v1::SearchRequest request;
  request.set_k(1);
  request.add_queries()->mutable_vector()->mutable_values()->Add(1);
  request.mutable_queries(0)->mutable_vector()->mutable_values()->Add(1);
  v1::SearchResponse answer;
  answer.set_metric(v1::METRIC_INNER_PRODUCT);
  answer.set_rows_compared(1);
  v1::Hit& hit = *answer.add_results()->add_hits();
  hit.mutable_id()->set_number(5);
  hit.set_score(7);
  EXPECT_EQ(model_.Check(request, answer), "");
  hit.set_score(7.000000000000001);
  EXPECT_THAT(model_.Check(request, answer), HasSubstr("hit 0: it is 5 with score 7"));
}

}  // namespace
}  // namespace vexact::soak

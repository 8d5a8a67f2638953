// Many clients at once: every answer is the truth of one moment.
#include <gtest/gtest.h>
#include <signal.h>

#include <array>
#include <atomic>
#include <cstring>
#include <map>
#include <random>
#include <thread>

#include "tests/server/running_server.h"

namespace vexact::testing {
namespace {

// Each writer owns a group of ids and writes all of it in one request, every component of every
// vector being the number of the write. So an answer that sees a part of a write shows two numbers
// within a group, one that sees half a row shows two within a vector, and one that sees a replaced
// row twice, or not at all, shows a group that is not whole.
constexpr uint32_t kDimension = 33;
constexpr uint64_t kGroupRows = 40;
constexpr int kWriters = 3;
constexpr int kReaders = 4;
constexpr int kWrites = 60;
constexpr uint64_t kAllRows = kWriters * kGroupRows;

class ConcurrencyTest : public ::testing::TestWithParam<v1::Engine> {
 protected:
  void Write(int group) {
    std::minstd_rand random(static_cast<unsigned>(group + 1));
    for (int number = 1; number <= kWrites; ++number) {
      const std::vector<float> row(kDimension, static_cast<float>(number));
      v1::UpsertResponse response;
      ASSERT_THAT(server_.Upsert(Block("docs", static_cast<uint64_t>(group) * kGroupRows,
                                       std::vector<std::vector<float>>(kGroupRows, row)),
                                 &response),
                  IsOk());
      ASSERT_EQ(response.added() + response.replaced(), kGroupRows);
      ExpectOwnWrite(group, number, response.sequence());
      if (random() % 8 == 0) Delete(group);
    }
  }

  void Delete(int group) {
    v1::DeletePointsRequest request;
    request.set_collection("docs");
    for (uint64_t i = 0; i < kGroupRows; ++i) {
      *request.add_ids() = NumberId(static_cast<uint64_t>(group) * kGroupRows + i);
    }
    v1::DeletePointsResponse response;
    ASSERT_THAT(server_.Delete(request, &response), IsOk());
    ASSERT_EQ(response.deleted(), kGroupRows);
  }

  // What was acknowledged is found at once by the one who wrote it.
  void ExpectOwnWrite(int group, int number, uint64_t sequence) {
    v1::SearchRequest request = MakeSearch(
        "docs", 1, {ByVector(std::vector<float>(kDimension, static_cast<float>(number)))});
    request.set_engine(GetParam());
    v1::SearchResponse response;
    ASSERT_THAT(server_.Search(request, &response), IsOk());
    ASSERT_GE(response.sequence(), sequence);
    ASSERT_EQ(response.results(0).hits(0).score(), 0);
    v1::GetPointsRequest get;
    get.set_collection("docs");
    *get.add_ids() = NumberId(static_cast<uint64_t>(group) * kGroupRows);
    v1::GetPointsResponse got;
    ASSERT_THAT(server_.Get(get, &got), IsOk());
    ASSERT_EQ(NumberOf(got.points(0).vector()), number);
  }

  void Read() {
    uint64_t sequence = 0;
    std::array<int, kWriters> newest{};
    while (!done_) {
      v1::SearchRequest request =
          MakeSearch("docs", 2 * kAllRows, {ByVector(std::vector<float>(kDimension, 0.5f))});
      request.set_with_vectors(true);
      request.set_engine(GetParam());
      v1::SearchResponse response;
      ASSERT_THAT(server_.Search(request, &response), IsOk());
      ASSERT_GE(response.sequence(), sequence);
      sequence = response.sequence();
      const auto groups = Groups(response);
      ASSERT_EQ(response.rows_compared(), groups.size() * kGroupRows);
      for (const auto& [group, number] : groups) {
        ASSERT_GE(number, newest[group]) << "group " << group << " went back in time";
        newest[group] = number;
      }
      ++reads_;
    }
  }

  // The number of the write that each group is of. Fails where an answer shows a part of one.
  static std::map<size_t, int> Groups(const v1::SearchResponse& response) {
    std::map<size_t, int> numbers;
    std::map<uint64_t, int> seen;
    for (const v1::Hit& hit : response.results(0).hits()) {
      const uint64_t id = hit.id().number();
      const int number = NumberOf(hit.vector());
      EXPECT_EQ(++seen[id], 1) << "id " << id << " was found twice";
      const auto [group, first] = numbers.try_emplace(id / kGroupRows, number);
      EXPECT_EQ(group->second, number) << "half a write was seen";
      const double difference = number - 0.5;
      EXPECT_EQ(hit.score(), difference * difference * kDimension);
    }
    EXPECT_EQ(seen.size(), numbers.size() * kGroupRows) << "rows of a group were missing";
    return numbers;
  }

  // The value that all components share.
  static int NumberOf(const v1::Vector& vector) {
    std::vector<float> components(kDimension);
    EXPECT_EQ(vector.packed().size(), components.size() * sizeof(float));
    std::memcpy(components.data(), vector.packed().data(), vector.packed().size());
    for (const float component : components) {
      EXPECT_EQ(component, components[0]) << "half a row was seen";
    }
    return static_cast<int>(components[0]);
  }

  RunningServer server_;
  std::atomic<bool> done_ = false;
  std::atomic<int> reads_ = 0;
};

TEST_P(ConcurrencyTest, SearchesSeeEveryWriteWholeOrNotAtAll) {
  server_.Create("docs", kDimension, v1::METRIC_L2);
  std::vector<std::thread> readers, writers;
  for (int i = 0; i < kReaders; ++i) readers.emplace_back([this] { Read(); });
  for (int i = 0; i < kWriters; ++i) writers.emplace_back([this, i] { Write(i); });
  for (std::thread& writer : writers) writer.join();
  done_ = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_GE(reads_, kReaders);
  // A sanitizer that has found something in the server makes it end with another status.
  server_.process.Signal(SIGTERM);
  EXPECT_EQ(server_.process.Wait(), 0) << server_.process.log().substr(0, 10'000);
}

INSTANTIATE_TEST_SUITE_P(Engines, ConcurrencyTest,
                         ::testing::Values(v1::ENGINE_SCAN, v1::ENGINE_REFERENCE, v1::ENGINE_FAISS),
                         [](const auto& engine) { return v1::Engine_Name(engine.param); });

}  // namespace
}  // namespace vexact::testing

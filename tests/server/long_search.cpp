#include "tests/server/long_search.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <random>
#include <string>
#include <thread>

namespace vexact::testing {
namespace {

constexpr uint32_t kDimension = 1024;
constexpr uint64_t kRowsARequest = 1'000;
constexpr int kQueries = 4'096;
constexpr char kName[] = "slow";
// Processor time that nothing but the search would use: a quarter of a second.
int64_t TicksOfWork() { return sysconf(_SC_CLK_TCK) / 4; }

}  // namespace

LongSearch::LongSearch(RunningServer& server, uint64_t rows) : server_(server) {
  server.Create(kName, kDimension, v1::METRIC_INNER_PRODUCT);
  std::minstd_rand random(1);
  std::uniform_real_distribution<float> component(-1, 1);
  for (uint64_t first = 0; first < rows; first += kRowsARequest) {
    std::vector<std::vector<float>> block(kRowsARequest, std::vector<float>(kDimension));
    for (std::vector<float>& row : block) {
      for (float& value : row) value = component(random);
    }
    EXPECT_THAT(server.Upsert(Block(kName, first, block)), IsOk());
  }
  request_.set_collection(kName);
  request_.set_k(1);
  request_.set_engine(v1::ENGINE_REFERENCE);
  for (int i = 0; i < kQueries; ++i) {
    *request_.add_queries() = ById(NumberId(static_cast<uint64_t>(i) % rows));
  }
  ticks_ = Ticks();
}

void LongSearch::WaitUntilItRuns() const {
  while (Ticks() < ticks_ + TicksOfWork()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

int64_t LongSearch::Ticks() const {
  std::ifstream stat("/proc/" + std::to_string(server_.process.pid()) + "/stat");
  std::string field;
  // proc(5): the name, in parentheses, may hold spaces; utime is the 12th field after it.
  std::getline(stat, field, ')');
  for (int i = 0; i < 12; ++i) stat >> field;
  return std::stoll(field);
}

}  // namespace vexact::testing

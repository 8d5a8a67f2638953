// What a server answers about a collection, compared with its rows.
#pragma once

#include <cstdint>
#include <random>
#include <string_view>
#include <vector>

#include "tests/crash/checker.h"
#include "tests/crash/found.h"
#include "tests/crash/world.h"
#include "vexact/client.h"

namespace vexact::crash {

// All that it is given must outlive it.
class Answers {
 public:
  Answers(const CheckOptions& options, const World& world, const client::Client& client,
          std::mt19937_64& random, Defects& defects)
      : options_(options), world_(world), client_(client), random_(random), defects_(defects) {}

  // Gets and searches of the collection, which has the rows of `found`.
  void Check(uint32_t number, const Found& found);

  // That were compared.
  uint64_t searches() const { return searches_; }

 private:
  void CheckGet(uint32_t number, const Found& found);
  void CheckSearches(uint32_t number, const Found& found);
  std::vector<client::Query> Queries(uint32_t number, const Found& found);
  void CompareHits(std::string_view what, const std::vector<client::Hit>& expected,
                   const std::vector<client::Hit>& got);

  const CheckOptions& options_;
  const World& world_;
  const client::Client& client_;
  std::mt19937_64& random_;
  Defects& defects_;
  uint64_t searches_ = 0;
};

}  // namespace vexact::crash

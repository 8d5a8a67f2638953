// What the tests of collections start from: small collections, their points and their ids.
#pragma once

#include <gtest/gtest.h>

#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "tests/core/harness.h"

namespace vexact {

using Vector = std::vector<float>;

inline constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
inline constexpr float kInfinity = std::numeric_limits<float>::infinity();
inline constexpr auto kNotFound = absl::StatusCode::kNotFound;
inline constexpr auto kPrecondition = absl::StatusCode::kFailedPrecondition;

inline Id Number(uint64_t number) { return number; }

// `count` points of consecutive ids from `first` on.
inline std::vector<Point> RandomPoints(uint64_t seed, uint64_t first, size_t count,
                                       size_t dimension) {
  oracle::Random random(seed);
  std::vector<Point> points;
  for (size_t i = 0; i < count; ++i) points.push_back({first + i, random.Gaussian(dimension)});
  return points;
}

inline std::vector<Id> Range(uint64_t begin, uint64_t end) {
  std::vector<Id> ids;
  for (uint64_t id = begin; id < end; ++id) ids.emplace_back(id);
  return ids;
}

// Segments of at most so many rows, so that few rows make many segments.
inline CollectionTuning SegmentsOf(size_t rows) {
  CollectionTuning tuning;
  tuning.segment_rows = static_cast<uint32_t>(rows);
  return tuning;
}

// What cosine says of a stored zero vector; `id` as messages show it.
inline std::string StoresZero(const std::string& id) {
  return "collection \"docs\" stores a zero vector under id " + id +
         ", which has no direction under cosine; delete or replace it first";
}

class CollectionTest : public testing::Test {
 protected:
  std::unique_ptr<Collection> Make(uint32_t dimension, Metric metric = Metric::kInnerProduct,
                                   Normalization normalization = Normalization::kNone,
                                   const CollectionTuning& tuning = {}) {
    return std::make_unique<Collection>("docs", CollectionConfig{dimension, metric, normalization},
                                        workers_, nullptr, tuning);
  }

  absl::Status SearchStatus(const Collection& collection, const Query& query,
                            const SearchOptions& options = {}) {
    return collection.Search({&query, 1}, options).status();
  }
  absl::Status SearchStatus(const Collection& collection, const Vector& q,
                            const SearchOptions& options = {}) {
    return SearchStatus(collection, Query{.target = std::span<const float>(q)}, options);
  }

  Workers workers_{2};
};

}  // namespace vexact

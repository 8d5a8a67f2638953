// The reference score as docs/exactness.md defines it, written a second time: nothing here comes
// from the server.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "vexact/types.h"

namespace vexact::crash {

// The vector as a collection keeps it, or as it takes it for a query.
void AtTheDoor(client::Normalization normalization, std::span<float> vector);

double Score(client::Metric metric, std::span<const float> query, std::span<const float> row);

struct Row {
  client::Id id;
  std::vector<float> vector;
};

using ScoreFunction =
    std::function<double(client::Metric, std::span<const float>, std::span<const float>)>;

// The k nearest, nearest first; equal scores by ascending id. Scores are those of `score`.
std::vector<client::Hit> Nearest(const std::vector<Row>& rows, client::Metric metric,
                                 std::span<const float> query, size_t k,
                                 const ScoreFunction& score);

}  // namespace vexact::crash

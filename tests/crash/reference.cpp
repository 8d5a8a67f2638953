#include "tests/crash/reference.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>

namespace vexact::crash {
namespace {

// Term j goes to lane j mod 16; then lanes 8-15 are added to 0-7, 4-7 to 0-3, 2-3 to 0-1, 1 to 0.
template <typename Term>
double Sum(size_t terms, Term term) {
  double lane[16] = {};
  for (size_t j = 0; j < terms; ++j) lane[j % 16] += term(j);
  for (const size_t half : {8, 4, 2, 1}) {
    for (size_t l = 0; l < half; ++l) lane[l] += lane[half + l];
  }
  return lane[0];
}

double Dot(std::span<const float> a, std::span<const float> b) {
  return Sum(a.size(), [&](size_t j) { return double{a[j]} * double{b[j]}; });
}

}  // namespace

void AtTheDoor(client::Normalization normalization, std::span<float> vector) {
  if (normalization != client::Normalization::kL2) return;
  const double norm = std::sqrt(Dot(vector, vector));
  for (float& component : vector) component = static_cast<float>(component / norm);
}

double Score(client::Metric metric, std::span<const float> query, std::span<const float> row) {
  if (metric == client::Metric::kL2) {
    return Sum(query.size(), [&](size_t j) {
      const double difference = double{query[j]} - double{row[j]};
      return difference * difference;
    });
  }
  const double dot = Dot(query, row);
  if (metric == client::Metric::kInnerProduct) return dot;
  return dot / std::sqrt(Dot(query, query) * Dot(row, row));
}

std::vector<client::Hit> Nearest(const std::vector<Row>& rows, client::Metric metric,
                                 std::span<const float> query, size_t k,
                                 const ScoreFunction& score) {
  struct Scored {
    double key;  // the smallest is nearest
    const Row* row;
  };
  const double sign = metric == client::Metric::kL2 ? 1 : -1;
  std::vector<Scored> all;
  all.reserve(rows.size());
  for (const Row& row : rows) all.push_back({sign * score(metric, query, row.vector), &row});
  const auto middle = all.begin() + static_cast<ptrdiff_t>(std::min(k, all.size()));
  std::partial_sort(all.begin(), middle, all.end(), [](const Scored& a, const Scored& b) {
    return a.key != b.key ? a.key < b.key : a.row->id < b.row->id;
  });
  std::vector<client::Hit> hits;
  for (auto scored = all.begin(); scored != middle; ++scored) {
    client::Hit hit;
    hit.id = scored->row->id;
    hit.score = sign * scored->key;
    hits.push_back(std::move(hit));
  }
  return hits;
}

}  // namespace vexact::crash

// What the core is checked against: the definitions of docs/exactness.md written out plainly, and
// data that is hard on them. Nothing here calls the code under test.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "core/id.h"
#include "core/metric.h"

namespace vexact::oracle {

struct Point {
  Id id;
  std::vector<float> vector;

  bool operator==(const Point&) const = default;
};

struct Hit {
  Id id;
  double score = 0;
};

// Scores are compared as bits: -0.0 is not 0.0, and nothing is nearly equal.
inline uint64_t Bits(double value) { return std::bit_cast<uint64_t>(value); }
inline bool operator==(const Hit& a, const Hit& b) {
  return a.id == b.id && Bits(a.score) == Bits(b.score);
}

// For gtest's messages.
inline std::string ToString(const Id& id) {
  if (const auto* number = std::get_if<uint64_t>(&id)) return std::to_string(*number);
  return '"' + std::get<std::string>(id) + '"';
}
inline void PrintTo(const Hit& hit, std::ostream* out) {
  out->precision(17);
  *out << ToString(hit.id) << ": " << hit.score;
}

inline double SumLanes(double (&lane)[16]) {
  for (const int width : {8, 4, 2, 1}) {
    for (int l = 0; l < width; ++l) lane[l] = lane[l] + lane[l + width];
  }
  return lane[0];
}

inline double Dot(std::span<const float> a, std::span<const float> b) {
  double lane[16] = {};
  for (size_t j = 0; j < a.size(); ++j) {
    const double product = static_cast<double>(a[j]) * static_cast<double>(b[j]);
    lane[j % 16] = lane[j % 16] + product;
  }
  return SumLanes(lane);
}

inline double SquaredL2(std::span<const float> a, std::span<const float> b) {
  double lane[16] = {};
  for (size_t j = 0; j < a.size(); ++j) {
    const double difference = static_cast<double>(a[j]) - static_cast<double>(b[j]);
    const double square = difference * difference;
    lane[j % 16] = lane[j % 16] + square;
  }
  return SumLanes(lane);
}

inline double Score(Metric metric, std::span<const float> q, std::span<const float> x) {
  if (metric == Metric::kL2) return SquaredL2(q, x);
  if (metric == Metric::kInnerProduct) return Dot(q, x);
  return Dot(q, x) / std::sqrt(Dot(q, q) * Dot(x, x));
}

// Integers before strings, integers numerically, strings bytewise.
inline bool IdBefore(const Id& a, const Id& b) {
  if (a.index() != b.index()) return a.index() < b.index();
  if (const auto* number = std::get_if<uint64_t>(&a)) return *number < std::get<uint64_t>(b);
  const auto& text_a = std::get<std::string>(a);
  const auto& text_b = std::get<std::string>(b);
  const int common =
      std::memcmp(text_a.data(), text_b.data(), std::min(text_a.size(), text_b.size()));
  return common != 0 ? common < 0 : text_a.size() < text_b.size();
}

// The answer to a query over `points`: all of them scored and sorted, then cut.
inline std::vector<Hit> TopK(Metric metric, std::span<const Point> points, std::span<const float> q,
                             size_t k) {
  std::vector<Hit> hits;
  for (const Point& point : points) hits.push_back({point.id, Score(metric, q, point.vector)});
  std::sort(hits.begin(), hits.end(), [metric](const Hit& a, const Hit& b) {
    if (a.score < b.score) return metric == Metric::kL2;
    if (a.score > b.score) return metric != Metric::kL2;
    return IdBefore(a.id, b.id);
  });
  if (hits.size() > k) hits.resize(k);
  return hits;
}

// What a collection with Normalization::kL2 keeps of x.
inline std::vector<float> Normalized(std::span<const float> x) {
  const double norm = std::sqrt(Dot(x, x));
  std::vector<float> result;
  for (const float component : x) {
    result.push_back(static_cast<float>(static_cast<double>(component) / norm));
  }
  return result;
}

// Seeded, so that a failure can be repeated; tests put the seed into their trace.
class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}

  // In [0, n).
  uint64_t Below(uint64_t n) { return std::uniform_int_distribution<uint64_t>(0, n - 1)(engine_); }
  bool Chance(double probability) { return std::bernoulli_distribution(probability)(engine_); }
  float Normal() { return normal_(engine_); }
  // Any finite float: every sign and exponent, zeros and denormals among them.
  float AnyFinite() {
    for (;;) {
      const float value = std::bit_cast<float>(static_cast<uint32_t>(engine_()));
      if (std::isfinite(value)) return value;
    }
  }
  std::vector<float> Gaussian(size_t dimension) {
    std::vector<float> result(dimension);
    for (float& component : result) component = Normal();
    return result;
  }

 private:
  std::mt19937_64 engine_;
  std::normal_distribution<float> normal_;
};

// A way to make vectors; a pair drawn one after the other is meant to meet in a product.
struct Maker {
  const char* name;
  std::function<std::vector<float>(Random&, size_t dimension)> make;
};

inline std::vector<float> Each(size_t dimension, const std::function<float(size_t)>& component) {
  std::vector<float> result(dimension);
  for (size_t j = 0; j < dimension; ++j) result[j] = component(j);
  return result;
}

// Every vector a client may send is finite; beyond that nothing is too strange.
inline const std::vector<Maker>& Makers() {
  static const std::vector<Maker> makers = {
      {"gaussian", [](Random& random, size_t d) { return random.Gaussian(d); }},
      {"any finite bits",
       [](Random& random, size_t d) {
         return Each(d, [&](size_t) { return random.AnyFinite(); });
       }},
      {"signed zeros",
       [](Random& random, size_t d) {
         return Each(d, [&](size_t) {
           const float choices[] = {0.0f, -0.0f, -0.0f, 1.0f, -1.0f};
           return choices[random.Below(std::size(choices))];
         });
       }},
      {"denormals",
       [](Random& random, size_t d) {
         return Each(d, [&](size_t) {
           const auto bits = static_cast<uint32_t>(random.Below(0x80'0000));
           return std::bit_cast<float>(bits | static_cast<uint32_t>(random.Below(2)) << 31);
         });
       }},
      {"huge",
       [](Random& random, size_t d) {
         return Each(d, [&](size_t) {
           return random.Chance(0.5) ? std::numeric_limits<float>::max()
                                     : std::numeric_limits<float>::lowest();
         });
       }},
      {"mixed magnitudes",
       [](Random& random, size_t d) {
         return Each(d, [&](size_t) {
           return random.Normal() * std::ldexp(1.0f, static_cast<int>(random.Below(60)) - 30);
         });
       }},
      {"one huge component",
       [](Random& random, size_t d) {
         const size_t huge = random.Below(d);
         return Each(d, [&](size_t j) { return j == huge ? 1e30f : random.Normal() * 1e-20f; });
       }},
      // Neighbours, and components sixteen apart, take each other away up to a small rest.
      {"cancelling",
       [](Random& random, size_t d) {
         const float large = random.Normal() * 1e12f;
         return Each(d, [&](size_t j) {
           const float sign = (j + j / 16) % 2 == 0 ? 1.0f : -1.0f;
           return sign * large + random.Normal();
         });
       }},
  };
  return makers;
}

}  // namespace vexact::oracle

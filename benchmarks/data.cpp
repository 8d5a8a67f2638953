#include "benchmarks/data.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <random>

#include "core/reference_score.h"

namespace vexact::bench {
namespace {

// SplitMix64 (Steele, Lea and Flood 2014): one multiplication-free step of state and a mix; fast
// enough to fill gigabytes.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t Next() {
    uint64_t z = (state_ += 0x9E37'79B9'7F4A'7C15);
    z = (z ^ (z >> 30)) * 0xBF58'476D'1CE4'E5B9;
    z = (z ^ (z >> 27)) * 0x94D0'49BB'1331'11EB;
    return z ^ (z >> 31);
  }

  // Mean 0, variance 1: four 16-bit uniform numbers, each of variance 65536^2 / 12.
  float Component() {
    const uint64_t bits = Next();
    const auto sum = static_cast<float>((bits & 0xFFFF) + (bits >> 16 & 0xFFFF) +
                                        (bits >> 32 & 0xFFFF) + (bits >> 48));
    return (sum - 131'070.0f) * 2.6428e-5f;
  }

 private:
  uint64_t state_;
};

void Fill(std::vector<float>& vector, Random& random, float spread = 1) {
  for (float& x : vector) x = spread * random.Component();
}

// Rows 0 to n - 1, as `make(row, vector)` writes them.
CollectionState Build(size_t n, uint32_t dimension,
                      const std::function<void(size_t, std::vector<float>&)>& make) {
  constexpr size_t kSegmentBytes = size_t{64} << 20;
  const auto capacity = static_cast<uint32_t>(
      std::clamp<size_t>(kSegmentBytes / (dimension * sizeof(float)), 32, 65'536));
  CollectionState state{.metric = Metric::kInnerProduct};
  const std::shared_ptr<const Layout> layout = Layout::Identity(dimension);
  std::vector<float> vector(dimension);
  for (size_t row = 0; row < n; ++row) {
    if (state.parts.empty() || state.parts.back().rows == state.parts.back().segment->capacity()) {
      auto segment = Segment::Create(dimension, capacity);
      if (!segment.ok()) throw std::bad_alloc();
      auto codes = SegmentCodes::Create(layout, (*segment)->capacity());
      if (!codes.ok()) throw std::bad_alloc();
      state.parts.push_back({*std::move(segment), *std::move(codes), 0});
    }
    make(row, vector);
    CollectionState::Part& part = state.parts.back();
    part.segment->Append(row, uint64_t{row}, vector, Dot(vector, vector));
    part.codes->Encode(*part.segment, ActiveKernel(), part.rows, part.rows + 1);
    ++part.rows;
    ++state.live_rows;
  }
  return state;
}

std::vector<std::vector<float>> MakeQueries(size_t n, uint32_t dimension,
                                            const std::function<void(std::vector<float>&)>& make) {
  std::vector<std::vector<float>> queries(n, std::vector<float>(dimension));
  for (std::vector<float>& query : queries) make(query);
  return queries;
}

float Widen(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t exponent = half >> 10 & 0x1F;
  const uint32_t fraction = half & 0x3FF;
  if (exponent == 0)
    return std::bit_cast<float>(sign |
                                std::bit_cast<uint32_t>(static_cast<float>(fraction) * 0x1p-24f));
  return std::bit_cast<float>(sign | (exponent + 112) << 23 | fraction << 13);
}

// The values behind a .npy header of version 1.0 (the files' format is known; the server's client
// reads any).
template <typename T>
std::vector<T> ReadNpy(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return {};
  char head[10];
  file.read(head, sizeof(head));
  uint16_t header_bytes;
  std::memcpy(&header_bytes, head + 8, sizeof(header_bytes));
  file.seekg(0, std::ios::end);
  const size_t bytes = static_cast<size_t>(file.tellg()) - sizeof(head) - header_bytes;
  std::vector<T> values(bytes / sizeof(T));
  file.seekg(static_cast<std::streamoff>(sizeof(head) + header_bytes));
  file.read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(bytes));
  return values;
}

}  // namespace

DataSet Isotropic(size_t rows, uint32_t dimension, size_t queries) {
  Random random(1);
  DataSet data;
  data.state = Build(rows, dimension, [&](size_t, std::vector<float>& row) { Fill(row, random); });
  data.queries =
      MakeQueries(queries, dimension, [&](std::vector<float>& query) { Fill(query, random); });
  return data;
}

DataSet Clustered(size_t rows, uint32_t dimension, size_t queries) {
  constexpr size_t kCentres = 1'000;
  constexpr float kNoise = 0.5f;
  Random random(2);
  const auto centres =
      MakeQueries(kCentres, dimension, [&](std::vector<float>& centre) { Fill(centre, random); });
  const auto near_centre = [&](std::vector<float>& vector) {
    Fill(vector, random, kNoise);
    const std::vector<float>& centre = centres[random.Next() % kCentres];
    for (size_t j = 0; j < vector.size(); ++j) vector[j] += centre[j];
  };
  DataSet data;
  data.state = Build(rows, dimension, [&](size_t, std::vector<float>& row) { near_centre(row); });
  data.queries = MakeQueries(queries, dimension, near_centre);
  return data;
}

DataSet AllEqual(size_t rows, uint32_t dimension, size_t queries) {
  Random random(3);
  std::vector<float> same(dimension);
  Fill(same, random);
  DataSet data;
  data.state = Build(rows, dimension, [&](size_t, std::vector<float>& row) { row = same; });
  data.queries =
      MakeQueries(queries, dimension, [&](std::vector<float>& query) { Fill(query, random); });
  return data;
}

std::optional<DataSet> Sentences(const std::string& data_dir) {
  constexpr uint32_t kDimension = 384;
  const auto halves = ReadNpy<uint16_t>(data_dir + "/sentences.f16.npy");
  const auto queries = ReadNpy<float>(data_dir + "/queries.f32.npy");
  if (halves.empty() || queries.empty()) return std::nullopt;
  DataSet data;
  data.state =
      Build(halves.size() / kDimension, kDimension, [&](size_t row, std::vector<float>& vector) {
        std::transform(halves.begin() + static_cast<ptrdiff_t>(row * kDimension),
                       halves.begin() + static_cast<ptrdiff_t>((row + 1) * kDimension),
                       vector.begin(), Widen);
      });
  for (size_t at = 0; at < queries.size(); at += kDimension) {
    data.queries.emplace_back(queries.begin() + static_cast<ptrdiff_t>(at),
                              queries.begin() + static_cast<ptrdiff_t>(at + kDimension));
  }
  return data;
}

CollectionState FirstRows(const CollectionState& state, uint64_t rows) {
  CollectionState first{.metric = state.metric};
  for (const CollectionState::Part& part : state.parts) {
    const auto some = static_cast<uint32_t>(std::min<uint64_t>(part.rows, rows - first.live_rows));
    if (some == 0) break;
    first.parts.push_back({part.segment, part.codes, some});
    first.live_rows += some;
  }
  return first;
}

}  // namespace vexact::bench

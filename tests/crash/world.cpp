#include "tests/crash/world.h"

#include <charconv>
#include <string_view>

#include "tests/crash/reference.h"

namespace vexact::crash {
namespace {

constexpr uint32_t kDirections = 4;
constexpr double kNoise = 0.05;
constexpr uint64_t kShared = 16;
// Numbers of ids by actor; the indices stay far below.
constexpr uint64_t kActorIds = 1'000'000;
constexpr std::string_view kTextPrefix = "row-";
constexpr uint32_t kLoaderIds = 2'000;

class Numbers {
 public:
  explicit Numbers(uint64_t seed) : seed_(seed) {}
  // In [-1, 1).
  double Next() { return static_cast<double>(Mix(seed_ + count_++) >> 11) * 0x1p-52 - 1; }

 private:
  const uint64_t seed_;
  uint64_t count_ = 0;
};

}  // namespace

uint64_t Mix(uint64_t number) {
  number += 0x9e3779b97f4a7c15;
  number = (number ^ (number >> 30)) * 0xbf58476d1ce4e5b9;
  number = (number ^ (number >> 27)) * 0x94d049bb133111eb;
  return number ^ (number >> 31);
}

uint64_t Mix(std::initializer_list<uint64_t> numbers) {
  uint64_t mixed = 0;
  for (const uint64_t number : numbers) mixed = Mix(mixed ^ Mix(number));
  return mixed;
}

const std::vector<CollectionPlan>& Plans() {
  using client::Metric;
  using client::Normalization;
  // `large` and `fresh` hold more rows than a training wants (8,192), and some full segments. In
  // `bulk` few rows are the 4 MiB that the store takes as tables.
  static const auto& plans = *new std::vector<CollectionPlan>{
      {{"mixed", 8, Metric::kCosine, Normalization::kNone}, 400},
      {{"unit", 24, Metric::kInnerProduct, Normalization::kL2}, 800},
      {{"wide", 384, Metric::kCosine, Normalization::kNone}, 300},
      {{"large", 64, Metric::kL2, Normalization::kNone}, 4'000},
      {{"bulk", 1'024, Metric::kL2, Normalization::kNone}, 100},
      {{"fresh", 128, Metric::kInnerProduct, Normalization::kNone}, 8'500},
  };
  return plans;
}

std::string ActorName(uint32_t actor) {
  if (actor < kWriters) return "writer-" + std::to_string(actor);
  if (actor == kKeeper) return "keeper";
  if (actor == kMaker) return "maker";
  if (actor == kSaver) return "saver";
  return actor == kLoader ? "loader" : "observer";
}

bool OwnsConfig(uint32_t actor, uint32_t collection) {
  return actor == (collection == kFresh ? kMaker : kKeeper);
}

uint32_t OwnedIds(uint32_t actor, uint32_t collection) {
  if (actor == kLoader) return collection == kBulk ? kLoaderIds : 0;
  const bool owns = collection == kFresh ? actor == kMaker : actor < kWriters;
  return owns ? Plans()[collection].ids : 0;
}

client::Id IdOf(uint32_t actor, uint32_t index) {
  const uint64_t number = actor * kActorIds + index;
  if (actor % 2 == 0) return number;
  return std::string(kTextPrefix) + std::to_string(number);
}

std::optional<std::pair<uint32_t, uint32_t>> OwnerOf(const client::Id& id, uint32_t collection) {
  uint64_t number = 0;
  if (id.is_number()) {
    number = id.number();
  } else {
    const std::string& text = id.text();
    if (!text.starts_with(kTextPrefix)) return std::nullopt;
    const char* end = text.data() + text.size();
    const auto read = std::from_chars(text.data() + kTextPrefix.size(), end, number);
    if (read.ec != std::errc() || read.ptr != end) return std::nullopt;
  }
  if (number >= kActors * kActorIds) return std::nullopt;
  const auto actor = static_cast<uint32_t>(number / kActorIds);
  const auto index = static_cast<uint32_t>(number % kActorIds);
  // Both ways, so that no second form of an id passes for the first.
  if (index >= OwnedIds(actor, collection) || IdOf(actor, index) != id) return std::nullopt;
  return std::pair(actor, index);
}

World::World(uint64_t seed) : seed_(seed) {
  for (uint32_t c = 0; c < Plans().size(); ++c) {
    Numbers numbers(Mix({seed, c}));
    const uint32_t dimension = Plans()[c].spec.dimension;
    Shape& shape = shapes_.emplace_back();
    for (uint32_t j = 0; j < dimension; ++j) shape.center.push_back(2 * numbers.Next());
    for (uint32_t i = 0; i < kDirections * dimension; ++i) {
      shape.directions.push_back(numbers.Next());
    }
  }
}

std::vector<float> World::Sent(uint32_t collection, uint32_t actor, uint32_t index,
                               uint64_t version) const {
  uint64_t mixed = Mix({seed_, collection, actor, index, version});
  if (mixed % 8 == 0) mixed = Mix({seed_, collection, mixed / 8 % kShared});
  Numbers numbers(mixed);
  const Shape& shape = shapes_[collection];
  double along[kDirections];
  for (uint32_t r = 0; r < kDirections; ++r) along[r] = numbers.Next() * 4 / (r + 1);
  const size_t dimension = shape.center.size();
  std::vector<float> vector(dimension);
  for (size_t j = 0; j < dimension; ++j) {
    double component = shape.center[j] + kNoise * numbers.Next();
    for (uint32_t r = 0; r < kDirections; ++r) {
      component += along[r] * shape.directions[r * dimension + j];
    }
    vector[j] = static_cast<float>(component);
  }
  return vector;
}

std::vector<float> World::Stored(uint32_t collection, uint32_t actor, uint32_t index,
                                 uint64_t version) const {
  std::vector<float> vector = Sent(collection, actor, index, version);
  AtTheDoor(Plans()[collection].spec.normalization, vector);
  return vector;
}

}  // namespace vexact::crash

// What the harness writes: collections, actors that own disjoint parts of them, and vectors that
// follow from a few numbers, so that a log of numbers says everything.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "vexact/types.h"

namespace vexact::crash {

// No answer for so long is a defect. Machines that run tests stand still at times.
inline constexpr absl::Duration kPatience = absl::Minutes(10);

struct CollectionPlan {
  client::CollectionSpec spec;
  uint32_t ids;  // of each of its writers
};

// By index. All but the last last for ever; kFresh is made, loaded and deleted again and again.
const std::vector<CollectionPlan>& Plans();
inline constexpr uint32_t kLarge = 3, kBulk = 4, kFresh = 5;

// Whoever sends requests one after another and keeps a log of them. The writers own rows of the
// lasting collections, the keeper these collections' existence and metric, the maker all there is
// to kFresh, the saver snapshots and kRestored, the loader most rows of kBulk. The observer sends
// no writes: it takes note of what others could see.
inline constexpr uint32_t kWriters = 4, kKeeper = 4, kMaker = 5, kSaver = 6, kLoader = 7;
inline constexpr uint32_t kActors = 8;  // that write
inline constexpr uint32_t kObserver = 8;

// What snapshots are restored to, one after another.
inline constexpr std::string_view kRestored = "restored";

// "writer-2", "keeper".
std::string ActorName(uint32_t actor);

// Whether the actor decides on the collection's existence and metric.
bool OwnsConfig(uint32_t actor, uint32_t collection);
// How many ids it has there: indices 0 to this.
uint32_t OwnedIds(uint32_t actor, uint32_t collection);

// Every other actor has ids of text.
client::Id IdOf(uint32_t actor, uint32_t index);
// Whose id that is, and its index; nothing when the harness never gives such an id.
std::optional<std::pair<uint32_t, uint32_t>> OwnerOf(const client::Id& id, uint32_t collection);

class World {
 public:
  explicit World(uint64_t seed);

  // As it is sent: a few common directions around a center, and a little noise; one in eight is one
  // of 16 that many rows share, so that there are ties.
  std::vector<float> Sent(uint32_t collection, uint32_t actor, uint32_t index,
                          uint64_t version) const;
  // As the server must have it, after the collection's normalization.
  std::vector<float> Stored(uint32_t collection, uint32_t actor, uint32_t index,
                            uint64_t version) const;

 private:
  const uint64_t seed_;
  struct Shape {
    std::vector<double> center, directions;  // kDirections x dimension
  };
  std::vector<Shape> shapes_;
};

// The n-th number of a stream of pseudo-random numbers (splitmix64), and one that depends on all of
// them.
uint64_t Mix(uint64_t number);
uint64_t Mix(std::initializer_list<uint64_t> numbers);

}  // namespace vexact::crash

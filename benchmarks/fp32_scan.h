// The yardstick: what a flat float32 scan can do at best on this machine.
#pragma once

#include <span>
#include <vector>

#include "core/snapshot.h"
#include "core/workers.h"

namespace vexact::bench {

struct Neighbour {
  float score;
  const float* row;
};

// The k rows with the largest float32 inner product with `query`, best first: hand-vectorised
// (AVX-512, AVX2 or plain), reading the raw rows of `state` once, in order, at the memory's speed
// on all of `workers`. Ignores tombstones.
std::vector<Neighbour> Fp32Scan(const CollectionState& state, std::span<const float> query,
                                size_t k, Workers& workers);

}  // namespace vexact::bench

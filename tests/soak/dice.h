// Requests at random.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "tests/soak/ledger.h"
#include "tests/soak/session.h"

namespace vexact::soak {

class Dice;

// An upsert or a deletion: as a request, and as what it does to the model.
struct Write {
  size_t collection;
  std::vector<Row> rows = {};        // of an upsert
  std::vector<client::Id> ids = {};  // of a deletion
  bool as_block = false;
  v1::UpsertResponse upserted = {};
  v1::DeletePointsResponse deleted = {};

  v1::UpsertRequest UpsertRequest(Dice& dice) const;
  v1::DeletePointsRequest DeleteRequest() const;
  uint64_t sequence() const { return ids.empty() ? upserted.sequence() : deleted.sequence(); }
  // For one that was acknowledged: the counts it was told are checked.
  Apply Acknowledged() const;
  Apply Unanswered() const;
};

const std::string& NameOf(size_t collection);
// Every other one is a number; the others are texts.
client::Id IdOf(uint32_t index);
v1::Id MessageOf(const client::Id& id);

// Use one from one thread at a time.
class Dice {
 public:
  explicit Dice(uint64_t seed) : random_(seed) {}

  // Below `end`.
  uint32_t Below(uint32_t end) { return static_cast<uint32_t>(random_() % end); }
  bool OneIn(uint32_t n) { return Below(n) == 0; }

  size_t Collection();
  client::Metric Metric();
  // One in eight is one of 16 that many rows share, so that there are ties.
  std::vector<float> Vector(size_t collection);
  // Either of the two that a vector has on the wire.
  v1::Vector Form(const std::vector<float>& vector);

  Write Upsert(size_t collection);
  Write Delete(size_t collection);
  v1::SearchRequest Search(size_t collection);
  v1::GetPointsRequest Get(size_t collection, bool anchors);

 private:
  // No index twice.
  std::vector<uint32_t> Indices(size_t collection, uint32_t count, uint32_t first = 0);

  std::mt19937_64 random_;
  std::normal_distribution<float> normal_;
};

}  // namespace vexact::soak

// What was asked of one collection, and what came back, by sequence number: so that the collection
// can be gone through again, write by write, with a model beside it.
//
// Writes tell their sequence numbers as they are acknowledged. Some do not: those that were
// cancelled, and changes of the metric (whose answer describes the collection, maybe after later
// writes). They take the numbers that nobody else has; so that it is certain which, only one of
// them is under way at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "tests/soak/model.h"

namespace vexact::soak {

// Gives what is wrong; empty when nothing is.
using Apply = std::function<std::string(Model&)>;
using Check = std::function<std::string(const Model&)>;

// Writes of unknown numbers, each of them higher than the one before. All of them, or the first
// few, or none took effect.
struct Unplaced {
  std::vector<Apply> writes;
  // No higher than this; or not known, when the outcome is not.
  uint64_t until = kUnknown;
  // Checked at `until` when there was no effect.
  Check without_effect;

  static constexpr uint64_t kUnknown = std::numeric_limits<uint64_t>::max();
};

// All that was recorded while the clients worked.
struct Round {
  std::map<uint64_t, Apply> writes;
  std::multimap<uint64_t, Check> reads;
  std::vector<std::string> defects;  // those that need no model
  uint64_t late_writes = 0;          // cancelled, and still in effect
};

class Ledger {
 public:
  // Thread safety: these may be called from any thread at any time.

  // The number of the last write that anyone was told of: no answer to a later call may be older.
  uint64_t seen() const { return seen_; }
  void Write(uint64_t sequence, Apply apply);
  // An answer of this number to a call that was made when seen() was `since`.
  void Read(uint64_t sequence, uint64_t since, Check check);
  // `send` makes calls whose writes may be unplaced; nothing when all their outcomes are known.
  // False, and nothing is sent, while another of the kind is under way or of unknown outcome.
  bool SendUnplaced(const std::function<std::optional<Unplaced>()>& send);

  // While no call is under way: whether the outcome of something is still unknown that may come
  // into effect any moment. `last` is the collection's sequence number.
  bool Unsettled(uint64_t last) const;
  // What there is since the last time, up to `last`.
  Round Take(uint64_t last);

 private:
  // In the gaps that acknowledged writes leave.
  void Place(uint64_t last);
  void PlaceOne(Unplaced& unplaced, uint64_t after, std::vector<uint64_t>& gaps);
  std::vector<uint64_t> Gaps(uint64_t last) const;
  void See(uint64_t sequence);

  std::atomic<uint64_t> seen_ = 0;
  mutable std::mutex mutex_;  // guards round_
  Round round_;
  uint64_t taken_ = 0;  // up to this number

  std::mutex turn_;  // guards what follows
  struct Sent {
    Unplaced unplaced;
    uint64_t after;
    int rounds = 0;  // that it has been waited for
  };
  std::vector<Sent> sent_;
  uint64_t fence_ = 0;  // the numbers of what is sent next are higher
};

// Goes through the round with the model. Gives what is wrong.
std::vector<std::string> Replay(Round round, Model& model);

}  // namespace vexact::soak

// Sends writes from several threads, each with its own log, until the server is gone.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace vexact::crash {

enum class Plan {
  kMix,     // everything, a little of each, without end
  kChurn,   // mostly deletions and replacements, so that there is garbage to collect
  kLoad,    // as kMix, while the maker loads rows for a training, says "loaded" and ends
  kBrief,   // as kLoad, but after a few writes it is quiet
  kStream,  // as kMix, while the loader streams blocks that come to the store as tables
};

// A lie to the harness, which must find it out: without these nobody would know that it can.
enum class Lie {
  kNone,
  kClaimUpsert,    // an acknowledgement of an upsert that was never sent
  kClaimDelete,    // of a deletion
  kClaimMetric,    // of a change of metric
  kClaimSequence,  // a sequence number that was never seen
  kHalfBatch,      // half of a batch is sent
  kWrongBit,       // one bit of one vector is not what it should be
  kStranger,       // a row that is in no log
  kClaimSnapshot,  // a snapshot that was never made
  kClaimLoad,      // an acknowledgement of a block of a stream
  kSmallLoads,     // no block is worth a table
};

// "mix", "claim-upsert".
std::optional<Plan> ParsePlan(std::string_view name);
std::optional<Lie> ParseLie(std::string_view name);

struct WriteOptions {
  std::string address;
  std::string logs;  // the folder
  uint64_t seed = 0;
  uint64_t run = 0;  // every run with a seed makes other writes
  Plan plan = Plan::kMix;
  Lie lie = Lie::kNone;
  // RESOURCE_EXHAUSTED is a right answer; when somebody has had many everybody gives up.
  bool may_be_full = false;
};

// Says on stdout, a line each, what a killer may wait for: "compacting", "compacting database",
// "loaded", "saving", "saved", "streaming", "streamed", "full", "lied". Returns whether every
// answer was right, up to where the server was gone.
bool Write(const WriteOptions& options);

}  // namespace vexact::crash

// The log of one actor: what it was about to ask for, and what was acknowledged.
//
// A file of lines, each on the disk before the actor goes on:
//
//   begin 17 upsert 3 120 50 7 17 l2   about to send: write 17, 50 ids of collection 3 from 120 on,
//                                      in steps of 7, as of version 17
//   done 17 1204                       acknowledged, with this sequence number (0: it was not told)
//   refused 17 INVALID_ARGUMENT        refused: it must have no effect
//   applied 17 | absent 17             what a check found of a write whose answer never came
//   seen 3 1204                        collection 3 was seen with that sequence number
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tests/crash/world.h"
#include "vexact/types.h"

namespace vexact::crash {

struct Operation {
  enum Kind {
    kUpsert,
    kDelete,
    kSetMetric,
    kCreate,
    kDrop,
    kSave,
    kForget,
    kRestore,
    kDropRestored
  };

  uint64_t number = 0;  // from 1, one after another
  Kind kind = kUpsert;
  uint32_t collection = 0;
  // kUpsert, kDelete: the indices (first + i stride) mod the actor's ids, for i < count. No index
  // comes twice.
  uint32_t first = 0, count = 0, stride = 1;
  // kUpsert: of the vectors. The write's own number, or, when it repeats another, that one's.
  // kForget, kRestore: the number of the kSave that made the snapshot.
  uint64_t version = 0;
  // kSetMetric and kCreate.
  client::Metric metric = client::Metric::kCosine;

  std::vector<uint32_t> Indices(uint32_t ids) const;
  // Of the snapshot that it makes, deletes or restores.
  std::string SnapshotName() const;
};

enum class Outcome { kUnknown, kDone, kRefused, kApplied, kAbsent };

struct Entry {
  Operation operation;
  Outcome outcome = Outcome::kUnknown;
  uint64_t sequence = 0;

  bool HasEffect() const { return outcome == Outcome::kDone || outcome == Outcome::kApplied; }
};

struct History {
  // Unknown are only the last, which were sent one after another and answered in order.
  std::vector<Entry> entries;  // [i] is number i + 1
  struct Seen {
    uint32_t collection;
    uint64_t sequence;
  };
  std::vector<Seen> seen;

  // A file that is not there is empty. Throws std::runtime_error for one that contradicts itself.
  static History Read(const std::string& path);
};

enum class Certainty { kCertain, kPossible };

// What made the snapshots that must be there, or that may be, by the saver's log; the oldest first.
std::vector<Operation> SavedFor(const History& saver, Certainty certainty);

std::string LogPath(const std::string& folder, uint32_t actor);

class Log {
 public:
  explicit Log(const std::string& path);
  ~Log();
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  void Begin(const Operation& operation);
  void Done(uint64_t number, uint64_t sequence);
  void Refused(uint64_t number, std::string_view code);
  void Settled(uint64_t number, bool applied);
  void Saw(uint32_t collection, uint64_t sequence);

 private:
  // On the disk on return.
  void Append(const std::string& line);

  const int file_;
};

// What an actor's part of the world is after some of its writes.
struct Shadow {
  struct Collection {
    bool exists = false;
    client::Metric metric = client::Metric::kCosine;
    std::vector<uint64_t> versions;  // by index; 0: no such row
  };

  explicit Shadow(uint32_t actor_given);
  // All writes of the history that have an effect.
  Shadow(uint32_t actor_given, const History& history);

  void Apply(const Operation& operation);
  // Whether applying it would make a difference to the server: an upsert always does.
  bool Changes(const Operation& operation) const;
  uint32_t Rows(uint32_t collection) const;

  uint32_t actor;
  std::vector<Collection> collections;
};

}  // namespace vexact::crash

// Looks through a store that no server has open, and repairs it: vexactd --verify and --repair.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace rocksdb {
class Env;
}  // namespace rocksdb

namespace vexact {

struct StoreCheckOptions {
  std::string directory;
  // Told of each thing that is wrong, one line each, naming the collection and the id; or, by
  // RepairStore, of what has become of it.
  std::function<void(std::string_view line)> report = nullptr;
  // Told now and then how many rows of a collection have been read.
  std::function<void(std::string_view collection, uint64_t rows)> progress = nullptr;
  // For tests: where files are; the machine's own when null.
  rocksdb::Env* env = nullptr;
};

struct CheckedCollection {
  std::string name;
  uint64_t rows = 0;  // whole and as they should be

  bool operator==(const CheckedCollection&) const = default;
};

struct StoreCheckResult {
  std::vector<CheckedCollection> collections = {};  // by number, those that can be read
  uint64_t problems = 0;                            // how many lines were reported
};

// Reads every key and every vector and compares checksums; each row must have an id of its own, a
// finite vector of the collection's dimension, and a number below the collection's next, whose
// sequence number must be one that a write can have left. Changes nothing, but takes off the torn
// end of a write that never ended, as opening the store would.
//
// FAILED_PRECONDITION when the store is in use or of another version, NOT_FOUND when there is none,
// UNAVAILABLE when it cannot be read for another reason than damage.
absl::StatusOr<StoreCheckResult> VerifyStore(const StoreCheckOptions& options);

struct StoreRepairResult {
  std::vector<CheckedCollection> collections = {};  // as they are now
  uint64_t lost_rows = 0;                           // as far as is known
  // Where the damaged database is kept, until somebody deletes it; none when nothing was damaged.
  std::optional<std::string> damaged = std::nullopt;
};

// Makes a new database of all that is good in the damaged one, verifies it, and puts it in the
// other's place: whatever happens, one of the two is there. What is kept is bit for bit what was
// stored; a row is kept when its number, its id and its vector can be had.
//
// Needs as much free space as the store has. Errors as VerifyStore, and RESOURCE_EXHAUSTED when
// there is no space.
absl::StatusOr<StoreRepairResult> RepairStore(const StoreCheckOptions& options);

}  // namespace vexact

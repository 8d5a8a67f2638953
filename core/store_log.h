// Whether the database's write-ahead log ends where writing stopped, or is damaged.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace rocksdb {
class Env;
}  // namespace rocksdb

namespace vexact {

// Where RocksDB's own recovery stops reading a log, it drops what follows, however much that is and
// whether it was on the disk; a sector of zeros between two records it even skips in silence. So
// the log is read here first, and the database is only opened when what recovery will drop is
// nothing, or the torn end of a write that nobody was told is durable.
//
// A write that did not finish leaves a record that is cut off, or that lacks whole sectors (they
// are zeros); and no record begins after it, because each is synced before the next one is written.
// Anything else is damage: DATA_LOSS, naming the file and the place. So is, after a power cut under
// Durability::kAsync, a hole that later records follow.
absl::Status CheckLog(rocksdb::Env& env, const std::string& database);

}  // namespace vexact

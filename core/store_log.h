// Whether the database's write-ahead log ends where writing stopped, or is damaged.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace rocksdb {
class Env;
}  // namespace rocksdb

namespace vexact {

// Where RocksDB's own recovery stops reading a log, it drops what follows, however much that is and
// whether it was on the disk; a sector of zeros between two records it even skips in silence. So
// the log is read here first, and the database is only opened when what recovery will drop is
// nothing, or the torn end of a write that nobody was told is durable. Files whose number is below
// `first_file` are not of interest: the tables have what is in them.
//
// A write that did not finish leaves a record that is cut off, or that lacks whole sectors (they
// are zeros); and no record begins after it, because each is synced before the next one is written.
// Anything else is damage: DATA_LOSS, naming the file and the place. So is, after a power cut under
// Durability::kAsync, a hole that later records follow.
//
// The manifest, the list of the database's files, has the same form. RocksDB refuses it when a
// write to it was torn; where that is all, TrimManifest cuts the torn end off: nothing relies on a
// change of the manifest before it is synced.
absl::Status TrimManifest(rocksdb::Env& env, const std::string& database);
absl::Status CheckLog(rocksdb::Env& env, const std::string& database, uint64_t first_file);

}  // namespace vexact

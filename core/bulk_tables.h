// Rows that come to a database as tables of their own.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "core/store.h"
#include "core/store_database.h"

namespace vexact {

// Writes many rows once: not to the log, to memory and then to files, but to tables that the
// database takes over as they are (RocksDB's ingestion). They are on the disk when it does.
//
// Thread safety: Add may be called from any thread.
class BulkTables {
 public:
  // Tables are made in a folder beside the database, on the same disk: the database links them.
  BulkTables(rocksdb::Env& env, const std::string& directory);

  // Removes what an earlier run has left there. REQUIRES: no Add is under way.
  void Clear();

  // Adds the ids and vectors of rows, all or none, although not together with anything else.
  // `before` has succeeded before the database has any of them: each waits for the disk, so that it
  // is called from another thread while the tables are made. REQUIRES: the numbers ascend.
  // InvalidArgument, and nothing has changed, where the database has, or had of late, keys of these
  // rows: tables cannot take the place of those.
  rocksdb::Status Add(Database& database, CollectionNumber collection, std::span<const NewRow> rows,
                      const std::function<rocksdb::Status()>& before);

  // Written to tables that were added.
  uint64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }

 private:
  rocksdb::Status Write(Database& database, Family family, CollectionNumber collection,
                        std::span<const NewRow> rows, const std::string& path);

  rocksdb::Env& env_;
  const std::string folder_;
  const rocksdb::Options options_;
  // relaxed: names that differ, and a counter for people.
  std::atomic<uint64_t> next_ = 1, bytes_ = 0;
};

}  // namespace vexact

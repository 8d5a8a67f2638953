// Keeps the tables of an ingestion that fails, and syncs none twice.
#pragma once

#include <rocksdb/env.h>

#include <string>
#include <vector>

namespace vexact {

// For a database that takes over tables (BulkTables). When RocksDB fails to add them to its list of
// files, it deletes them again. But what of the list has reached the disk is unknown then, and a
// list that names missing files is not opened any more. So they stay, until the database is opened
// anew, which deletes what the list does not name.
class IngestionEnv : public rocksdb::EnvWrapper {
 public:
  explicit IngestionEnv(rocksdb::Env* below);

  // While it lives, this thread deletes no table of a database with such an Env, and RocksDB does
  // not sync what it takes over: who made the tables has.
  class Keeping {
   public:
    Keeping();
    ~Keeping();
    Keeping(const Keeping&) = delete;
    Keeping& operator=(const Keeping&) = delete;

    // That were to be deleted.
    const std::vector<std::string>& kept() const { return kept_; }

   private:
    std::vector<std::string> kept_;
  };
};

}  // namespace vexact

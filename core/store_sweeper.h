// Frees the disk of what no collection has any more, in the background.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <stop_token>
#include <thread>

#include "core/store_database.h"

namespace rocksdb {
class CompactionFilterFactory;
}  // namespace rocksdb

namespace vexact {

// Removes the rows of dropped collections, and the files that hold little but deleted rows.
//
// Rows are removed by compaction, which leaves them out. Nothing is written for that: RocksDB's
// deletion of a range of keys would be one record, but a compaction that fails or is ended while it
// writes nothing else ends the process (its CompactionState::SmallestUserKey).
//
// Thread safety: every method may be called from any thread.
class StoreSweeper {
 public:
  // Calls its argument with the open database and returns what it returns, or returns false where
  // there is none. What waits for the database to be used by nobody calls Rest first.
  using Use = std::function<bool(const std::function<bool(Database&)>&)>;

  // Goes for garbage of `least_garbage` bytes or more, and tries again `retry_after` a failure. It
  // rests at first.
  StoreSweeper(Use use, uint64_t least_garbage, std::chrono::milliseconds retry_after);
  ~StoreSweeper();

  // What leaves dropped rows out, for the options of the database.
  std::shared_ptr<rocksdb::CompactionFilterFactory> filter() const;

  // The collection's rows; DroppedKey says that they are to go, until they are gone.
  void Remove(CollectionNumber dropped);
  // There may be more garbage than before.
  void LookForGarbage();

  // Ends what is under way, and begins nothing until Resume.
  void Rest();
  void Resume();
  // Ends for good. What is not done, the next run of the program does.
  void Stop();

 private:
  void Run(const std::stop_token& stop);
  bool RemoveRows(Database& database, CollectionNumber collection);
  bool CollectGarbage(const std::stop_token& stop);
  // Returns early at a stop.
  void Pause(const std::stop_token& stop, std::chrono::nanoseconds time);

  class DroppedFilterFactory;

  const Use use_;
  const uint64_t least_garbage_;
  const std::chrono::milliseconds retry_after_;
  const std::shared_ptr<DroppedFilterFactory> filter_;
  uint64_t garbage_left_ = 0;  // by the last collection; of the thread alone

  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::deque<CollectionNumber> dropped_;  // guarded by mutex_
  bool look_ = true;                      // guarded by mutex_
  // Ends a compaction; changed under mutex_.
  std::atomic<bool> resting_ = true;
  std::jthread thread_;
};

}  // namespace vexact

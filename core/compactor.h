// The thread that gives up dead rows in the background.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>

namespace vexact {

class Collection;

// Thread safety: Add may be called from any thread. The destructor waits for the compaction that
// runs; what still waits is dropped, which loses nothing.
class Compactor {
 public:
  Compactor();
  ~Compactor();
  Compactor(const Compactor&) = delete;
  Compactor& operator=(const Compactor&) = delete;

  // Has the collection compacted soon; once, however often it is added before its turn.
  void Add(const std::weak_ptr<Collection>& collection);

 private:
  void Run(const std::stop_token& stop);

  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::deque<std::weak_ptr<Collection>> waiting_;  // guarded by mutex_
  std::jthread thread_;                            // last: it uses the rest
};

}  // namespace vexact

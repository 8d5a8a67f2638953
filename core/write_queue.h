// Lets writers that wait be carried out together.
#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <span>

namespace vexact {

// What a writer puts into the queue; it lives as long as the call.
class QueuedWrite {
 public:
  // `bytes`: what it weighs against kGroupBytes. `alone`: it shares its group with no other.
  QueuedWrite(uint64_t bytes, bool alone) : bytes_(bytes), alone_(alone) {}
  QueuedWrite(const QueuedWrite&) = delete;
  QueuedWrite& operator=(const QueuedWrite&) = delete;

 private:
  template <typename Write>
  friend class WriteQueue;
  const uint64_t bytes_;
  const bool alone_;
  // Guarded by the queue's mutex.
  bool done_ = false;
  std::condition_variable* caller_ = nullptr;
};

// Bytes of the writes of one group; one write alone may exceed it. Bounds what waits for one commit
// and what a commit that fails has to take back.
inline constexpr uint64_t kGroupBytes = uint64_t{16} << 20;
inline constexpr size_t kGroupWrites = 256;

// Writers queue; the one at the front takes what waits behind it, within kGroupBytes, and
// carries them out in the order in which they came, while the next ones gather. So a group is as
// large as what comes in while the one before it is carried out: a writer that is alone never
// waits, and many share what a group costs once.
//
// Thread safety: Pass may be called from any thread.
template <typename Write>
class WriteQueue {
 public:
  // Returns when all of `writes`, at least one, were carried out, in their order, by this call or
  // by another thread's: `carry_out(group)` is called by one thread at a time and must not throw.
  // What it writes into the writes is visible to their callers.
  template <typename CarryOut>
  void Pass(std::span<Write* const> writes, const CarryOut& carry_out) {
    std::condition_variable wake;
    std::unique_lock lock(mutex_);
    waiting_.insert(waiting_.end(), writes.begin(), writes.end());
    for (Write* write : writes) write->caller_ = &wake;
    const bool& done = writes.back()->done_;
    for (;;) {
      wake.wait(lock, [&] { return done || waiting_.front()->caller_ == &wake; });
      if (done) return;
      // Without an allocation: a leader that fails here would leave the others waiting for ever.
      std::array<Write*, kGroupWrites> taken;
      const std::span<Write* const> group(taken.data(), Take(taken));
      lock.unlock();
      carry_out(group);
      lock.lock();
      waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<ptrdiff_t>(group.size()));
      // Under the mutex: a caller whose writes are done takes its condition variable with it.
      for (Write* write : group) {
        write->done_ = true;
        if (write->caller_ != &wake) write->caller_->notify_one();
      }
      if (!waiting_.empty() && waiting_.front()->caller_ != &wake) {
        waiting_.front()->caller_->notify_one();
      }
    }
  }

  // Writes that are not done yet.
  size_t waiting() const {
    std::lock_guard lock(mutex_);
    return waiting_.size();
  }

 private:
  // The writes at the front that go together. They stay in the queue until they are done, so that
  // nobody else comes to its front.
  size_t Take(std::array<Write*, kGroupWrites>& group) const {
    size_t count = 0;
    uint64_t bytes = 0;
    for (Write* write : waiting_) {
      bytes += write->bytes_;
      if (count > 0 && (write->alone_ || bytes > kGroupBytes || count == kGroupWrites)) break;
      group[count++] = write;
      if (write->alone_) break;
    }
    return count;
  }

  mutable std::mutex mutex_;
  std::deque<Write*> waiting_;  // guarded by mutex_
};

}  // namespace vexact

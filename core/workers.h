// The threads that searches share.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

namespace vexact {

// Runs index ranges on a fixed number of threads, the caller being one of them.
//
// A thread that runs out of work looks for more before it sleeps: for a millisecond after brief
// calls, because waking one costs as much as a small search, and hardly at all after long ones.
//
// Thread safety: ForEach may be called from any number of threads at once; each call is worked on
// by its caller, and the other threads are shared fairly among the calls, index by index.
class Workers {
 public:
  // `threads` >= 1: how many indices of one call are worked on at the same time.
  explicit Workers(int threads);
  // REQUIRES: no call is running.
  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  int threads() const { return threads_; }

  // How many calls are running: a hint for work that can wait.
  int active() const;

  // Calls body(slot, index) once for every index in [0, n), in no order, and returns when all have
  // returned. `slot` is in [0, threads()); no two calls run at the same time with the same slot, so
  // that it can name per-thread state. What the caller wrote before is visible in the bodies, and
  // what they wrote is visible after. `body` must not throw.
  void ForEach(size_t n, const std::function<void(int slot, size_t index)>& body);

 private:
  struct Impl;
  const int threads_;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace vexact

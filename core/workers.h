// The threads that searches share.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

namespace vexact {

// Runs index ranges on a fixed number of threads, the caller being one of them.
//
// Thread safety: ForEach may be called from any number of threads at once; the threads are shared
// fairly among them.
class Workers {
 public:
  // `threads` >= 1: how many indices of one call are worked on at the same time.
  explicit Workers(int threads);
  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  int threads() const { return threads_; }

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

// The threads on which requests are carried out.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace vexact::server {

// Runs tasks in the order they came, on a fixed number of threads, so that gRPC's own threads only
// ever move messages. (A search spreads further, over the core's Workers.)
//
// Thread safety: Run() may be called from any thread, from a task as well.
class RequestThreads {
 public:
  explicit RequestThreads(int threads);
  // Returns when every task has run.
  ~RequestThreads();
  RequestThreads(const RequestThreads&) = delete;
  RequestThreads& operator=(const RequestThreads&) = delete;

  // `task` must not throw.
  void Run(std::function<void()> task);

 private:
  void Loop();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;  // guarded by mutex_
  bool stopping_ = false;                    // guarded by mutex_
  std::vector<std::jthread> threads_;
};

}  // namespace vexact::server

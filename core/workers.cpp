#include "core/workers.h"

// oneTBB's library is not built for ThreadSanitizer, which would not see the order that it
// establishes between threads. That build alone uses plain threads, so that what runs on them is
// checked.
#if defined(__SANITIZE_THREAD__)
#define VEXACT_PLAIN_THREADS 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define VEXACT_PLAIN_THREADS 1
#endif
#endif

#if defined(VEXACT_PLAIN_THREADS)
#include <atomic>
#include <thread>
#include <vector>
#else
#include <oneapi/tbb/blocked_range.h>
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/info.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/partitioner.h>
#include <oneapi/tbb/task_arena.h>

#include <optional>
#endif

namespace vexact {

#if defined(VEXACT_PLAIN_THREADS)

struct Workers::Impl {
  explicit Impl(int) {}
};

void Workers::ForEach(size_t n, const std::function<void(int, size_t)>& body) {
  std::atomic<size_t> next = 0;
  const auto work = [&](int slot) {
    // relaxed: it only hands out numbers; starting and joining the threads orders everything else.
    for (size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < n;) body(slot, i);
  };
  std::vector<std::jthread> threads;
  for (int slot = 1; slot < threads_ && static_cast<size_t>(slot) < n; ++slot) {
    threads.emplace_back(work, slot);
  }
  work(0);
}

#else

struct Workers::Impl {
  explicit Impl(int threads) : arena(threads) {
    // oneTBB has as many threads as the machine has cores, unless it is told that more are wanted.
    if (threads > tbb::info::default_concurrency()) {
      more_threads.emplace(tbb::global_control::max_allowed_parallelism,
                           static_cast<size_t>(threads));
    }
  }
  std::optional<tbb::global_control> more_threads;
  tbb::task_arena arena;
};

void Workers::ForEach(size_t n, const std::function<void(int, size_t)>& body) {
  // An arena of one thread would have a second slot, for callers that find it busy.
  if (n == 1 || threads_ == 1) {
    for (size_t i = 0; i < n; ++i) body(0, i);
    return;
  }
  impl_->arena.execute([&] {
    // Isolated, so that a thread which waits for the end of this loop does not start on another
    // caller's.
    tbb::this_task_arena::isolate([&] {
      tbb::parallel_for(
          tbb::blocked_range<size_t>(0, n, 1),
          [&](const tbb::blocked_range<size_t>& range) {
            const int slot = tbb::this_task_arena::current_thread_index();
            for (size_t i = range.begin(); i != range.end(); ++i) body(slot, i);
          },
          tbb::simple_partitioner());
    });
  });
}

#endif

Workers::Workers(int threads) : threads_(threads), impl_(std::make_unique<Impl>(threads)) {}
Workers::~Workers() = default;

}  // namespace vexact

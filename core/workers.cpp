#include "core/workers.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>
#include <vector>

namespace vexact {
namespace {

using Clock = std::chrono::steady_clock;

// How long a thread looks for work before it sleeps: longer than a caller on the same machine takes
// to come back with the next search (0.3 ms), because waking threads and processors takes as long.
// It yields while it looks, so that it mostly uses time that nobody else wants.
constexpr std::chrono::microseconds kLookFor(1'000);

// After work that took longer than kBrief waking a thread is nothing, and there are answers to be
// sent by the processor that would look: it looks no longer than the caller takes from one ForEach
// to the next.
constexpr std::chrono::milliseconds kBrief(2);
constexpr std::chrono::microseconds kLookBriefly(50);

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Returns true as soon as `ready()`, false when it was not for so long.
template <typename Ready>
bool LookFor(Clock::duration time, Ready ready) {
  const auto end = Clock::now() + time;
  do {
    for (int i = 0; i < 64; ++i) {
      if (ready()) return true;
      Pause();
    }
    std::this_thread::yield();
  } while (Clock::now() < end);
  return false;
}

}  // namespace

struct Workers::Impl {
  // One call of ForEach; lives on its caller's stack until nobody works on it.
  struct Call {
    Call(size_t end, const std::function<void(int, size_t)>& work) : n(end), body(work) {}
    const size_t n;
    const std::function<void(int, size_t)>& body;
    // relaxed: it only hands out numbers; `helpers` and the mutex order everything else.
    std::atomic<size_t> next = 0;
    // Threads besides the caller that may touch this call. Raised under the mutex while the call is
    // listed, so that none joins once the caller has unlisted it.
    std::atomic<int> helpers = 0;

    bool RunOne(int slot) {
      const size_t index = next.fetch_add(1, std::memory_order_relaxed);
      if (index >= n) return false;
      body(slot, index);
      return true;
    }
  };

  explicit Impl(int threads) {
    for (int slot = 1; slot < threads; ++slot) {
      pool.emplace_back([this, slot] { Work(slot); });
    }
  }

  ~Impl() {
    stop.store(true, std::memory_order_relaxed);
    Announce();
    for (std::thread& thread : pool) thread.join();
  }

  // release: what was listed before is seen by whoever sees the new number.
  void Announce() {
    news.fetch_add(1, std::memory_order_release);
    news.notify_all();
  }

  void Work(int slot) {
    uint32_t seen = 0;
    auto begin = Clock::now();  // of what came without a pause
    while (true) {
      // acquire: pairs with Announce.
      const auto is_new = [&] { return news.load(std::memory_order_acquire) != seen; };
      const bool brief = Clock::now() - begin < kBrief;
      if (!LookFor(kLookBriefly, is_new)) {
        if (!brief || !LookFor(kLookFor, is_new)) news.wait(seen, std::memory_order_acquire);
        begin = Clock::now();
      }
      seen = news.load(std::memory_order_acquire);
      if (stop.load(std::memory_order_relaxed)) return;
      while (Call* call = Join()) {
        // While there are other calls, one index each in turn.
        bool more = call->RunOne(slot);
        while (more && listed.load(std::memory_order_relaxed) == 1) more = call->RunOne(slot);
        Leave(*call);
      }
    }
  }

  // The next listed call that has indices left, or null.
  Call* Join() {
    std::lock_guard lock(mutex);
    for (size_t i = 0; i < calls.size(); ++i) {
      Call* call = calls[turn++ % calls.size()];
      if (call->next.load(std::memory_order_relaxed) >= call->n) continue;
      call->helpers.fetch_add(1, std::memory_order_relaxed);  // ordered by the mutex
      return call;
    }
    return nullptr;
  }

  static void Leave(Call& call) {
    // release: what the bodies wrote, before the caller returns. The last access to the call, save
    // the notification, which only uses its address.
    if (call.helpers.fetch_sub(1, std::memory_order_release) == 1) call.helpers.notify_all();
  }

  void Run(Call& call) {
    const auto begin = Clock::now();
    {
      std::lock_guard lock(mutex);
      calls.push_back(&call);
      listed.store(calls.size(), std::memory_order_relaxed);
    }
    Announce();
    while (call.RunOne(0)) {
    }
    {
      std::lock_guard lock(mutex);
      std::erase(calls, &call);
      listed.store(calls.size(), std::memory_order_relaxed);
    }
    // acquire: pairs with Leave.
    const auto alone = [&] { return call.helpers.load(std::memory_order_acquire) == 0; };
    if (LookFor(Clock::now() - begin < kBrief ? kLookFor : kLookBriefly, alone)) return;
    for (int helpers; (helpers = call.helpers.load(std::memory_order_acquire)) != 0;) {
      call.helpers.wait(helpers, std::memory_order_acquire);
    }
  }

  std::mutex mutex;
  std::vector<Call*> calls;        // guarded by mutex
  size_t turn = 0;                 // guarded by mutex
  std::atomic<size_t> listed = 0;  // calls.size(): a hint
  std::atomic<int> running = 0;    // calls, those that their callers work on alone too: a hint
  std::atomic<uint32_t> news = 0;  // raised whenever there may be work
  std::atomic<bool> stop = false;
  std::vector<std::thread> pool;  // last: it uses the rest
};

Workers::Workers(int threads) : threads_(threads), impl_(std::make_unique<Impl>(threads)) {}
Workers::~Workers() = default;

int Workers::active() const { return impl_->running.load(std::memory_order_relaxed); }

void Workers::ForEach(size_t n, const std::function<void(int, size_t)>& body) {
  impl_->running.fetch_add(1, std::memory_order_relaxed);
  if (n == 1 || threads_ == 1) {
    for (size_t i = 0; i < n; ++i) body(0, i);
  } else {
    Impl::Call call(n, body);
    impl_->Run(call);
  }
  impl_->running.fetch_sub(1, std::memory_order_relaxed);
}

}  // namespace vexact

// Which searches are scanned when, and which of them together.
#pragma once

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "core/collection.h"
#include "core/interrupt.h"
#include "server/metrics.h"
#include "server/request_threads.h"
#include "server/slow_log.h"

namespace vexact::server {

// Searches of one collection form a line. Whatever waits there when a scan ends is scanned next, as
// one batch, where it may be (PreparedSearch::CanShareScan); a search that finds nobody before it
// starts at once, on the thread that brings it where it is short and nothing else is scanned:
// waking another takes as long as a small search. A batch is as large as what came in while the one
// before it ran. Each search gets what it would get alone.
//
// Callers that were answered together come again together, on the processors that would scan by
// then: who comes first would be scanned alone, for nearly what all of them take, while the others
// are read. So after several searches the next slice gathers: it begins when as many wait as
// before, and at the latest after a share of the time that the last one took. Who is alone never
// waits.
//
// A scan is a slice of about 20 ms: it takes the queries of those that wait in their order, and a
// search that has more than its share goes to the end of the line with the rest. So a search of one
// query waits for a slice or two, however large the others are. Lines take turns as well: between
// two slices of one, every other that waits for a thread gets one.
//
// A search whose caller has gone, or whose deadline has passed, is dropped before its scan and
// between slices; a slice ends early when that is so of all that are in it. As many queries wait as
// the limit says; who comes then is refused at once and told when to come again.
//
// Where one thread of gRPC's polls (LonePoller), the answers of a slice are for that thread to
// give: from another each would wake it to see that a call is over. The first one wakes it, and
// whenever a call is over it gives what there is to give.
//
// Thread safety: Submit and GiveAnswers may be called from any thread.
class Scheduler {
 public:
  // Called once, from one of the scheduler's threads or from within Submit.
  using Done = std::function<void(absl::StatusOr<SearchResult>)>;

  struct Search {
    std::shared_ptr<const Collection> collection;
    std::vector<Query> queries;  // what they view stays until `done` is called
    SearchOptions options;
    Interrupt interrupt;
    SlowSearch* trace;  // what is known of the search is filled in before `done` is called
    Done done;
  };

  // `metrics` must outlive it. `max_waiting`: queries that may wait; a search that finds none
  // waiting is never refused for its size. `lone_poller`: who calls `done` of a search calls
  // GiveAnswers when that answer is sent.
  Scheduler(Metrics& metrics, uint64_t max_waiting, bool lone_poller = false);
  // Returns when every search is done.
  ~Scheduler() = default;
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Errors that `done` gets: RESOURCE_EXHAUSTED when too many queries wait, with a hint when to try
  // again (TryLater); Collection::Prepare's and Collection::Scan's.
  void Submit(Search search);

  // Gives the answers that are for gRPC's thread to give: a few milliseconds of work at most.
  void GiveAnswers();

  // What Submit would say of nearly any search: for who would rather know before reading it.
  bool HasRoom() const;
  absl::Status CheckRoom() const;

 private:
  using Clock = std::chrono::steady_clock;

  struct Waiting {
    Search search;
    Clock::time_point since;
    std::optional<PreparedSearch> prepared = std::nullopt;
    size_t next = 0;   // the first query that is not scanned yet
    size_t taken = 0;  // queries from there on that are in the slice
    absl::Status status = absl::OkStatus();

    size_t left() const { return search.queries.size() - next; }
    bool over() const { return left() == 0 || !status.ok(); }
  };
  using Searches = std::vector<std::unique_ptr<Waiting>>;

  struct Line {
    std::deque<std::unique_ptr<Waiting>> waiting;
    uint64_t queries = 0;  // that are not scanned yet
    bool scanning = false;
    // The next slice gathers so many searches, or queries, until then; 0: it begins at once. While
    // nobody waits the collection may be gone: then its address is a name and nothing else.
    size_t gather_searches = 0;
    uint64_t gather_queries = 0;
    Clock::time_point gather_until{};
    // What a query of the last slices took, by engine; 0: not known.
    std::array<double, std::size(kEngineKinds)> seconds{};

    bool gathered() const { return waiting.size() >= gather_searches || queries >= gather_queries; }
  };

  // REQUIRES: mutex_ is held.
  absl::Status Overload(std::string_view and_the_request) const;
  bool IsFull(uint64_t queries) const { return queries_ > 0 && queries_ + queries > max_waiting_; }
  bool IsNearlyFull() const;

  // Whether gRPC's thread may scan a brief search that is alone.
  // REQUIRES: mutex_ is held.
  bool MayKeepPoller();

  // One slice of a collection's line.
  void RunSlice(const Collection* collection);
  // The searches at the front of the line, as many as could go into one slice, and what a query of
  // the first one is expected to take. None when nobody came.
  Searches Take(const Collection* collection, double& seconds);
  // Prepares what is not, and gives those whose caller has gone their status.
  void Prepare(const Searches& searches);
  // Chooses how many queries of which search are in the slice, from the first one on.
  void Divide(const Searches& searches, double seconds);
  // Scans the queries that were chosen, and returns what one took; nothing when there are none.
  std::optional<double> Scan(const Searches& searches);
  // Gives back to the line what is not over, and orders its next slice, if there is to be one.
  // Returns what is over. `seconds` is what a query took.
  Searches Return(const Collection* collection, Searches searches, std::optional<double> seconds);
  // Whom the next slice waits for, after one that left `over` behind.
  // REQUIRES: mutex_ is held.
  void LetGather(Line& line, const Searches& over, double seconds) const;
  void Answer(Searches over);
  // From several threads where there are many, so that their callers do not come back one by one.
  void AnswerFromThreads(Searches over);
  // From the thread that sees the first one sent, or from here where there is none soon.
  void AnswerFromPoller(Searches over);
  static void Give(Searches over);
  // That no other line's slice would keep.
  bool HasFreeThreads() const;

  Metrics& metrics_;
  const uint64_t max_waiting_;
  const bool lone_poller_;
  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable gathered_;
  absl::flat_hash_map<const Collection*, Line> lines_;
  uint64_t queries_ = 0;      // of all lines
  double drain_seconds_ = 0;  // a query, of the last slice of any line
  size_t company_ = 0;        // searches that were in the last slice or waited at its end
  int kept_in_a_row_ = 0;     // searches that the lone poller scanned since that was looked at

  std::mutex answers_mutex_;
  std::vector<Searches> answers_;  // for GiveAnswers; guarded by answers_mutex_

  // Last, so that its tasks end before the rest does.
  RequestThreads threads_;
};

}  // namespace vexact::server

#include "server/scheduler.h"

#include <algorithm>
#include <atomic>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_format.h"
#include "server/call.h"

namespace vexact::server {
namespace {

// Slices of different collections that run at the same time, and share the processors.
constexpr int kScanThreads = 4;

// What a slice should take: long against what it costs to begin one, short for who waits.
constexpr double kSliceSeconds = 0.020;
// A batch gains nothing more from more queries than these.
constexpr size_t kMostQueries = 256;
// Of one search, while others wait for the same slice.
constexpr size_t kMostShare = 32;

// What a component of a row takes before anything is known of a collection: a scan reads a fraction
// of them, the others read all.
constexpr double kScanSeconds = 4e-12;
constexpr double kOtherSeconds = 2e-10;

// What may keep the thread of gRPC's that brings it.
constexpr double kBriefSeconds = 0.001;
// Where it is the only one nobody else is read meanwhile: not while so many come together, which is
// looked at once in so many searches.
constexpr size_t kCompany = 4;
constexpr int kLookEvery = 32;

// Of what a slice took, how long the next one may gather.
constexpr double kGatherShare = 0.5;

// Answers of a slice that one thread gives; one takes some tens of microseconds.
constexpr size_t kAnswersAtOnce = 32;

// Which answers gRPC's thread may give: many that take as long as a small call each, but none that
// holds up what that thread reads meanwhile.
constexpr size_t kSeveral = 4;
constexpr size_t kFewHits = 1'000;
// By when it has begun, or will not.
constexpr std::chrono::milliseconds kPollerComesWithin(1);

// How much of a new measurement goes into the estimate.
constexpr double kNewShare = 0.3;

// What is left of the room when nothing is read any more: this fraction of it. Who has more queries
// than that would be refused anyway, at the price of reading them.
constexpr uint64_t kNearlyFull = 64;

constexpr std::chrono::milliseconds kLeastRetry{1}, kMostRetry{10'000};

// Of a slice: it is over when those of all its searches are.
class JointInterrupt {
 public:
  explicit JointInterrupt(const std::vector<const Interrupt*>& interrupts)
      : going_(interrupts.size()) {
    interrupt_ = {.stop = source_.get_token(), .deadline = absl::InfinitePast()};
    for (const Interrupt* each : interrupts) {
      interrupt_.deadline = std::max(interrupt_.deadline, each->deadline);
      callbacks_.emplace_back(each->stop, [this] {
        // acq_rel: only to count; the source has an order of its own.
        if (going_.fetch_sub(1, std::memory_order_acq_rel) == 1) source_.request_stop();
      });
    }
  }

  const Interrupt& interrupt() const { return interrupt_; }

 private:
  std::atomic<size_t> going_;
  std::stop_source source_;
  Interrupt interrupt_;
  std::deque<std::stop_callback<std::function<void()>>> callbacks_;
};

// Of a query, before one was measured.
double ExpectedSeconds(const Collection& collection, EngineKind engine) {
  const double components =
      static_cast<double>(collection.info().rows) * static_cast<double>(collection.dimension());
  return components * (engine == EngineKind::kScan ? kScanSeconds : kOtherSeconds);
}

}  // namespace

Scheduler::Scheduler(Metrics& metrics, uint64_t max_waiting, bool lone_poller)
    : metrics_(metrics),
      max_waiting_(max_waiting),
      lone_poller_(lone_poller),
      threads_(kScanThreads) {}

void Scheduler::Submit(Search search) {
  const Collection* const collection = search.collection.get();
  const uint64_t queries = search.queries.size();
  const auto now = Clock::now();
  const bool brief = queries == 1 && search.options.engine == EngineKind::kScan &&
                     ExpectedSeconds(*collection, EngineKind::kScan) < kBriefSeconds;
  bool begins = false, here = false;
  {
    std::unique_lock lock(mutex_);
    if (IsFull(queries)) {
      const absl::Status overload = Overload(absl::StrFormat(", and the request has %d", queries));
      lock.unlock();
      metrics_.CountRefusal(Refusal::kQueue);
      return search.done(overload);
    }
    Line& line = lines_[collection];
    search.trace->ahead = line.queries;
    line.waiting.push_back(std::make_unique<Waiting>(Waiting{std::move(search), now}));
    line.queries += queries;
    queries_ += queries;
    begins = !std::exchange(line.scanning, true);
    if (!begins && line.gather_searches > 0 && line.gathered()) gathered_.notify_all();
    here = begins && brief && lines_.size() == 1 && MayKeepPoller();
  }
  metrics_.AddWaiting(static_cast<int64_t>(queries));
  if (here) return RunSlice(collection);
  if (begins) threads_.Run([this, collection] { RunSlice(collection); });
}

bool Scheduler::MayKeepPoller() {
  if (!lone_poller_) return true;
  const bool may = company_ < kCompany && ++kept_in_a_row_ < kLookEvery;
  if (!may) kept_in_a_row_ = 0;
  return may;
}

bool Scheduler::HasRoom() const {
  const std::lock_guard lock(mutex_);
  return !IsNearlyFull();
}

absl::Status Scheduler::CheckRoom() const {
  const std::lock_guard lock(mutex_);
  return IsNearlyFull() ? Overload("") : absl::OkStatus();
}

bool Scheduler::IsNearlyFull() const {
  return IsFull(std::max<uint64_t>(1, max_waiting_ / kNearlyFull));
}

absl::Status Scheduler::Overload(std::string_view and_the_request) const {
  const std::chrono::duration<double> drained(static_cast<double>(queries_) * drain_seconds_);
  const auto retry = std::clamp(std::chrono::duration_cast<std::chrono::milliseconds>(drained),
                                kLeastRetry, kMostRetry);
  return TryLater(absl::StrFormat("%d queries wait already%s; max_waiting_queries is %d", queries_,
                                  and_the_request, max_waiting_),
                  retry);
}

bool Scheduler::HasFreeThreads() const {
  const std::lock_guard lock(mutex_);
  return lines_.size() <= kScanThreads / 2;
}

void Scheduler::RunSlice(const Collection* collection) {
  double seconds = 0;
  Searches searches = Take(collection, seconds);
  if (searches.empty()) return;
  Prepare(searches);
  Divide(searches, seconds);
  const std::optional<double> taken = Scan(searches);
  // The next slice is ordered before the answers of this one are given: where there are processors
  // to spare it begins meanwhile.
  Answer(Return(collection, std::move(searches), taken));
}

void Scheduler::Answer(Searches over) {
  const bool few_hits = std::ranges::all_of(over, [](const auto& each) {
    const Search& search = each->search;
    return !search.trace->with_vectors && search.queries.size() * search.options.k <= kFewHits;
  });
  if (lone_poller_ && few_hits && over.size() >= kSeveral && HasFreeThreads()) {
    AnswerFromPoller(std::move(over));
  } else {
    AnswerFromThreads(std::move(over));
  }
}

void Scheduler::AnswerFromThreads(Searches over) {
  while (over.size() > kAnswersAtOnce && HasFreeThreads()) {
    Searches last;
    for (size_t i = 0; i < kAnswersAtOnce; ++i) {
      last.push_back(std::move(over.back()));
      over.pop_back();
    }
    threads_.Run([last = std::make_shared<Searches>(std::move(last))] { Give(std::move(*last)); });
  }
  Give(std::move(over));
}

void Scheduler::AnswerFromPoller(Searches over) {
  Searches first;
  first.push_back(std::move(over.back()));
  over.pop_back();
  {
    const std::lock_guard lock(answers_mutex_);
    answers_.push_back(std::move(over));
  }
  Give(std::move(first));
  // A client that does not read leaves its answer unsent, for as long as it likes.
  std::this_thread::sleep_for(kPollerComesWithin);
  GiveAnswers();
}

void Scheduler::GiveAnswers() {
  if (!lone_poller_) return;
  std::vector<Searches> answers;
  {
    const std::lock_guard lock(answers_mutex_);
    answers.swap(answers_);
  }
  for (Searches& over : answers) Give(std::move(over));
}

void Scheduler::Give(Searches over) {
  for (const auto& each : over) {
    if (each->status.ok()) {
      each->search.done(std::move(*each->prepared).Take());
    } else {
      each->search.done(each->status);
    }
  }
}

Scheduler::Searches Scheduler::Take(const Collection* collection, double& seconds) {
  std::unique_lock lock(mutex_);
  // Looked up each time: others may have moved it.
  if (const Line& line = lines_.at(collection); line.gather_searches > 0) {
    gathered_.wait_until(lock, line.gather_until, [&] { return lines_.at(collection).gathered(); });
  }
  Line& line = lines_.at(collection);
  line.gather_searches = 0;
  Searches taken;
  if (line.waiting.empty()) {
    lines_.erase(collection);
    return taken;
  }
  for (size_t queries = 0; !line.waiting.empty() && queries < kMostQueries;) {
    queries += std::min(line.waiting.front()->left(), kMostShare);
    taken.push_back(std::move(line.waiting.front()));
    line.waiting.pop_front();
  }
  const EngineKind engine = taken.front()->search.options.engine;
  seconds = line.seconds[static_cast<size_t>(engine)];
  return taken;
}

void Scheduler::Prepare(const Searches& searches) {
  for (const auto& each : searches) {
    const Search& search = each->search;
    each->status = search.interrupt.Check();
    if (!each->status.ok() || each->prepared) continue;
    each->status = RunGuarded([&] {
      auto prepared = search.collection->Prepare(search.queries, search.options);
      if (prepared.ok()) each->prepared = *std::move(prepared);
      return prepared.status();
    });
  }
}

void Scheduler::Divide(const Searches& searches, double seconds) {
  std::vector<Waiting*> together;
  for (const auto& each : searches) {
    each->taken = 0;
    if (!each->status.ok()) continue;
    if (together.empty() || each->prepared->CanShareScan(*together.front()->prepared)) {
      together.push_back(each.get());
    }
  }
  if (together.empty()) return;
  const Waiting& first = *together.front();
  if (seconds == 0) {
    seconds = ExpectedSeconds(*first.search.collection, first.search.options.engine);
  }
  auto budget = static_cast<size_t>(
      std::clamp<double>(kSliceSeconds / seconds, 1, static_cast<double>(kMostQueries)));
  // In their order, so that what is small is done at once; what that leaves to those that have
  // more.
  for (Waiting* each : together) {
    each->taken = std::min({each->left(), kMostShare, budget});
    budget -= each->taken;
  }
  for (Waiting* each : together) {
    const size_t more = std::min(each->left() - each->taken, budget);
    each->taken += more;
    budget -= more;
  }
}

std::optional<double> Scheduler::Scan(const Searches& searches) {
  std::vector<SearchPart> parts;
  std::vector<Waiting*> members;
  std::vector<const Interrupt*> interrupts;
  uint64_t queries = 0;
  const auto begin = Clock::now();
  for (const auto& each : searches) {
    if (each->taken == 0) continue;
    if (each->next == 0) {
      each->search.trace->wait = begin - each->since;
      metrics_.ObserveWait(begin - each->since);
    }
    parts.push_back({&*each->prepared, each->next, each->next + each->taken});
    members.push_back(each.get());
    interrupts.push_back(&each->search.interrupt);
    queries += each->taken;
  }
  if (parts.empty()) return std::nullopt;
  const Collection& collection = *members.front()->search.collection;
  const JointInterrupt joint(interrupts);
  const absl::Status status = RunGuarded([&] { return collection.Scan(parts, joint.interrupt()); });
  const Clock::duration time = Clock::now() - begin;
  metrics_.ObserveScan(queries, time);
  for (Waiting* each : members) {
    each->search.trace->scan += time;
    each->search.trace->scanned_queries += queries;
    each->next += each->taken;
    each->status = status;
  }
  return std::chrono::duration<double>(time).count() / static_cast<double>(queries);
}

Scheduler::Searches Scheduler::Return(const Collection* collection, Searches searches,
                                      std::optional<double> seconds) {
  Searches over;
  uint64_t done = 0;  // queries that wait no longer
  {
    const std::lock_guard lock(mutex_);
    Line& line = lines_.at(collection);
    company_ = searches.size() + line.waiting.size();
    if (seconds) {
      const auto first = std::ranges::find_if(searches, [](const auto& s) { return s->taken > 0; });
      double& known = line.seconds[static_cast<size_t>((*first)->search.options.engine)];
      known = known == 0 ? *seconds : known + kNewShare * (*seconds - known);
      drain_seconds_ = *seconds;
    }
    // Backwards, because those that were left out go to the front again, in their order.
    std::deque<std::unique_ptr<Waiting>> rest;
    for (auto each = searches.rbegin(); each != searches.rend(); ++each) {
      done += (*each)->taken + ((*each)->status.ok() ? 0 : (*each)->left());
      if ((*each)->over()) {
        over.push_back(std::move(*each));
      } else if ((*each)->taken > 0) {
        rest.push_front(std::move(*each));
      } else {
        line.waiting.push_front(std::move(*each));
      }
    }
    for (auto& each : rest) line.waiting.push_back(std::move(each));
    line.queries -= done;
    queries_ -= done;
    if (seconds && over.size() >= kCompany && lines_.size() == 1) LetGather(line, over, *seconds);
    if (line.waiting.empty() && line.gather_searches == 0) {
      lines_.erase(collection);
    } else {
      threads_.Run([this, collection] { RunSlice(collection); });
    }
  }
  metrics_.AddWaiting(-static_cast<int64_t>(done));
  std::ranges::reverse(over);
  return over;
}

void Scheduler::LetGather(Line& line, const Searches& over, double seconds) const {
  size_t queries = 0;
  for (const auto& each : over) queries += each->taken;
  const std::chrono::duration<double> limit(
      std::min(kSliceSeconds, seconds * static_cast<double>(queries)) * kGatherShare);
  line.gather_searches = over.size() + line.waiting.size();
  line.gather_queries = static_cast<uint64_t>(std::max(1.0, kSliceSeconds / seconds));
  line.gather_until = Clock::now() + std::chrono::duration_cast<Clock::duration>(limit);
}

}  // namespace vexact::server

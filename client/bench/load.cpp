#include "client/bench/load.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "client/command/interruption.h"

namespace vexact::client {
namespace {

// How long answers are waited for after the end.
constexpr int64_t kPatience = 10'000'000'000;
// The longest time between two looks at the clock; in the closed loop, how long a client waits
// after a failure, so that one that is refused at once does not do nothing but ask.
constexpr int64_t kTick = 10'000'000;

// One thread takes the answers of some connections, and none else: threads that wait for the same
// answers wake one another for each. It takes some ten thousands a second.
constexpr unsigned kProcessorsAThread = 2;

const std::string& MethodOf(bool upsert) {
  static const std::string search = "/vexact.v1.Search/Search";
  static const std::string upsert_method = "/vexact.v1.Points/Upsert";
  return upsert ? upsert_method : search;
}

int64_t Now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

void SleepUntil(int64_t time) {
  std::this_thread::sleep_until(
      std::chrono::steady_clock::time_point(std::chrono::nanoseconds(time)));
}

}  // namespace

Load::Load(const LoadOptions& options, const Workload& workload,
           const std::vector<std::unique_ptr<Connection>>& connections)
    : options_(options), workload_(workload) {
  const size_t threads = std::min<size_t>(
      connections.size(), std::max(1U, std::thread::hardware_concurrency() / kProcessorsAThread));
  for (size_t i = 0; i < threads; ++i) {
    queues_.push_back(std::make_unique<grpc::CompletionQueue>());
  }
  for (uint32_t i = 0; i < options.clients; ++i) {
    auto caller = std::make_unique<Caller>();
    const size_t connection = i % connections.size();
    caller->connection = connections[connection].get();
    caller->answers = queues_[connection % threads].get();
    caller->stub = std::make_unique<grpc::GenericStub>(caller->connection->channel());
    callers_.push_back(std::move(caller));
  }
}

bool Load::IsMeasured(int64_t time) const {
  return time >= begin_ && time < end_.load(std::memory_order_relaxed);
}

void Load::Run(const std::function<void(absl::Duration)>& progress) {
  const int64_t start = Now();
  begin_ = start + absl::ToInt64Nanoseconds(options_.warmup);
  end_ = begin_ + absl::ToInt64Nanoseconds(options_.duration);
  next_due_ = start;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& caller : callers_) idle_.push_back(caller.get());
  }
  std::vector<std::jthread> threads;
  for (const auto& queue : queues_) {
    threads.emplace_back([this, answers = queue.get()] { TakeAnswers(*answers); });
  }
  int64_t now = start;
  for (; now < end_ && !Interrupted(); now = Now()) {
    SendDue(now);
    progress(absl::Nanoseconds(now - begin_));
    const bool open = options_.rate > 0;
    SleepUntil(std::min(open ? std::min(next_due_, now + kTick) : now + kTick, end_.load()));
  }
  if (now < end_) {
    end_ = now;
    CancelAll();
  }
  AwaitAnswers();
  for (const auto& queue : queues_) queue->Shutdown();
  measured_.seconds = std::max(absl::ToDoubleSeconds(absl::Nanoseconds(end_ - begin_)), 0.0);
}

// Open loop: everything whose time has come. Closed loop: whoever has nothing in flight.
void Load::SendDue(int64_t now) {
  const bool open = options_.rate > 0;
  while (!open || next_due_ <= now) {
    Caller* caller = nullptr;
    {
      absl::MutexLock lock(&mutex_);
      if (!idle_.empty()) {
        caller = idle_.back();
        idle_.pop_back();
      }
    }
    if (!open && caller == nullptr) return;
    const int64_t due = open ? next_due_ : now;
    if (open) next_due_ += NextGap();
    if (caller != nullptr) {
      Send(*caller, due);
    } else if (IsMeasured(due)) {
      measured_.not_sent.fetch_add(1, std::memory_order_relaxed);
    }
  }
}

int64_t Load::NextGap() {
  const double mean = 1e9 / options_.rate;
  if (options_.arrivals == Arrivals::kEven) return std::max<int64_t>(std::llround(mean), 1);
  return std::max<int64_t>(std::llround(std::exponential_distribution(1 / mean)(random_)), 1);
}

void Load::Send(Caller& caller, int64_t due) {
  caller.due = due;
  caller.upsert = workload_.IsUpsert(requests_.fetch_add(1, std::memory_order_relaxed));
  caller.request = caller.upsert
                       ? &workload_.upsert(upserts_.fetch_add(1, std::memory_order_relaxed))
                       : &workload_.search(searches_.fetch_add(1, std::memory_order_relaxed));
  if (options_.rate > 0 && IsMeasured(due)) measured_.lateness.Record(Now() - due);
  absl::MutexLock lock(&caller.mutex);
  caller.call.reset();
  grpc::ClientContext& context = caller.context.emplace();
  caller.connection->Prepare(DeadlineAfter(options_.timeout), &context);
  caller.call = caller.stub->PrepareUnaryCall(&context, MethodOf(caller.upsert),
                                              caller.request->bytes, caller.answers);
  caller.call->StartCall();
  caller.call->Finish(&caller.answer, &caller.status, &caller);
  // Cancelled by the others' rule: a request that was about to be sent when they all were.
  if (cancelled_) context.TryCancel();
}

void Load::TakeAnswers(grpc::CompletionQueue& answers) {
  void* tag = nullptr;
  bool ok = false;  // of no meaning here: what became of a call is in its status
  while (answers.Next(&tag, &ok)) Finish(*static_cast<Caller*>(tag));
}

void Load::Finish(Caller& caller) {
  const int64_t now = Now();
  Take(caller, now);
  caller.answer.Clear();
  const bool goes_on = options_.rate == 0 && caller.status.ok() && now < end_ && !cancelled_;
  if (goes_on) {
    Send(caller, now);
    return;
  }
  absl::MutexLock lock(&mutex_);
  idle_.push_back(&caller);
}

void Load::Take(const Caller& caller, int64_t now) {
  const grpc::Status& status = caller.status;
  Answers& answers = caller.upsert ? measured_.upserts : measured_.searches;
  if (status.ok() && IsMeasured(now)) answers.in_time.fetch_add(1, std::memory_order_relaxed);
  if (!IsMeasured(caller.due)) return;
  if (status.ok()) {
    answers.latency.Record(now - caller.due);
    if (workload_.golden() && !caller.upsert) CheckAnswer(caller);
    return;
  }
  if (cancelled_ && status.error_code() == grpc::StatusCode::CANCELLED) {
    measured_.unanswered.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  if (status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED) {
    measured_.refused.Record(now - caller.due);
  }
  CountFailure(caller.connection->ToAbsl(status));
}

void Load::CheckAnswer(const Caller& caller) {
  std::vector<grpc::Slice> slices;
  std::string bytes;
  v1::SearchResponse response;
  if (caller.answer.Dump(&slices).ok()) {
    for (const grpc::Slice& slice : slices) {
      bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
    }
  }
  // What cannot be read has found nothing.
  if (!response.ParseFromString(bytes)) response.Clear();
  measured_.hits_expected.fetch_add(workload_.hits_expected(), std::memory_order_relaxed);
  measured_.hits_found.fetch_add(workload_.Found(*caller.request, response),
                                 std::memory_order_relaxed);
}

void Load::CountFailure(const absl::Status& status) {
  absl::MutexLock lock(&mutex_);
  Failures& failures = measured_.failures[status.code()];
  if (failures.count++ == 0) failures.message = std::string(status.message());
}

void Load::AwaitAnswers() {
  const auto all_idle = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return idle_.size() == callers_.size();
  };
  while (true) {
    {
      absl::MutexLock lock(&mutex_);
      if (mutex_.AwaitWithTimeout(absl::Condition(&all_idle), absl::Nanoseconds(kTick))) return;
    }
    if (Interrupted() || Now() > end_ + kPatience) CancelAll();
  }
}

void Load::CancelAll() {
  if (cancelled_.exchange(true)) return;
  for (const auto& caller : callers_) {
    absl::MutexLock lock(&caller->mutex);
    if (caller->context) caller->context->TryCancel();
  }
}

}  // namespace vexact::client

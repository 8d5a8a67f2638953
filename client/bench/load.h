// Sends a workload's requests at a server and measures the answers.
//
// Closed loop: `clients` requests are always in flight, each answer followed by the next request.
// Open loop: requests have times of their own to be sent, whatever the answers do, and a latency
// counts from that time, not from when the request could be sent: a server that stalls is charged
// for all the requests that had to wait meanwhile (no "coordinated omission").
//
// Measured are the requests whose time to be sent is after the warm-up and before the end. The
// throughput counts the answers that came within the same time.
#pragma once

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "client/bench/latency_histogram.h"
#include "client/bench/workload.h"
#include "client/library/connection.h"

namespace vexact::client {

enum class Arrivals {
  kPoisson,  // as many independent users make them
  kEven,     // one after the other, always as far apart
};

struct LoadOptions {
  uint32_t clients = 1;  // requests in flight: so many; in the open loop at most
  double rate = 0;       // requests a second; 0: closed loop
  Arrivals arrivals = Arrivals::kPoisson;
  absl::Duration warmup = absl::ZeroDuration();
  absl::Duration duration = absl::Seconds(10);
  absl::Duration timeout = absl::InfiniteDuration();  // of each request
};

// Answers of one kind.
struct Answers {
  LatencyHistogram latency;           // of the requests that were measured
  std::atomic<uint64_t> in_time = 0;  // answers that came within the measured time
};

struct Failures {
  uint64_t count = 0;
  std::string message;  // of the first
};

// What was measured so far; safe to read from any thread while the load runs, but for `failures`.
struct Measured {
  Answers searches;
  Answers upserts;
  LatencyHistogram refused;              // how long RESOURCE_EXHAUSTED took, which is no answer
  LatencyHistogram lateness;             // open loop: how much after its time a request was sent
  std::atomic<uint64_t> not_sent = 0;    // open loop: too many were in flight already
  std::atomic<uint64_t> unanswered = 0;  // cancelled, because no answer came until after the end
  std::atomic<uint64_t> hits_expected = 0, hits_found = 0;  // with golden answers
  std::map<absl::StatusCode, Failures> failures;
  double seconds = 0;  // of the measured time
};

class Load {
 public:
  // Requests are spread evenly over the connections. REQUIRES: at least one, all reachable; they
  // and the workload outlive the load.
  Load(const LoadOptions& options, const Workload& workload,
       const std::vector<std::unique_ptr<Connection>>& connections);

  // Runs to the end or until Interrupted(), and calls `progress` some times a second with the time
  // since the measured time began (negative: warming up). To be called once.
  void Run(const std::function<void(absl::Duration)>& progress);

  const Measured& measured() const { return measured_; }

 private:
  // One request in flight, or the room for it.
  struct Caller {
    const Connection* connection;
    grpc::CompletionQueue* answers;  // where its answers come
    std::unique_ptr<grpc::GenericStub> stub;
    const BenchRequest* request = nullptr;
    bool upsert = false;
    int64_t due = 0;  // when it was to be sent
    grpc::ByteBuffer answer;
    grpc::Status status;
    absl::Mutex mutex;  // of the context, which is made anew for each request, and of its call
    std::optional<grpc::ClientContext> context ABSL_GUARDED_BY(mutex);
    std::unique_ptr<grpc::ClientAsyncResponseReader<grpc::ByteBuffer>> call ABSL_GUARDED_BY(mutex);
  };

  void SendDue(int64_t now);
  void Send(Caller& caller, int64_t due);
  // Takes answers as they come, until the queue is shut down.
  void TakeAnswers(grpc::CompletionQueue& answers);
  void Finish(Caller& caller);
  void Take(const Caller& caller, int64_t now);
  void CheckAnswer(const Caller& caller);
  void CountFailure(const absl::Status& status);
  int64_t NextGap();
  void AwaitAnswers();
  void CancelAll();
  bool IsMeasured(int64_t time) const;

  const LoadOptions options_;
  const Workload& workload_;
  std::vector<std::unique_ptr<grpc::CompletionQueue>> queues_;
  std::vector<std::unique_ptr<Caller>> callers_;
  Measured measured_;

  // All in nanoseconds of the steady clock.
  int64_t begin_ = 0;  // of the measured time
  std::atomic<int64_t> end_ = 0;
  int64_t next_due_ = 0;  // open loop: of the next request
  std::mt19937_64 random_{std::random_device{}()};

  std::atomic<uint64_t> requests_ = 0, searches_ = 0, upserts_ = 0;  // made so far
  std::atomic<bool> cancelled_ = false;
  absl::Mutex mutex_;
  // Callers without a request: in the open loop for the next one, in the closed loop those whose
  // last request failed, until they try again.
  std::vector<Caller*> idle_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace vexact::client

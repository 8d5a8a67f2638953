#include "server/upsert.h"

#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "server/call.h"
#include "server/convert.h"

namespace vexact::server {
namespace {

constexpr std::string_view kMethod = "Points/BulkUpsert";

// What a stream may have here and not yet under way, but for one request that is larger.
constexpr uint64_t kReadAheadBytes = kGroupBytes;
constexpr size_t kReadAheadRequests = 64;
// What of that is applied together, but for the rest of its last request: one group of the store.
constexpr uint64_t kTogetherBytes = kGroupBytes / 4 * 3;

// Whether so many rows may be added; a refusal is counted.
absl::Status AdmitRows(ServiceContext& context, const Collection& collection, uint64_t rows) {
  absl::Status status = context.memory_quota.Admit(context.catalog(), rows, collection.dimension());
  if (!status.ok()) context.metrics.CountRefusal(Refusal::kMemory);
  return status;
}

// A request that has been parsed; what it refers to stays where it is.
class ParsedUpsert {
 public:
  absl::Status Parse(const Caller& caller, const grpc::ByteBuffer& bytes) {
    return server::Parse(caller, bytes, request_);
  }

  // After Parse. What it gives views this.
  absl::StatusOr<CheckedPoints> Check(const Collection& collection) {
    auto points = ReadPoints(request_, collection, floats_);
    if (!points.ok()) return points.status();
    points_ = *std::move(points);
    return collection.Check(points_);
  }

  const std::string& collection() const { return request_.collection(); }

 private:
  google::protobuf::Arena arena_;
  v1::UpsertRequest& request_ = *google::protobuf::Arena::CreateMessage<v1::UpsertRequest>(&arena_);
  FloatViews floats_;
  std::vector<PointView> points_;
};

// What of a stream is applied together.
struct Batch {
  // What follows one another for the same collection.
  struct Run {
    std::shared_ptr<Collection> collection;
    std::vector<std::unique_ptr<ParsedUpsert>> requests;  // what points views
    std::vector<CheckedPoints> points;
  };

  RequestTrace::Clock::time_point arrival = {};
  std::vector<Run> runs = {};
  absl::Status refused;  // the request behind them, which the stream ends with
};

// One stream. It reads ahead; what has come is parsed and checked on a request thread, while what
// came before it is applied, together, so that it becomes durable together, on another. Owns
// itself, like a unary call.
class BulkUpsert final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  BulkUpsert(ServiceContext& context, grpc::CallbackServerContext& call)
      : context_(context), call_(call), trace_(context, call, kMethod), interrupt_(call) {}

  void Start() {
    std::unique_lock lock(mutex_);
    Admit(&Access::Admit);
    if (status_.ok()) CheckServing();
    Continue(std::move(lock));
  }

 private:
  using Requests = std::deque<grpc::ByteBuffer>;

  // Does whatever is to be done next; called, with the mutex held, after every change. (gRPC never
  // calls back from within a call of ours.)
  void Continue(std::unique_lock<std::mutex> lock) {
    if (finished_) return;
    StartApply();
    StartCheck();
    if (!status_.ok()) checked_.reset();
    const bool under_way = checking_ || applying_ || writing_;
    const bool ends = !status_.ok() || (read_ended_ && arrived_.empty() && !checked_);
    if (ends && !under_way && answers_.empty()) {
      finished_ = true;
      lock.unlock();
      return End();
    }
    if (!writing_ && !answers_.empty()) {
      writing_ = true;
      StartWrite(&answers_.front());
    }
    if (status_.ok() && !reading_ && !read_ended_ && arrived_bytes_ < kReadAheadBytes &&
        arrived_.size() < kReadAheadRequests) {
      reading_ = true;
      StartRead(&incoming_);
    }
  }

  void StartApply() {
    if (!status_.ok() || applying_ || !checked_) return;
    applying_ = true;
    batch_ = *std::exchange(checked_, std::nullopt);
    context_.threads.Run([this] { Apply(); });
  }

  void StartCheck() {
    if (!status_.ok() || checking_ || checked_ || refused_ || arrived_.empty()) return;
    Admit(&Access::AdmitAgain);
    if (status_.ok()) Enter();
    if (!status_.ok()) return;
    checking_ = true;
    taken_ = Take();
    context_.threads.Run([this] { Check(); });
  }

  // What is to be applied together. Not all there is: meanwhile, what is left keeps the client's
  // window open.
  Requests Take() {
    Requests taken;
    uint64_t bytes = 0;
    while (!arrived_.empty() && bytes < kTogetherBytes) {
      bytes += arrived_.front().Length();
      taken.push_back(std::move(arrived_.front()));
      arrived_.pop_front();
    }
    arrived_bytes_ -= bytes;
    return taken;
  }

  // For whatever is begun anew: a stream may be open when its key is revoked.
  void Admit(decltype(&Access::Admit) how) {
    absl::StatusOr<Caller> caller =
        (context_.access.*how)(call_, Permission<v1::UpsertRequest>::kRole, kMethod);
    status_ = caller.status();
    if (caller.ok()) caller_ = *std::move(caller);
  }

  // The stream stays inside until nothing is left to apply or to answer.
  void Enter() {
    if (ticket_) return;
    absl::StatusOr<Admission::Ticket> ticket = context_.admission.Enter(arrived_bytes_);
    if (!ticket.ok()) return Refuse(ticket.status());
    ticket_ = *std::move(ticket);
  }

  void CheckServing() {
    if (absl::Status status = context_.admission.status(); !status.ok()) Refuse(status);
  }

  void Refuse(const absl::Status& status) {
    CountRefusal(context_.metrics, status);
    status_ = status;
  }

  void Check() {
    Batch batch;
    batch.arrival = RequestTrace::Clock::now();
    batch.refused = RunGuarded([&] { return CheckAll(batch); });
    taken_.clear();
    std::unique_lock lock(mutex_);
    refused_ = !batch.refused.ok();
    checked_ = std::move(batch);
    checking_ = false;
    Continue(std::move(lock));
  }

  absl::Status CheckAll(Batch& batch) {
    for (; !taken_.empty(); taken_.pop_front()) {
      if (absl::Status status = interrupt_->Check(); !status.ok()) return status;
      auto parsed = std::make_unique<ParsedUpsert>();
      absl::Status status = parsed->Parse(*caller_, taken_.front());
      if (status.ok()) status = AddTo(batch, std::move(parsed));
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  absl::Status AddTo(Batch& batch, std::unique_ptr<ParsedUpsert> parsed) const {
    Batch::Run next;
    const bool follows = !batch.runs.empty() &&
                         batch.runs.back().requests.front()->collection() == parsed->collection();
    if (!follows) {
      auto collection = context_.catalog().Get(parsed->collection());
      if (!collection.ok()) return collection.status();
      next.collection = *std::move(collection);
    }
    auto points = parsed->Check(follows ? *batch.runs.back().collection : *next.collection);
    if (!points.ok()) return points.status();
    Batch::Run& run = follows ? batch.runs.back() : batch.runs.emplace_back(std::move(next));
    run.requests.push_back(std::move(parsed));
    run.points.push_back(*std::move(points));
    return absl::OkStatus();
  }

  void Apply() {
    Requests answers;
    trace_.Arrive(batch_.arrival);
    trace_.Begin();
    const absl::Status status = RunGuarded([&] { return ApplyAll(answers); });
    batch_ = {};
    const bool storage_fails = context_.storage.Watch();
    trace_.Answered();
    std::unique_lock lock(mutex_);
    storage_fails_ = storage_fails;
    answers_.insert(answers_.end(), answers.begin(), answers.end());
    if (status_.ok()) status_ = status;
    // What has come meanwhile is not begun once the server is stopping: the client repeats it.
    if (status_.ok()) CheckServing();
    applying_ = false;
    Continue(std::move(lock));
  }

  absl::Status ApplyAll(Requests& answers) {
    for (const Batch::Run& run : batch_.runs) {
      if (absl::Status status = ApplyRun(run, answers); !status.ok()) return status;
    }
    return batch_.refused.ok() ? batch_.refused : Numbered(batch_.refused);
  }

  // Adds the answer to each request that was applied.
  absl::Status ApplyRun(const Batch::Run& run, Requests& answers) {
    const Collection& collection = *run.collection;
    absl::Status refused;
    size_t admitted = 0, rows = 0;
    for (const CheckedPoints& points : run.points) {
      refused = AdmitRows(context_, collection, points.size());
      if (!refused.ok()) break;
      ++admitted;
      rows += points.size();
    }
    trace_.write() = {.collection = collection.name(), .rows = rows};
    if (admitted == 0) return Numbered(refused);  // a run has a request
    for (const auto& result :
         run.collection->UpsertInOrder(std::span(run.points).first(admitted))) {
      if (!result.ok()) return Numbered(result.status());
      v1::BulkUpsertResponse response;
      Fill(*result, *response.mutable_result());
      response.set_acknowledged(applied_ + 1);
      absl::Status status = Serialize(context_.config, response, answers.emplace_back());
      if (!status.ok()) return Numbered(status);
      ++applied_;
    }
    return refused.ok() ? refused : Numbered(refused);
  }

  // Of the first request that is not applied.
  absl::Status Numbered(const absl::Status& status) const {
    return Prefixed(absl::StrFormat("request %d of the stream", applied_ + 1), status);
  }

  void OnReadDone(bool ok) override {
    std::unique_lock lock(mutex_);
    reading_ = false;
    if (ok) {
      arrived_bytes_ += incoming_.Length();
      arrived_.push_back(std::exchange(incoming_, {}));
    } else {
      read_ended_ = true;
      if (call_.IsCancelled() && status_.ok()) Break("while it waited for a request");
    }
    Continue(std::move(lock));
  }

  void OnWriteDone(bool ok) override {
    std::unique_lock lock(mutex_);
    writing_ = false;
    if (ok) {
      ++acknowledged_;
      answers_.pop_front();
    } else {
      answers_.clear();
      if (status_.ok()) Break("before a request could be acknowledged");
    }
    const bool idle = !checking_ && !checked_ && !applying_ && arrived_.empty();
    if (idle && answers_.empty()) ticket_.reset();
    Continue(std::move(lock));
  }

  // The end by the client; what is under way still counts.
  void Break(std::string_view when) {
    broken_ = when;
    status_ = absl::CancelledError();
  }

  // The last act, once nothing but a read is under way, which gRPC ends: it may have destroyed this
  // when Finish returns.
  void End() {
    if (!broken_.empty()) {
      status_ = absl::CancelledError(absl::StrFormat(
          "the stream ended %s; %d requests were acknowledged", broken_, acknowledged_));
    }
    ticket_.reset();
    trace_.End(status_, storage_fails_);
    Finish(ToGrpc(status_, caller_));
  }

  void OnCancel() override { interrupt_.Cancel(); }
  void OnDone() override { delete this; }

  ServiceContext& context_;
  const grpc::CallbackServerContext& call_;
  RequestTrace trace_;
  std::optional<Caller> caller_;  // of what is checked
  CallInterrupt interrupt_;
  Requests taken_;        // while checking_: Check's
  Batch batch_;           // while applying_: Apply's
  uint64_t applied_ = 0;  // requests; Apply's as well

  std::mutex mutex_;  // guards what follows
  bool reading_ = false, read_ended_ = false, checking_ = false, applying_ = false,
       writing_ = false, finished_ = false;
  grpc::ByteBuffer incoming_;  // while reading_: gRPC's
  Requests arrived_;
  uint64_t arrived_bytes_ = 0;
  std::optional<Batch> checked_;
  bool refused_ = false;  // what was checked last ends the stream
  Requests answers_;      // while writing_: the first is gRPC's
  uint64_t acknowledged_ = 0;
  Admission::Ticket ticket_;
  absl::Status status_;  // that the stream ends with
  std::string_view broken_;
  bool storage_fails_ = false;
};

}  // namespace

absl::Status ApplyUpsert(ServiceContext& context, const v1::UpsertRequest& request,
                         RequestTrace& trace, v1::UpsertResponse& response) {
  const auto collection = context.catalog().Get(request.collection());
  if (!collection.ok()) return collection.status();
  FloatViews floats;
  const auto points = ReadPoints(request, **collection, floats);
  if (!points.ok()) return points.status();
  trace.write() = {.collection = (*collection)->name(), .rows = points->size()};
  if (absl::Status status = AdmitRows(context, **collection, points->size()); !status.ok()) {
    return status;
  }
  const auto result = (*collection)->Upsert(*points);
  if (!result.ok()) return result.status();
  Fill(*result, response);
  return absl::OkStatus();
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* StartBulkUpsert(
    ServiceContext& context, grpc::CallbackServerContext* call) {
  auto* reactor = new BulkUpsert(context, *call);
  reactor->Start();
  return reactor;
}

}  // namespace vexact::server

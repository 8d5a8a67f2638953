#include "tests/crash/actor.h"

#include <algorithm>
#include <bit>
#include <iostream>
#include <limits>
#include <thread>
#include <utility>

#include "tests/crash/text.h"

namespace vexact::crash {
namespace {

// Of a stream: with large blocks more than what the server applies together.
constexpr size_t kWindow = 8;
// With the pause after each, some times as long as a server needs to notice that there is room
// again.
constexpr int kMaxRefusals = 200;

const std::string& NameOf(const Operation& operation) {
  return Plans()[operation.collection].spec.name;
}

template <typename T>
absl::StatusOr<uint64_t> SequenceOf(const absl::StatusOr<T>& answer) {
  if (!answer.ok()) return answer.status();
  return answer->sequence;
}

// Of what is no write to a collection.
template <typename T>
absl::StatusOr<uint64_t> Sequenceless(const absl::StatusOr<T>& answer) {
  if (!answer.ok()) return answer.status();
  return 0;
}

// There may be none.
absl::StatusOr<uint64_t> DropRestored(const client::Client& client) {
  const auto dropped = client.DeleteCollection(kRestored, {.timeout = kPatience});
  if (absl::IsNotFound(dropped.status())) return 0;
  return Sequenceless(dropped);
}

}  // namespace

Session::Session(const WriteOptions& options_given)
    : options(options_given), world(options.seed), client(options.address) {}

void Session::Say(std::string_view word) {
  std::lock_guard lock(mutex);
  std::cout << word << std::endl;  // at once: somebody waits for it
}

void Session::Fail(std::string_view who, std::string_view what) {
  failed = true;
  std::lock_guard lock(mutex);
  std::cerr << "WRONG ANSWER " << who << ": " << what << '\n';
}

Actor::Actor(Session& session, uint32_t number)
    : session_(session),
      number_(number),
      history_(History::Read(LogPath(session.options.logs, number))),
      shadow_(number, history_),
      next_(history_.entries.size() + 1),
      log_(LogPath(session.options.logs, number)),
      random_(Mix({session.options.seed, session.options.run, number})) {}

void Actor::Pause(std::chrono::milliseconds time) const { std::this_thread::sleep_for(time); }

bool Actor::Carry(Operation operation) {
  Begin(operation);
  const absl::StatusOr<uint64_t> sequence = Send(operation);
  if (!sequence.ok()) return Failed(sequence.status(), {&operation, 1});
  Done(operation, *sequence);
  return !session_.stop;
}

bool Actor::CarryBulk(std::vector<Operation> operations) {
  client::BulkWriter writer = session_.client.BulkUpsert(
      NameOf(operations.front()), {.window = kWindow, .reconnects = 0, .timeout = kPatience});
  size_t begun = 0, done = 0;
  const auto note = [&] {
    const client::BulkProgress& progress = writer.acknowledged();
    for (; done < progress.requests; ++done) {
      Done(operations[done], done + 1 == progress.requests ? progress.sequence : 0);
    }
  };
  absl::Status status;
  for (; begun < operations.size() && status.ok(); ++begun) {
    Begin(operations[begun]);
    status = writer.Write(Block(operations[begun]));
    note();
  }
  status = writer.Finish().status();
  note();
  if (status.ok()) return !session_.stop;
  // With nothing left to answer, the stream's end is that of its last write.
  const size_t unanswered = std::min(done, begun - 1);
  return Failed(status, std::span(operations).subspan(unanswered, begun - unanswered));
}

bool Actor::BeRefused(Operation operation) {
  Begin(operation);
  std::vector<client::Point> points = Points(operation);
  points.back().vector.back() = std::numeric_limits<float>::quiet_NaN();
  const auto answer = session_.client.Upsert(NameOf(operation), points, {.timeout = kPatience});
  if (answer.ok()) return Unexpected(operation, "a vector that is not finite was accepted");
  if (!absl::IsInvalidArgument(answer.status())) return Failed(answer.status(), {&operation, 1});
  log_.Refused(operation.number, absl::StatusCodeToString(answer.status().code()));
  return true;
}

bool Actor::RepeatLast() {
  if (history_.entries.empty()) return true;
  const Entry& last = history_.entries.back();
  const bool settled = last.outcome == Outcome::kApplied || last.outcome == Outcome::kAbsent;
  if (!settled || last.operation.kind != Operation::kUpsert || Random(2) == 0) return true;
  return Carry(last.operation);
}

std::vector<Operation> Actor::Saved() const { return SavedFor(history_, Certainty::kCertain); }

void Actor::Claim(Operation operation) {
  Begin(operation);
  log_.Done(operation.number, 0);
}

bool Actor::SendHalf(Operation operation) {
  Begin(operation);
  std::vector<client::Point> points = Points(operation);
  points.resize(points.size() / 2);
  return session_.client.Upsert(NameOf(operation), points).ok();
}

bool Actor::SendWrongBit(Operation operation) {
  Begin(operation);
  std::vector<client::Point> points = Points(operation);
  float& component = points[points.size() / 2].vector.back();
  component = std::bit_cast<float>(std::bit_cast<uint32_t>(component) ^ 1);
  const auto answer = session_.client.Upsert(NameOf(operation), points);
  if (answer.ok()) Done(operation, answer->sequence);
  return answer.ok();
}

bool Actor::SendStranger(uint32_t collection) {
  const std::vector<float> vector = session_.world.Sent(collection, number_, 0, 1);
  return session_.client.Upsert(Plans()[collection].spec.name, {{"stranger", vector}}).ok();
}

void Actor::Begin(Operation& operation) {
  operation.number = next_++;
  if (operation.version == 0) operation.version = operation.number;
  history_.entries.push_back({.operation = operation});
  log_.Begin(operation);
}

void Actor::Done(const Operation& operation, uint64_t sequence) {
  log_.Done(operation.number, sequence);
  history_.entries[operation.number - 1].outcome = Outcome::kDone;
  shadow_.Apply(operation);
}

bool Actor::Failed(const absl::Status& status, std::span<const Operation> operations) {
  // Its end comes as UNAVAILABLE; when it is told to stop, what still runs is cancelled.
  if (absl::IsUnavailable(status) || absl::IsCancelled(status)) return false;
  if (!session_.options.may_be_full || !absl::IsResourceExhausted(status)) {
    return Unexpected(operations.front(), status.ToString());
  }
  // A stream ends with the first write that is refused: those behind it were not carried out
  // either.
  for (const Operation& operation : operations) {
    log_.Refused(operation.number, absl::StatusCodeToString(status.code()));
  }
  if (refusals_ == 0) Say("full");
  if (++refusals_ == kMaxRefusals) session_.stop = true;
  Pause(std::chrono::milliseconds(20));
  return !session_.stop;
}

bool Actor::Unexpected(const Operation& operation, std::string_view what) {
  session_.Fail(ActorName(number_),
                Text("write ", operation.number, " to \"", NameOf(operation), "\": ", what));
  return false;
}

absl::StatusOr<uint64_t> Actor::Send(const Operation& operation) {
  const client::CallOptions call{.timeout = kPatience};
  client::CollectionSpec spec = Plans()[operation.collection].spec;
  switch (operation.kind) {
    case Operation::kUpsert:
      return SendUpsert(operation);
    case Operation::kDelete:
      return SendDelete(operation);
    case Operation::kSetMetric:
      return SequenceOf(session_.client.SetMetric(spec.name, operation.metric, call));
    case Operation::kCreate: {
      spec.metric = operation.metric;
      const auto created = session_.client.CreateCollection(spec, call);
      if (created.ok() && !created->created) return absl::InternalError("it existed already");
      if (!created.ok()) return created.status();
      return created->collection.sequence;
    }
    case Operation::kSave:
      return Sequenceless(
          session_.client.CreateSnapshot(spec.name, operation.SnapshotName(), call));
    case Operation::kForget:
      return Sequenceless(
          session_.client.DeleteSnapshot(spec.name, operation.SnapshotName(), call));
    case Operation::kRestore:
      return Sequenceless(session_.client.RestoreStoredSnapshot(kRestored, spec.name,
                                                                operation.SnapshotName(), call));
    case Operation::kDropRestored:
      return DropRestored(session_.client);
    case Operation::kDrop: {
      const auto rows = session_.client.DeleteCollection(spec.name, call);
      if (!rows.ok()) return rows.status();
      if (*rows == shadow_.Rows(operation.collection)) return 0;
      return absl::InternalError(Text(*rows, " rows were deleted with it, but ",
                                      shadow_.Rows(operation.collection), " stored"));
    }
  }
  std::abort();
}

absl::StatusOr<uint64_t> Actor::SendUpsert(const Operation& operation) {
  const client::CallOptions call{.timeout = kPatience};
  const auto answer = operation.number % 2 == 0
                          ? session_.client.Upsert(NameOf(operation), Points(operation), call)
                          : session_.client.UpsertBlock(NameOf(operation), Block(operation), call);
  const uint64_t present = Present(operation);
  if (answer.ok() && (answer->replaced != present || answer->added != operation.count - present)) {
    return absl::InternalError(Text("it added ", answer->added, " rows and replaced ",
                                    answer->replaced, ", but ", present, " of ", operation.count,
                                    " were stored"));
  }
  return SequenceOf(answer);
}

absl::StatusOr<uint64_t> Actor::SendDelete(const Operation& operation) {
  std::vector<client::Id> ids;
  for (const uint32_t index : operation.Indices(this->ids(operation.collection))) {
    ids.push_back(IdOf(number_, index));
  }
  const auto answer = session_.client.Delete(NameOf(operation), ids, {.timeout = kPatience});
  const uint64_t present = Present(operation);
  if (answer.ok() && (answer->deleted != present || answer->missing != ids.size() - present)) {
    return absl::InternalError(Text("it deleted ", answer->deleted, " rows and missed ",
                                    answer->missing, ", but ", present, " of ", ids.size(),
                                    " were stored"));
  }
  return SequenceOf(answer);
}

client::PointBlock Actor::Block(const Operation& operation) const {
  client::PointBlock block;
  for (client::Point& point : Points(operation)) {
    block.ids.push_back(std::move(point.id));
    block.vectors.insert(block.vectors.end(), point.vector.begin(), point.vector.end());
  }
  return block;
}

std::vector<client::Point> Actor::Points(const Operation& operation) const {
  std::vector<client::Point> points;
  for (const uint32_t index : operation.Indices(ids(operation.collection))) {
    points.push_back({IdOf(number_, index), session_.world.Sent(operation.collection, number_,
                                                                index, operation.version)});
  }
  return points;
}

uint64_t Actor::Present(const Operation& operation) const {
  const std::vector<uint64_t>& versions = shadow_.collections[operation.collection].versions;
  const std::vector<uint32_t> indices = operation.Indices(ids(operation.collection));
  return static_cast<uint64_t>(
      std::ranges::count_if(indices, [&](uint32_t index) { return versions[index] != 0; }));
}

}  // namespace vexact::crash

// One thread's way to send writes: log, send, log.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "tests/crash/history.h"
#include "tests/crash/world.h"
#include "tests/crash/writer.h"
#include "vexact/client.h"

namespace vexact::crash {

// What all actors of a run share.
struct Session {
  explicit Session(const WriteOptions& options_given);

  void Say(std::string_view word);
  // An answer that no server may give.
  void Fail(std::string_view who, std::string_view what);

  const WriteOptions& options;
  const World world;
  const client::Client client;
  std::atomic<bool> stop = false, failed = false;
  std::mutex mutex;  // of stdout and stderr
};

// Every method that sends returns false when there is no going on: the server is gone, which leaves
// the outcome unknown, or it gave a wrong answer, which the session knows then.
class Actor {
 public:
  Actor(Session& session, uint32_t number);

  uint32_t number() const { return number_; }
  uint32_t ids(uint32_t collection) const { return OwnedIds(number_, collection); }
  uint32_t rows(uint32_t collection) const { return shadow_.Rows(collection); }
  bool exists(uint32_t collection) const { return shadow_.collections[collection].exists; }
  bool last_was_done() const { return history_.entries.back().outcome == Outcome::kDone; }

  // Below `end`.
  uint32_t Random(uint32_t end) { return static_cast<uint32_t>(random_() % end); }
  void Say(std::string_view word) { session_.Say(word); }
  void Pause(std::chrono::milliseconds time) const;

  // Numbers and versions of operations are given here.
  bool Carry(Operation operation);
  // Upserts, over one stream.
  bool CarryBulk(std::vector<Operation> operations);
  // An upsert whose last row is not finite: it must be refused whole.
  bool BeRefused(Operation operation);
  // When the last write was an upsert whose answer never came: the same once more, now and then.
  // That must be as good as having sent it once.
  bool RepeatLast();
  // What made the snapshots that are there for certain, the oldest first.
  std::vector<Operation> Saved() const;

  // Lies (writer.h).
  void Claim(Operation operation);
  bool SendHalf(Operation operation);
  bool SendWrongBit(Operation operation);
  bool SendStranger(uint32_t collection);

 private:
  void Begin(Operation& operation);
  void Done(const Operation& operation, uint64_t sequence);
  // The operations without an answer end with this error.
  bool Failed(const absl::Status& status, std::span<const Operation> operations);
  bool Unexpected(const Operation& operation, std::string_view what);

  // Gives the sequence number.
  absl::StatusOr<uint64_t> Send(const Operation& operation);
  absl::StatusOr<uint64_t> SendUpsert(const Operation& operation);
  absl::StatusOr<uint64_t> SendDelete(const Operation& operation);
  client::PointBlock Block(const Operation& operation) const;
  std::vector<client::Point> Points(const Operation& operation) const;
  // How many of the operation's rows the server has.
  uint64_t Present(const Operation& operation) const;

  Session& session_;
  const uint32_t number_;
  History history_;
  Shadow shadow_;
  uint64_t next_;
  int refusals_ = 0;  // for want of room
  Log log_;
  std::mt19937_64 random_;
};

}  // namespace vexact::crash

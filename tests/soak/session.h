// What all who call the server share: the server, its collections, what they have learnt of them,
// and what was wrong.
#pragma once

#include <deque>
#include <initializer_list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "tests/server/running_server.h"
#include "tests/soak/ledger.h"
#include "vexact/client.h"

namespace vexact::soak {

struct Plan {
  client::CollectionSpec spec;
  uint32_t ids;     // that its rows may have; the first kAnchors are never deleted
  uint32_t weight;  // how often it is called
};

inline constexpr uint32_t kAnchors = 8;

// `large` holds more rows than a training of its layout wants, so that it is re-encoded.
const std::vector<Plan>& Plans();

// A collection made of a snapshot, as long as it is there. It is that of `collection` at
// `sequence`, and nobody writes to it.
struct Restored {
  std::string name;
  size_t collection;
  uint64_t sequence;
};

class Session {
 public:
  explicit Session(const std::vector<std::string>& server_args);

  testing::RunningServer server;
  const client::Client client;
  std::deque<Ledger> ledgers;  // by collection

  // Thread safety: what follows may be called from any thread at any time.

  // Counts a call. An end that is not among `allowed` is a defect; gives whether it was OK.
  bool Ended(std::string_view kind, const grpc::Status& status,
             std::initializer_list<grpc::StatusCode> allowed = {});
  bool Ended(std::string_view kind, const absl::Status& status,
             std::initializer_list<grpc::StatusCode> allowed = {});
  void Count(std::string_view kind, std::string_view outcome, uint64_t count = 1);
  // Keeps what is not empty.
  void Note(std::string_view where, const std::string& defect);

  // As much of it as a reader stands; the number of defects.
  size_t Report() const;
  // "search: OK 1024, CANCELLED 3", a line each.
  std::string Counts() const;

  std::shared_ptr<const Restored> restored() const;
  void set_restored(std::shared_ptr<const Restored> restored);

 private:
  mutable std::mutex mutex_;  // guards what follows
  std::map<std::string, std::map<std::string, uint64_t>, std::less<>> counts_;
  std::vector<std::string> defects_;
  std::shared_ptr<const Restored> restored_;
};

}  // namespace vexact::soak

// The log of slow searches and writes, each with its most likely reason.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <variant>

#include "core/collection.h"
#include "server/metrics.h"

namespace vexact::server {

// Of a search.
struct SlowSearch {
  std::shared_ptr<const Collection> collection;
  EngineKind engine = EngineKind::kScan;
  uint64_t queries = 0;
  uint32_t k = 0;
  bool with_vectors = false;
  uint64_t rows = 0;                 // that each query was compared with
  uint64_t ahead = 0;                // queries that were to be carried out before it when it came
  std::chrono::nanoseconds wait{0};  // for them, after a request thread took it in hand
  std::chrono::nanoseconds scan{0};
  uint64_t scanned_queries = 0;  // of the scans that it was part of, all that these carried out
  // Over the queries of this request.
  uint64_t rows_refined = 0, rows_rescored = 0, bytes_read = 0;
  uint64_t answer_bytes = 0;
};

// Of an upsert or a deletion.
struct SlowWrite {
  std::string collection;
  uint64_t rows = 0;
};

using SlowWork = std::variant<std::monostate, SlowSearch, SlowWrite>;

// Where a slow request's time went.
struct SlowTimes {
  std::chrono::nanoseconds total{0};
  std::chrono::nanoseconds queue{0};  // before a request thread took it in hand, and its scan began
  std::chrono::nanoseconds sync{0};   // in which the disk was syncing, during the request
  uint64_t page_faults = 0;           // of the process that had to read the disk, meanwhile
};

// In words: "waited in the queue behind 12 queries".
std::string LikelyReason(const SlowSearch& search, const SlowTimes& times);
std::string LikelyReason(const SlowWrite& write, const SlowTimes& times);

// Thread safety: every method may be called from any thread.
class SlowLog {
 public:
  // Lines a second. Those left out are counted in the next line.
  static constexpr int kMostLines = 10;

  // `metrics` must outlive it. Threshold 0: nothing is slow.
  SlowLog(const Metrics& metrics, std::chrono::milliseconds threshold);

  void SetThreshold(std::chrono::milliseconds threshold);

  // What the machine had done when a request began: some nanoseconds.
  struct Mark {
    std::chrono::nanoseconds sync{0};
    uint64_t page_faults = 0;
  };
  Mark Take(std::chrono::steady_clock::time_point now);

  struct Request {
    std::string_view method;
    const std::string& id;
    const std::string& who;  // words of the line, each behind a space, or nothing
    std::chrono::steady_clock::time_point arrival, begin, end;
    Mark mark;
  };
  // Whether a request that took so long belongs into the log.
  bool IsSlow(std::chrono::nanoseconds total) const;
  // Writes its line. A request without work is none of these.
  void Write(const Request& request, const SlowWork& work);

 private:
  // Whether one more line may be written now; `left_out` is how many were not since the last.
  bool MayWrite(std::chrono::steady_clock::time_point now, uint64_t& left_out);

  const Metrics& metrics_;
  std::atomic<int64_t> threshold_ns_;
  // The process's page faults, looked up again when they are a second old: that is a system call.
  std::atomic<int64_t> sampled_at_ns_ = 0;
  std::atomic<uint64_t> page_faults_ = 0;
  std::mutex mutex_;  // guards what follows
  std::chrono::steady_clock::time_point window_;
  int lines_ = 0;
  uint64_t left_out_ = 0;
};

}  // namespace vexact::server

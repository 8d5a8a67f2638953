// A search that takes long enough to be interrupted.
#pragma once

#include <cstdint>

#include "tests/server/running_server.h"

namespace vexact::testing {

class LongSearch {
 public:
  // Rows to search: about one second of work, or one that no patience would outlast. (Only the
  // first must end.)
  static constexpr uint64_t kLong = 2'000;
  static constexpr uint64_t kLonger = 20'000;

  // Fills a collection of `server`, which outlives this.
  LongSearch(RunningServer& server, uint64_t rows);

  // The largest batch there is, on the engine that scores every row.
  const v1::SearchRequest& request() const { return request_; }

  // Returns once the server has been at work since the end of the constructor: the request that was
  // sent since then runs.
  void WaitUntilItRuns() const;

 private:
  // Processor time that the server has used, in clock ticks.
  int64_t Ticks() const;

  RunningServer& server_;
  v1::SearchRequest request_;
  int64_t ticks_ = 0;
};

}  // namespace vexact::testing

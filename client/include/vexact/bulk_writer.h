// Loading many rows: a stream of upserts with acknowledgements.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "vexact/types.h"

namespace vexact::client {

struct BulkOptions {
  // Requests that may be sent and not yet acknowledged. They are kept, so that they can be sent
  // again: the writer's memory is about twice this many blocks. At least 1. Of blocks of 1.5 MB,
  // the server applies 8 together, checks the next 8, and receives the next.
  size_t window = 24;
  // Attempts in a row to go on after the connection broke, with no acknowledgement in between. 0:
  // the first break is final.
  int reconnects = 5;
  // The pause before the first attempt; it doubles with each further one, up to 5 seconds.
  absl::Duration reconnect_delay = absl::Milliseconds(200);
  // For the whole load, from the making of the writer on.
  absl::Duration timeout = absl::InfiniteDuration();
};

// What the server has acknowledged: stored, and visible to searches.
struct BulkProgress {
  uint64_t requests = 0;
  uint64_t rows = 0;
  // Together `rows`. A row that had to be sent twice, because the connection broke before its
  // acknowledgement came, counts as replaced when its first copy had arrived.
  uint64_t added = 0, replaced = 0;
  uint64_t sequence = 0;
  // Times that the stream was made again.
  int reconnects = 0;
};

// Sends blocks in order over one stream; each is all or nothing on its own. When the stream breaks
// (UNAVAILABLE), it is made again and goes on from the first block that was not acknowledged. The
// first block that is refused ends the load: what was acknowledged before stays, and the status is
// the server's, its row numbers counted from that block's first row. The refused block is the one
// after acknowledged().requests blocks.
//
// Thread safety: one thread at a time. May outlive the Client it came from.
class BulkWriter {
 public:
  // Cancels the stream when Finish was not called: blocks not yet acknowledged may then be stored
  // or not.
  ~BulkWriter();
  BulkWriter(BulkWriter&&) noexcept;
  BulkWriter& operator=(BulkWriter&&) noexcept;

  // Sends a block, waiting while the window is full. An error may be that of an earlier block; it
  // is final, and every later call returns it again.
  absl::Status Write(const PointBlock& block);

  // Waits until everything is acknowledged and ends the stream. Call it once, last, also after an
  // error (which it returns again).
  absl::StatusOr<BulkProgress> Finish();

  // May be read at any time, also after an error.
  const BulkProgress& acknowledged() const;

 private:
  friend class Client;
  class Stream;
  explicit BulkWriter(std::unique_ptr<Stream> stream);
  std::unique_ptr<Stream> stream_;
};

}  // namespace vexact::client

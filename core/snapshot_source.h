// A collection's state of one moment, as the bytes of a snapshot file.
#pragma once

#include <cstdint>
#include <string>

#include "core/collection.h"
#include "core/snapshot.h"
#include "snapshot/file.h"

namespace vexact {

// Takes the state when it is made, without a lock, and holds on to it: what is written meanwhile
// neither waits nor is seen. Use from one thread at a time; the collection may go away.
class SnapshotSource {
 public:
  explicit SnapshotSource(const Collection& collection);

  const snapshot::Header& header() const { return header_; }

  // Appends the next piece, of at least some hundred kilobytes unless it is the last. False when
  // there is none left.
  bool Next(std::string& out);

  // REQUIRES: Next was false.
  const snapshot::Footer& footer() const { return footer_; }

 private:
  // Moves on to the next live row; false when there is none.
  bool Advance();

  const Snapshot state_;
  const snapshot::Header header_;
  snapshot::Encoder encoder_;
  bool begun_ = false, finished_ = false;
  size_t part_ = 0;
  uint32_t row_ = 0;  // the next one to look at
  snapshot::Footer footer_;
};

}  // namespace vexact

// Snapshots: a collection at one moment in a file, kept by the server or by you.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "vexact/types.h"

namespace vexact::client {

// A snapshot that the server keeps.
struct Snapshot {
  std::string name;
  std::string collection;
  uint32_t dimension = 0;
  Metric metric = Metric::kCosine;
  Normalization normalization = Normalization::kNone;
  uint64_t rows = 0;
  uint64_t sequence = 0;  // the last write that it holds
  uint64_t bytes = 0;     // of the file
  absl::Time created;
  std::string checksum;  // 32 hexadecimal digits
  // What is wrong with its file, where that can be seen at once; then only its names and bytes are
  // known.
  std::string error;
};

struct DownloadOptions {
  // Empty: a snapshot of now, which the server makes as it sends it and keeps nowhere.
  std::string name = {};
  // Where to begin: how much of the file is there already. 0 for a snapshot of now.
  uint64_t offset = 0;
  // How often, after the last bytes that came, a broken connection is made again. Not for a
  // snapshot of now, of which there is no rest to ask for.
  int reconnects = 5;
};

struct Downloaded {
  uint64_t bytes = 0;  // the length of the whole file
  // As in Snapshot. The file ends with it, so that a restoration finds what is cut off or altered.
  std::string checksum;
};

// Takes the next bytes of the file; an error ends the download with it. `total_bytes` is 0 where it
// is not known.
using TakeBytes = std::function<absl::Status(std::string_view bytes, uint64_t total_bytes)>;
// Gives the next bytes of the file, at most `limit`; none at its end. An error ends the restoration
// with it, and nothing is restored.
using GiveBytes = std::function<absl::StatusOr<std::string>(size_t limit)>;

// A collection that was made of a snapshot.
struct Restored {
  std::string collection;
  uint32_t dimension = 0;
  Metric metric = Metric::kCosine;
  Normalization normalization = Normalization::kNone;
  uint64_t rows = 0;
  uint64_t sequence = 0;
  std::string snapshot_collection;  // that it was made of
  absl::Time snapshot_created;
  std::string checksum;
};

}  // namespace vexact::client

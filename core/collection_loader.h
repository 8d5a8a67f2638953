// Brings a collection back from the store.
#pragma once

#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/codes_folder.h"
#include "core/layout_care.h"
#include "core/row_table.h"
#include "core/store.h"

namespace vexact {

struct LoadOptions {
  // Told now and then how many rows are there, and how many it will be; by one thread at a time.
  std::function<void(uint64_t rows, uint64_t total)> progress = nullptr;
  std::stop_token stop = {};
};

// What was made anew because the disk did not have it whole.
struct Rebuilt {
  uint64_t rows = 0;                // that were coded
  std::vector<std::string> faults;  // damaged files; none when there merely was no file
};

// Fills `table` and `care`, which are empty, with what the store has of the collection: its state,
// ids and rows, under the codes that are in `codes` where these are of the rows' bits, and coded
// anew where not. All of the table's workers take part.
//
// DATA_LOSS when ids, rows and state contradict one another, or the store found damage; the message
// names the collection. UNAVAILABLE, RESOURCE_EXHAUSTED; CANCELLED by `stop`.
absl::StatusOr<Rebuilt> Load(const Store& store, const StoredCollection& stored, CodesFolder& codes,
                             const LoadOptions& options, RowTable& table, LayoutCare& care);

}  // namespace vexact

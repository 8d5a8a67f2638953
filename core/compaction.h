// Giving up dead rows.
#pragma once

#include <cstdint>
#include <stop_token>

#include "absl/status/statusor.h"
#include "core/layout_care.h"
#include "core/row_table.h"

namespace vexact {

// Whether a full segment of `state` has more than a quarter of dead rows.
bool IsCompactionDue(const RowTable& table, const CollectionState& state);

// Rewrites such segments, joining small ones on the way, until there is none. The rows keep their
// ids, numbers, bits and sequence number; searches go on over what they have seen, writers wait
// only while the index is changed. Returns the number of dead rows that were given up.
// RESOURCE_EXHAUSTED when memory for a new segment cannot be had; CANCELLED by `stop`.
//
// REQUIRES: one at a time, and no recoding meanwhile.
absl::StatusOr<uint64_t> Compact(RowTable& table, const LayoutCare& care,
                                 const std::stop_token& stop);

}  // namespace vexact

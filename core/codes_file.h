// Layouts and codes on disk. They are derived data: whatever is missing or damaged is made anew
// from the rows.
//
// All numbers are little-endian; each file ends with the XXH3 (64 bits) of all before it
// (checked_file.h). What a column or a layout holds is what it holds in memory: whoever changes
// that raises kCodesVersion, and files of another version are made anew.
//
// A layout's file:
//     "VXLAYOUT"                     8 bytes
//     version, 0                     u32 each
//     the layout                     the members of Layout in their order
//     what is known of it            the members of LayoutRecord in their order, but its layout
//   where a vector is its length (u64) and its elements.
//
// A segment's codes:
//     "VXCODES", 0                   8 bytes
//     version, dimension, rows, 0    u32 each
//     layout                         u64: HashLayout of the layout that they are coded under
//     numbers                        u64 a row: the rows' numbers in the store
//     hashes                         u64 a row: HashRow of their vectors
//     codes                          the columns (SegmentCodes::Columns) of the whole groups of
//     rows
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/layout_care.h"
#include "core/segment.h"
#include "core/segment_codes.h"

namespace vexact {

inline constexpr uint32_t kCodesVersion = 1;

// XXH3 of its bits.
uint64_t HashRow(std::span<const float> vector);
// XXH3 of all its members: names a layout.
uint64_t HashLayout(const Layout& layout);

absl::Status WriteLayoutFile(const std::string& path, const LayoutRecord& record);

// DATA_LOSS when it is damaged, or of another version or dimension.
absl::StatusOr<LayoutRecord> ReadLayoutFile(const std::string& path, uint32_t dimension);

struct StoredCodes {
  std::shared_ptr<SegmentCodes> codes;
  std::vector<uint64_t> numbers, hashes;  // by row
};

// Of the first `rows` rows of `segment`. `layout` is the hash of the codes' layout.
absl::Status WriteCodesFile(const std::string& path, const Segment& segment,
                            const SegmentCodes& codes, uint32_t rows, uint64_t layout);

// `find_layout` gives the layout of a hash, or null. DATA_LOSS when the file is damaged, of another
// version or dimension, or of an unknown layout; RESOURCE_EXHAUSTED.
absl::StatusOr<StoredCodes> ReadCodesFile(
    const std::string& path, uint32_t dimension,
    const std::function<std::shared_ptr<const Layout>(uint64_t hash)>& find_layout);

}  // namespace vexact

// CRC-32C (Castagnoli), and integers, as RocksDB writes them into its files.
#pragma once

#include <cstdint>
#include <string_view>

namespace vexact {

uint32_t Crc32c(std::string_view bytes);

// Of what `crc` is the sum of, and `bytes` after it. By the processor's own instruction where there
// is one.
uint32_t ExtendCrc32c(uint32_t crc, std::string_view bytes);

// The same by tables, for any processor.
uint32_t ExtendCrc32cByTables(uint32_t crc, std::string_view bytes);

// RocksDB stores rotated sums, so that a sum of bytes that hold sums is not special.
uint32_t UnmaskCrc(uint32_t masked);

// Of up to 8 bytes.
uint64_t ReadLittleEndian(std::string_view bytes);

}  // namespace vexact

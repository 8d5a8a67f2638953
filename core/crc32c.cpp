#include "core/crc32c.h"

#include <array>
#include <cstddef>
#include <cstring>

namespace vexact {
namespace {

using Table = std::array<std::array<uint32_t, 256>, 8>;

// [k][b]: of the byte b and k zeros after it, so that eight bytes are one step.
constexpr Table MakeTable() {
  Table table = {};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82F6'3B78U : 0);
    table[0][byte] = crc;
  }
  for (size_t k = 1; k < 8; ++k) {
    for (size_t byte = 0; byte < 256; ++byte) {
      table[k][byte] = (table[k - 1][byte] >> 8) ^ table[0][table[k - 1][byte] & 0xFF];
    }
  }
  return table;
}

#if defined(__x86_64__)
// One step of eight bytes takes three cycles: as fast as memory is read.
__attribute__((target("sse4.2"))) uint32_t ExtendBySse42(uint32_t begin, std::string_view bytes) {
  uint64_t crc = ~begin;
  size_t i = 0;
  for (; i + 8 <= bytes.size(); i += 8) {
    uint64_t word;
    std::memcpy(&word, bytes.data() + i, sizeof(word));
    crc = __builtin_ia32_crc32di(crc, word);
  }
  auto rest = static_cast<uint32_t>(crc);
  for (; i < bytes.size(); ++i) {
    rest = __builtin_ia32_crc32qi(rest, static_cast<unsigned char>(bytes[i]));
  }
  return ~rest;
}
#endif

}  // namespace

uint32_t Crc32c(std::string_view bytes) { return ExtendCrc32c(0, bytes); }

uint32_t ExtendCrc32c(uint32_t crc, std::string_view bytes) {
#if defined(__x86_64__)
  static const bool has_instruction = __builtin_cpu_supports("sse4.2");
  if (has_instruction) return ExtendBySse42(crc, bytes);
#endif
  return ExtendCrc32cByTables(crc, bytes);
}

uint32_t ExtendCrc32cByTables(uint32_t begin, std::string_view bytes) {
  static constexpr Table kTable = MakeTable();
  uint64_t crc = ~begin;
  size_t i = 0;
  for (; i + 8 <= bytes.size(); i += 8) {
    uint64_t word;
    std::memcpy(&word, bytes.data() + i, sizeof(word));
    word ^= crc;
    crc = 0;
    for (size_t k = 0; k < 8; ++k) crc ^= kTable[7 - k][(word >> (8 * k)) & 0xFF];
  }
  for (; i < bytes.size(); ++i) {
    crc = kTable[0][(crc ^ static_cast<uint8_t>(bytes[i])) & 0xFF] ^ (crc >> 8);
  }
  return static_cast<uint32_t>(crc) ^ 0xFFFF'FFFF;
}

uint32_t UnmaskCrc(uint32_t masked) {
  const uint32_t rotated = masked - 0xA282'EAD8U;
  return rotated >> 17 | rotated << 15;
}

uint64_t ReadLittleEndian(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = bytes.size(); i-- > 0;) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  return value;
}

}  // namespace vexact

// RocksDB's own function of this name looks at its build, not at the processor, and Debian builds
// it for every x86-64: by tables, which takes a fifth of what a durable write takes. A shared
// library calls its functions through the dynamic linker, which finds this one first. Should a
// later version rename it, RocksDB's own is used, and the sums are the same.
namespace rocksdb::crc32c {

// Declared in a header that is not installed.
uint32_t Extend(uint32_t crc, const char* data, size_t size);
uint32_t Extend(uint32_t crc, const char* data, size_t size) {
  return vexact::ExtendCrc32c(crc, {data, size});
}

}  // namespace rocksdb::crc32c

#include "server/page_token.h"

#include <cstdint>
#include <variant>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"

namespace vexact::server {
namespace {

// A token is 4 bytes of checksum and the id: 'n' and the number in 8 bytes, or 't' and the text.
// All little-endian.
constexpr size_t kChecksumBytes = 4;
constexpr char kNumber = 'n';
constexpr char kText = 't';

std::string Bytes(uint64_t value, size_t count) {
  std::string bytes;
  for (size_t i = 0; i < count; ++i) bytes += static_cast<char>(value >> (8 * i));
  return bytes;
}

uint64_t Value(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < bytes.size(); ++i) {
    value |= uint64_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
  }
  return value;
}

// FNV-1a (32 bits) over the collection's name, a byte that no name holds, and the id: enough
// against damage and mixing up.
std::string Checksum(std::string_view collection, std::string_view id) {
  uint32_t hash = 2'166'136'261u;
  const auto add = [&hash](char c) { hash = (hash ^ static_cast<unsigned char>(c)) * 16'777'619u; };
  for (const char c : collection) add(c);
  add('\0');
  for (const char c : id) add(c);
  return Bytes(hash, kChecksumBytes);
}

std::string Encode(IdView id) {
  if (const auto* number = std::get_if<uint64_t>(&id)) {
    return kNumber + Bytes(*number, sizeof *number);
  }
  return kText + std::string(std::get<std::string_view>(id));
}

}  // namespace

std::string MakePageToken(std::string_view collection, IdView last) {
  const std::string id = Encode(last);
  return Checksum(collection, id) + id;
}

absl::StatusOr<Id> ReadPageToken(std::string_view collection, std::string_view token) {
  if (token.size() > kChecksumBytes + 1) {
    const std::string_view id = token.substr(kChecksumBytes);
    const std::string_view value = id.substr(1);
    if (token.substr(0, kChecksumBytes) == Checksum(collection, id)) {
      if (id[0] == kNumber && value.size() == sizeof(uint64_t)) return Value(value);
      if (id[0] == kText && value.size() <= kMaxIdBytes) return std::string(value);
    }
  }
  return absl::InvalidArgumentError(absl::StrFormat(
      "page_token of %d bytes is not one that a page of collection \"%s\" gave; start again with "
      "an empty one",
      token.size(), collection));
}

}  // namespace vexact::server

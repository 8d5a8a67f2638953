// Makes .npy files byte for byte, as the format's description says, sharing nothing with the reader
// under test.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

namespace vexact::testing {

inline void WriteFile(const std::filesystem::path& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

// Magic, version, header length, header padded with spaces to a multiple of 64 and a line feed,
// elements.
inline std::string NpyBytes(std::string_view header, std::string_view elements, int version = 1) {
  const size_t length_bytes = version == 1 ? 2 : 4;
  std::string padded(header);
  while ((8 + length_bytes + padded.size() + 1) % 64 != 0) padded += ' ';
  padded += '\n';
  std::string out("\x93NUMPY", 6);
  out += static_cast<char>(version);
  out += '\0';
  for (size_t i = 0; i < length_bytes; ++i) out += static_cast<char>(padded.size() >> (8 * i));
  return out + padded + std::string(elements);
}

inline std::string NpyHeader(std::string_view descr, bool fortran, std::string_view shape) {
  std::string header("{'descr': '");
  header.append(descr).append("', 'fortran_order': ").append(fortran ? "True" : "False");
  return header.append(", 'shape': ").append(shape).append(", }");
}

// The bytes of values, least significant first, or reversed.
template <typename Value>
std::string ElementBytes(const std::vector<Value>& values, bool big_endian = false) {
  std::string out;
  for (Value value : values) {
    char bytes[sizeof(Value)];
    std::memcpy(bytes, &value, sizeof(Value));
    if (big_endian) std::reverse(bytes, bytes + sizeof(Value));
    out.append(bytes, sizeof(Value));
  }
  return out;
}

// A float32 matrix in C order.
inline std::string NpyMatrix(const std::vector<float>& values, size_t rows, size_t columns) {
  std::string shape("(");
  shape.append(std::to_string(rows)).append(", ").append(std::to_string(columns)).append(")");
  return NpyBytes(NpyHeader("<f4", false, shape), ElementBytes(values));
}

}  // namespace vexact::testing

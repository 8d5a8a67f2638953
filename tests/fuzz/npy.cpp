// The reader of .npy files.
#include "client/command/npy_reader.h"

#include <algorithm>

#include "tests/client/npy_bytes.h"
#include "tests/fuzz/target.h"

namespace vexact::fuzz {

std::vector<std::string> Seeds() {
  using vexact::testing::NpyBytes;
  using vexact::testing::NpyHeader;
  std::vector<std::string> seeds;
  for (const bool fortran : {false, true}) {
    for (const int version : {1, 2, 3}) {
      for (const char* type : {"<f2", ">f2", "<f4", ">f4", "<f8", ">f8", "<i8", "|u1"}) {
        const size_t bytes = static_cast<size_t>(type[2] - '0');
        seeds.push_back(
            NpyBytes(NpyHeader(type, fortran, "(3, 2)"), std::string(6 * bytes, '\x3f'), version));
      }
    }
  }
  seeds.push_back(NpyBytes(NpyHeader("<f4", false, "(4,)"), std::string(16, '\0')));
  seeds.push_back(NpyBytes(NpyHeader("<f4", false, "()"), std::string(4, '\0')));
  seeds.push_back(NpyBytes(NpyHeader("<f4", false, "(0, 5)"), ""));
  return seeds;
}

void Try(std::string_view input) {
  const MemoryFile file(input);
  auto reader = client::NpyReader::Open(file.path());
  if (!reader.ok()) {
    Require(!reader.status().message().empty(), "the error says what is wrong");
    return;
  }
  Require(reader->dimension() >= 1, "a row has a component");
  Require(reader->rows() <= input.size(), "there are as many rows as bytes at most");
  for (uint64_t row = 0; row < reader->rows(); ++row) {
    const auto vector = reader->Next();
    if (!vector.ok()) return;
    Require(vector->size() == reader->dimension(), "every row has all components");
    volatile float last = vector->back();  // it can be read
    (void)last;
  }
}

}  // namespace vexact::fuzz

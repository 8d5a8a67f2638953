// What a fuzz target is made of.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace vexact::fuzz {

// One file of tests/fuzz is one target, and defines these two.

// Good inputs to begin with.
std::vector<std::string> Seeds();
// Takes any bytes; a wrong answer to them ends the process, through Require.
void Try(std::string_view input);

// Ends the process, so that libFuzzer keeps the input, unless it holds.
void Require(bool holds, std::string_view what);

// A file in memory, for what reads files.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view contents);
  ~MemoryFile();
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  std::string path() const;

 private:
  int fd_;
};

}  // namespace vexact::fuzz

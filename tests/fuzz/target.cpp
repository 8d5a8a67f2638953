#include "tests/fuzz/target.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>

namespace vexact::fuzz {

void Require(bool holds, std::string_view what) {
  if (holds) return;
  std::fprintf(stderr, "not so: %.*s\n", static_cast<int>(what.size()), what.data());
  std::abort();
}

MemoryFile::MemoryFile(std::string_view contents) : fd_(memfd_create("input", MFD_CLOEXEC)) {
  Require(fd_ >= 0, "there are files in memory");
  const auto written = write(fd_, contents.data(), contents.size());
  Require(written == static_cast<ssize_t>(contents.size()), "a file in memory takes the input");
}

MemoryFile::~MemoryFile() { close(fd_); }

std::string MemoryFile::path() const { return "/proc/self/fd/" + std::to_string(fd_); }

namespace {

// With a folder in VEXACT_FUZZ_SEEDS, the seeds are written there, and that is all.
void WriteSeeds() {
  const char* folder = std::getenv("VEXACT_FUZZ_SEEDS");
  if (folder == nullptr) return;
  int number = 0;
  for (const std::string& seed : Seeds()) {
    std::ofstream(std::string(folder) + "/seed-" + std::to_string(number++), std::ios::binary)
        << seed;
  }
  std::exit(EXIT_SUCCESS);
}

}  // namespace
}  // namespace vexact::fuzz

// What libFuzzer calls.
extern "C" int LLVMFuzzerInitialize(int*, char***) {
  vexact::fuzz::WriteSeeds();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  vexact::fuzz::Try({reinterpret_cast<const char*>(data), size});
  return 0;
}

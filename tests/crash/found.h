// What a check has found: rows, and defects.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <iostream>
#include <map>
#include <span>
#include <vector>

#include "tests/crash/reference.h"
#include "tests/crash/text.h"
#include "tests/crash/world.h"
#include "vexact/types.h"

namespace vexact::crash {

// What a collection of the server holds.
struct Found {
  client::Collection info;
  std::vector<Row> rows;                                                       // in id order
  std::array<std::map<uint32_t, const std::vector<float>*>, kActors> vectors;  // by actor, index
};

// Says each, up to a number of them.
class Defects {
 public:
  template <typename... Parts>
  void Add(const Parts&... parts) {
    if (++count_ <= kShown) std::cout << "DEFECT " << Text(parts...) << '\n';
  }
  size_t count() const { return count_; }
  ~Defects() {
    if (count_ > kShown) std::cout << "and " << count_ - kShown << " more\n";
  }

 private:
  static constexpr size_t kShown = 12;
  size_t count_ = 0;
};

inline bool SameBits(std::span<const float> a, std::span<const float> b) {
  return std::ranges::equal(
      a, b, {}, [](float x) { return std::bit_cast<uint32_t>(x); },
      [](float x) { return std::bit_cast<uint32_t>(x); });
}

}  // namespace vexact::crash

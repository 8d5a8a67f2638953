// Numbers as people read them.
#pragma once

#include <cstdint>
#include <string>

namespace vexact::server {

// 153770 as "153,770".
inline std::string Thousands(uint64_t number) {
  const std::string digits = std::to_string(number);
  std::string text;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

}  // namespace vexact::server

// Parts of a message, as a stream writes them.
#pragma once

#include <sstream>
#include <string>

namespace vexact::crash {

template <typename... Parts>
std::string Text(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  return std::move(text).str();
}

}  // namespace vexact::crash

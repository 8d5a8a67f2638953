// Compares all that a server has with the logs of those who wrote it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace vexact::crash {

struct CheckOptions {
  std::string address;
  std::string logs;  // the folder
  uint64_t seed = 0;
  // A lie to the harness: scores are expected that were added in another order.
  bool other_order = false;
};

// Nobody may write meanwhile. What the check finds of writes without an answer goes into the logs.
// Prints one line of what was compared, or a line for each defect, and returns whether there was
// none.
bool Check(const CheckOptions& options);

}  // namespace vexact::crash

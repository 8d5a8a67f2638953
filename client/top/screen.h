// A terminal that is drawn over again and again, and left as it was.
#pragma once

#include <termios.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace vexact::client {

// Whether stdout is a terminal.
bool HasScreen();

// Takes the terminal of stdout for itself: what stood there comes back at the end. At most one at a
// time.
class Screen {
 public:
  Screen();
  ~Screen();
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  size_t columns() const;
  // Shows the lines, as many as there is room for, in place of what was shown before.
  void Draw(const std::vector<std::string>& lines) const;

  enum Event { kTime, kQuit, kResize, kSignal };
  // Waits so long, or until something else comes: the key q, another size, a signal.
  Event Wait(absl::Duration time) const;

 private:
  std::optional<termios> before_;  // of stdin, where that is a terminal
};

}  // namespace vexact::client

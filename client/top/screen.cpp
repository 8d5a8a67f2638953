#include "client/top/screen.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <iostream>

#include "absl/time/clock.h"
#include "client/command/interruption.h"

namespace vexact::client {
namespace {

// ECMA-48, and xterm's second screen. A line is written over and its rest cleared, rather than the
// screen cleared first, which would flicker.
constexpr char kEnter[] = "\x1b[?1049h\x1b[?25l";
constexpr char kLeave[] = "\x1b[?25h\x1b[?1049l";
constexpr char kHome[] = "\x1b[H";
constexpr char kClearLine[] = "\x1b[K";
constexpr char kClearBelow[] = "\x1b[J";

volatile std::sig_atomic_t resized = 0;
void Resized(int) { resized = 1; }

winsize Size() {
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) {
    size.ws_col = 80;
    size.ws_row = 24;
  }
  return size;
}

void HandleResize(void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  sigemptyset(&action.sa_mask);
  sigaction(SIGWINCH, &action, nullptr);  // without SA_RESTART: it is to end a wait
}

}  // namespace

bool HasScreen() { return isatty(STDOUT_FILENO) == 1; }

Screen::Screen() {
  HandleResize(Resized);
  termios mode{};
  if (isatty(STDIN_FILENO) == 1 && tcgetattr(STDIN_FILENO, &mode) == 0) {
    before_ = mode;
    // Keys come one by one and are not shown. No suspending: a shell would get this screen.
    mode.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    mode.c_cc[VSUSP] = _POSIX_VDISABLE;
    tcsetattr(STDIN_FILENO, TCSANOW, &mode);
  }
  std::cout << kEnter << std::flush;
}

Screen::~Screen() {
  std::cout << kLeave << std::flush;
  if (before_) tcsetattr(STDIN_FILENO, TCSAFLUSH, &*before_);
  HandleResize(SIG_DFL);
}

size_t Screen::columns() const { return Size().ws_col; }

void Screen::Draw(const std::vector<std::string>& lines) const {
  const size_t shown = std::min<size_t>(lines.size(), Size().ws_row);
  std::string frame = kHome;
  for (size_t i = 0; i < shown; ++i) {
    frame += lines[i] + kClearLine;
    if (i + 1 < shown) frame += "\r\n";
  }
  std::cout << frame << kClearBelow << std::flush;
}

Screen::Event Screen::Wait(absl::Duration time) const {
  const absl::Time end = absl::Now() + time;
  for (;;) {
    if (Interrupted()) return kSignal;
    if (resized != 0) {
      resized = 0;
      return kResize;
    }
    const absl::Duration left = end - absl::Now();
    if (left <= absl::ZeroDuration()) return kTime;
    pollfd keys{.fd = before_ ? STDIN_FILENO : -1, .events = POLLIN, .revents = 0};
    if (poll(&keys, 1, static_cast<int>(absl::ToInt64Milliseconds(left)) + 1) <= 0) continue;
    char key = 0;
    if (read(STDIN_FILENO, &key, 1) <= 0) return kQuit;  // the terminal is gone
    if (key == 'q' || key == 'Q') return kQuit;
  }
}

}  // namespace vexact::client

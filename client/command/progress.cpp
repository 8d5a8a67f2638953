#include "client/command/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <iostream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "client/command/format.h"
#include "client/command/table.h"

namespace vexact::client {
namespace {

constexpr size_t kBarWidth = 20;
constexpr absl::Duration kInterval = absl::Milliseconds(100);

// `part` of the bar in eighths of a character.
std::string Bar(double part) {
  constexpr std::array kEighths = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const auto eighths = static_cast<size_t>(std::clamp(part, 0.0, 1.0) * kBarWidth * 8);
  std::string bar;
  for (size_t i = 0; i < eighths / 8; ++i) bar += "█";
  bar += kEighths[eighths % 8];
  return bar + std::string(kBarWidth - Width(bar), ' ');
}

// At most `columns` characters of UTF-8.
std::string Cut(const std::string& text, size_t columns) {
  size_t end = 0;
  for (size_t seen = 0; end < text.size(); ++end) {
    const bool starts = (text[end] & '\xC0') != '\x80';
    if (starts && seen++ == columns) break;
  }
  return text.substr(0, end);
}

size_t TerminalColumns() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace

std::string RenderProgress(const ProgressState& state, size_t columns) {
  std::string line = state.name;
  if (state.total) {
    const double part =
        *state.total == 0 ? 1 : static_cast<double>(state.rows) / static_cast<double>(*state.total);
    absl::StrAppend(&line, " ", Bar(part), "  ", Thousands(state.rows), " / ", Rows(*state.total));
  } else {
    absl::StrAppend(&line, "  ", Rows(state.rows));
  }
  const double seconds = absl::ToDoubleSeconds(state.elapsed);
  if (state.rows > 0 && seconds > 0) {
    const double rate = static_cast<double>(state.rows) / seconds;
    const double mib = static_cast<double>(state.bytes) / seconds / (1 << 20);
    absl::StrAppend(&line, "   ", Thousands(static_cast<uint64_t>(rate)), " rows/s   ",
                    absl::StrFormat("%.0f MiB/s", mib));
    if (state.total && *state.total >= state.rows) {
      const auto left = static_cast<double>(*state.total - state.rows) / rate;
      absl::StrAppend(&line, "   ", Clock(absl::Seconds(left)), " left");
    }
  }
  return Cut(line, columns);
}

std::string RenderTransfer(const TransferState& state, size_t columns) {
  std::string line = state.name;
  if (state.total) {
    const double part = *state.total == 0
                            ? 1
                            : static_cast<double>(state.bytes) / static_cast<double>(*state.total);
    absl::StrAppend(&line, " ", Bar(part), "  ", Bytes(state.bytes), " / ", Bytes(*state.total));
  } else {
    absl::StrAppend(&line, "  ", Bytes(state.bytes));
  }
  const double seconds = absl::ToDoubleSeconds(state.elapsed);
  if (state.bytes > 0 && seconds > 0) {
    const double rate = static_cast<double>(state.bytes) / seconds;
    absl::StrAppend(&line, absl::StrFormat("   %.0f MiB/s", rate / (1 << 20)));
    if (state.total && *state.total >= state.bytes) {
      const auto left = static_cast<double>(*state.total - state.bytes) / rate;
      absl::StrAppend(&line, "   ", Clock(absl::Seconds(left)), " left");
    }
  }
  return Cut(line, columns);
}

Progress::Progress() : terminal_(isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() { Clear(); }

void Progress::Clear() {
  if (std::exchange(shown_, false)) std::cerr << "\r\x1b[K" << std::flush;
}

bool Progress::IsDue() const { return terminal_ && absl::Now() >= next_; }

// One column stays free: a full line would wrap on some terminals.
void Progress::Show(const ProgressState& state) {
  if (IsDue()) Draw(RenderProgress(state, TerminalColumns() - 1));
}

void Progress::Show(const TransferState& state) {
  if (IsDue()) Draw(RenderTransfer(state, TerminalColumns() - 1));
}

void Progress::Show(const std::function<std::string()>& render) {
  if (IsDue()) Draw(Cut(render(), TerminalColumns() - 1));
}

void Progress::Draw(const std::string& line) {
  next_ = absl::Now() + kInterval;
  shown_ = true;
  std::cerr << '\r' << line << "\x1b[K" << std::flush;
}

}  // namespace vexact::client

// The line that tells how far a load is.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "absl/time/time.h"

namespace vexact::client {

struct ProgressState {
  std::string name = {};               // of the collection
  uint64_t rows = 0;                   // done
  std::optional<uint64_t> total = {};  // rows, where it is known
  uint64_t bytes = 0;                  // of vectors, done
  absl::Duration elapsed = absl::ZeroDuration();
};

// A file that comes or goes.
struct TransferState {
  std::string name = {};
  uint64_t bytes = 0;                  // done
  std::optional<uint64_t> total = {};  // bytes, where it is known
  absl::Duration elapsed = absl::ZeroDuration();
};

// One line of at most `columns` characters, without a line feed. Without a total there is no bar
// and no time left.
std::string RenderProgress(const ProgressState& state, size_t columns);
std::string RenderTransfer(const TransferState& state, size_t columns);

// Shows the line on stderr when that is a terminal, at most ten times a second; otherwise does
// nothing.
class Progress {
 public:
  Progress();
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void Show(const ProgressState& state);
  void Show(const TransferState& state);
  // Any other line, made only when it is due.
  void Show(const std::function<std::string()>& render);
  // Takes the line away; the destructor does too.
  void Clear();

 private:
  // Whether a line is to be drawn now.
  bool IsDue() const;
  void Draw(const std::string& line);

  const bool terminal_;
  bool shown_ = false;
  absl::Time next_ = absl::InfinitePast();
};

}  // namespace vexact::client

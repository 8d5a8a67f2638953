#include "client/command/format.h"

#include <array>
#include <cctype>
#include <charconv>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace vexact::client {
namespace {

// The length of the UTF-8 character at the front of `text`, or 0 when there is none. Refuses
// overlong forms, surrogates and the control characters U+0080 to U+009F.
size_t CharacterLength(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto tail = [&](size_t i) { return i < text.size() && (byte(i) & 0xC0) == 0x80; };
  const unsigned char first = byte(0);
  if (first < 0x80) return first < 0x20 || first == 0x7F ? 0 : 1;
  if (first >= 0xC2 && first <= 0xDF && tail(1)) return first == 0xC2 && byte(1) < 0xA0 ? 0 : 2;
  if (first >= 0xE0 && first <= 0xEF && tail(1) && tail(2)) {
    if ((first == 0xE0 && byte(1) < 0xA0) || (first == 0xED && byte(1) >= 0xA0)) return 0;
    return 3;
  }
  if (first >= 0xF0 && first <= 0xF4 && tail(1) && tail(2) && tail(3)) {
    if ((first == 0xF0 && byte(1) < 0x90) || (first == 0xF4 && byte(1) >= 0x90)) return 0;
    return 4;
  }
  return 0;
}

std::string Escaped(char character) {
  if (character == '\n') return "\\n";
  if (character == '\t') return "\\t";
  return absl::StrFormat("\\x%02x", static_cast<unsigned char>(character));
}

}  // namespace

std::string Thousands(uint64_t number) {
  const std::string digits = std::to_string(number);
  std::string out;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) out += ',';
    out += digits[i];
  }
  return out;
}

std::string Rows(uint64_t rows) {
  return absl::StrCat(Thousands(rows), rows == 1 ? " row" : " rows");
}

std::string Bytes(uint64_t bytes) {
  if (bytes < 1024) return absl::StrCat(bytes, " B");
  constexpr std::array kUnits = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double size = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  for (; size >= 999.5; size /= 1024) ++unit;
  return size < 9.95 ? absl::StrFormat("%.1f %s", size, kUnits[unit])
                     : absl::StrFormat("%.0f %s", size, kUnits[unit]);
}

std::string Percent(double share) {
  const double percent = 100 * share;
  return percent < 9.95 ? absl::StrFormat("%.2g", percent) : absl::StrFormat("%.0f", percent);
}

std::string Elapsed(absl::Duration time) {
  const double seconds = absl::ToDoubleSeconds(time);
  if (seconds < 0.00995) return absl::StrFormat("%.1f ms", seconds * 1e3);
  if (seconds < 0.9995) return absl::StrFormat("%.0f ms", seconds * 1e3);
  if (seconds < 59.95) return absl::StrFormat("%.1f s", seconds);
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  return absl::StrFormat("%d min %d s", whole / 60, whole % 60);
}

std::string Clock(absl::Duration time) {
  const int64_t seconds = absl::ToInt64Seconds(time + absl::Milliseconds(500));
  const int64_t minutes = seconds / 60;
  if (minutes < 60) return absl::StrFormat("%d:%02d", minutes, seconds % 60);
  return absl::StrFormat("%d:%02d:%02d", minutes / 60, minutes % 60, seconds % 60);
}

std::string Shortest(double number) {
  std::array<char, 64> buffer;
  const auto [end, error] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), number);
  return std::string(buffer.data(), end);
}

std::string Score(double score) {
  const double size = std::fabs(score);
  if (size == 0 || (size >= 1e-3 && size < 1e6)) return absl::StrFormat("%.6f", score);
  return absl::StrFormat("%.9g", score);
}

std::string Printable(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const size_t length = CharacterLength(text);
    if (length == 0) {
      out += Escaped(text[0]);
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return out;
}

std::string FirstComponents(std::span<const float> vector) {
  constexpr size_t kShown = 6;
  std::string text;
  for (size_t i = 0; i < vector.size() && i < kShown; ++i) {
    absl::StrAppend(&text, i == 0 ? "" : ", ", absl::StrFormat("%.6g", vector[i]));
  }
  if (vector.size() > kShown) {
    absl::StrAppend(&text, ", … (", Thousands(vector.size()), " components; all with --json)");
  }
  return text;
}

std::string Renumber(std::string_view message, std::string_view unit,
                     const std::function<std::string(uint64_t)>& name) {
  std::string out;
  const std::string before = absl::StrFormat("%s ", unit);
  while (true) {
    const size_t at = message.find(before);
    if (at == std::string_view::npos) return out.append(message);
    const std::string_view rest = message.substr(at + before.size());
    const bool starts_word = at == 0 || !std::isalnum(static_cast<unsigned char>(message[at - 1]));
    uint64_t number = 0;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), number);
    if (starts_word && error == std::errc()) {
      out.append(message.substr(0, at)).append(name(number));
      message = rest.substr(static_cast<size_t>(end - rest.data()));
    } else {
      out.append(message.substr(0, at + before.size()));
      message = rest;
    }
  }
}

}  // namespace vexact::client

#include "client/command/vector_argument.h"

#include <charconv>
#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/command/format.h"

namespace vexact::client {
namespace {

constexpr std::string_view kSpace = " \t\n";

std::string_view Trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) + 1 - begin);
}

}  // namespace

absl::StatusOr<std::vector<float>> ParseVector(std::string_view text) {
  text = Trim(text);
  if (text.starts_with('[') && text.ends_with(']')) text = Trim(text.substr(1, text.size() - 2));
  if (text.empty()) return absl::InvalidArgumentError("it has no components");
  std::vector<float> vector;
  while (true) {
    // A component ends at a comma or at space.
    std::string_view word = text.substr(0, text.find_first_of(", \t\n"));
    const std::string shown = Printable(word);
    text = Trim(text.substr(word.size()));
    if (word.starts_with('+')) word.remove_prefix(1);
    float value = 0;
    const char* end = word.data() + word.size();
    const auto [rest, error] = std::from_chars(word.data(), end, value);
    if (rest == end && error == std::errc::result_out_of_range) {
      return absl::InvalidArgumentError(absl::StrCat("component ", vector.size(), " is ", shown,
                                                     ", beyond the range of a float32"));
    }
    if (error != std::errc() || rest != end || !std::isfinite(value)) {
      return absl::InvalidArgumentError(
          absl::StrCat("component ", vector.size(), " is \"", shown, "\", not a finite number"));
    }
    vector.push_back(value);
    if (text.empty()) return vector;
    if (text[0] == ',') text = Trim(text.substr(1));
  }
}

}  // namespace vexact::client

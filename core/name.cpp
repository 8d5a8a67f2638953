#include "core/name.h"

#include <algorithm>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_format.h"

namespace vexact {

absl::Status ValidateName(std::string_view field, std::string_view what, std::string_view name) {
  const auto allowed = [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-';
  };
  if (name.empty()) {
    return absl::InvalidArgumentError(absl::StrFormat("%s is empty; %s needs a name", field, what));
  }
  if (name.size() > kMaxNameLength) {
    return absl::InvalidArgumentError(absl::StrFormat("%s has %d characters; the limit is %d",
                                                      field, name.size(), kMaxNameLength));
  }
  if (!absl::ascii_isalnum(static_cast<unsigned char>(name.front())) ||
      !std::all_of(name.begin(), name.end(), allowed)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s \"%s\" is not allowed; it must be a letter or digit, then letters, "
                        "digits, '.', '_' or '-'",
                        field, absl::CHexEscape(std::string(name))));
  }
  return absl::OkStatus();
}

}  // namespace vexact

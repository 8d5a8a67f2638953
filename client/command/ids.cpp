#include "client/command/ids.h"

#include <charconv>
#include <optional>

namespace vexact::client {
namespace {

constexpr std::string_view kTextPrefix = "text:";

std::optional<uint64_t> Number(std::string_view word) {
  if (word.empty() || (word.size() > 1 && word[0] == '0')) return std::nullopt;
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
  if (error != std::errc() || end != word.data() + word.size()) return std::nullopt;
  return number;
}

// Whether a text needs the prefix, so as not to be read as something else: a number after any count
// of prefixes.
bool NeedsPrefix(std::string_view text) {
  while (text.starts_with(kTextPrefix)) text.remove_prefix(kTextPrefix.size());
  return Number(text).has_value();
}

}  // namespace

Id IdFromEntry(std::string_view entry) {
  if (const std::optional<uint64_t> number = Number(entry)) return Id(*number);
  return Id(entry);
}

Id IdFromWord(std::string_view word) {
  if (word.starts_with(kTextPrefix) && NeedsPrefix(word)) {
    return Id(word.substr(kTextPrefix.size()));
  }
  return IdFromEntry(word);
}

std::string WordFromId(const Id& id) {
  if (id.is_number()) return std::to_string(id.number());
  return (NeedsPrefix(id.text()) ? std::string(kTextPrefix) : std::string()) + id.text();
}

}  // namespace vexact::client

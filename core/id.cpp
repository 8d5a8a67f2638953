#include "core/id.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"

namespace vexact {
namespace {

// The length of the well-formed UTF-8 sequence that `text` starts with, or 0 (Unicode 15, table
// 3-7).
size_t SequenceLength(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto continues = [&](size_t i, unsigned low = 0x80, unsigned high = 0xBF) {
    return i < text.size() && byte(i) >= low && byte(i) <= high;
  };
  const unsigned lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return continues(1) ? 2 : 0;
  if (lead >= 0xE0 && lead <= 0xEF) {
    const unsigned low = lead == 0xE0 ? 0xA0 : 0x80;   // no overlong form
    const unsigned high = lead == 0xED ? 0x9F : 0xBF;  // no surrogate
    return continues(1, low, high) && continues(2) ? 3 : 0;
  }
  if (lead >= 0xF0 && lead <= 0xF4) {
    const unsigned low = lead == 0xF0 ? 0x90 : 0x80;
    const unsigned high = lead == 0xF4 ? 0x8F : 0xBF;  // at most U+10FFFF
    return continues(1, low, high) && continues(2) && continues(3) ? 4 : 0;
  }
  return 0;
}

bool IsUtf8(std::string_view text) {
  while (!text.empty()) {
    const size_t length = SequenceLength(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

}  // namespace

IdView View(const Id& id) {
  return std::visit([](const auto& form) { return IdView(form); }, id);
}

Id Own(IdView id) {
  if (const auto* number = std::get_if<uint64_t>(&id)) return *number;
  return std::string(std::get<std::string_view>(id));
}

absl::Status ValidateId(IdView id) {
  const auto* text = std::get_if<std::string_view>(&id);
  if (text == nullptr) return absl::OkStatus();
  if (text->empty()) return absl::InvalidArgumentError("id is an empty string");
  // Before the length, whose message shows the text.
  if (!IsUtf8(*text)) return absl::InvalidArgumentError("id is not valid UTF-8");
  if (text->size() > kMaxIdBytes) {
    return absl::InvalidArgumentError(absl::StrFormat("id %s has %d bytes; the limit is %d",
                                                      Describe(id), text->size(), kMaxIdBytes));
  }
  return absl::OkStatus();
}

std::string Describe(IdView id) {
  if (const auto* number = std::get_if<uint64_t>(&id)) return std::to_string(*number);
  constexpr size_t kShown = 64;
  auto text = std::get<std::string_view>(id);
  const bool cut = text.size() > kShown;
  if (cut) {
    size_t end = kShown;
    // Not in the middle of a UTF-8 sequence.
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
    text = text.substr(0, end);
  }
  // An apostrophe needs no escape between double quotes.
  const std::string escaped =
      absl::StrReplaceAll(absl::Utf8SafeCHexEscape({text.data(), text.size()}), {{"\\'", "'"}});
  return absl::StrFormat("\"%s%s\"", escaped, cut ? "…" : "");
}

}  // namespace vexact

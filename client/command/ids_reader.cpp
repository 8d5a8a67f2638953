#include "client/command/ids_reader.h"

#include <array>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/command/ids.h"

namespace vexact::client {
namespace {

absl::StatusOr<uint64_t> CountLines(const std::string& path) {
  absl::StatusOr<LineReader> lines = LineReader::Open(path);
  if (!lines.ok()) return lines.status();
  std::string_view line;
  while (true) {
    const absl::StatusOr<bool> more = lines->Next(&line);
    if (!more.ok()) return more.status();
    if (!*more) return lines->number();
  }
}

// Column `column` of a line, from 1; absent when there are fewer.
std::optional<std::string_view> Column(std::string_view line, size_t column) {
  for (; column > 1; --column) {
    const size_t tab = line.find('\t');
    if (tab == std::string_view::npos) return std::nullopt;
    line.remove_prefix(tab + 1);
  }
  return line.substr(0, line.find('\t'));
}

}  // namespace

IdsFile ParseIdsFile(const std::string& argument) {
  std::error_code none;
  const size_t colon = argument.rfind(':');
  if (colon == std::string::npos || std::filesystem::exists(argument, none)) return {argument, 0};
  size_t column = 0;
  const char* end = argument.data() + argument.size();
  const auto [rest, error] = std::from_chars(argument.data() + colon + 1, end, column);
  if (error != std::errc() || rest != end || column == 0) return {argument, 0};
  return {argument.substr(0, colon), column};
}

absl::StatusOr<IdsReader> IdsReader::Open(const IdsFile& file, bool as_text) {
  IdsReader reader(file.column, as_text);
  if (IsNpy(file.path)) {
    absl::StatusOr<NpyFile> numbers = NpyFile::Open(file.path);
    if (!numbers.ok()) return numbers.status();
    if (numbers->type().kind == 'f' || numbers->shape().size() != 1) {
      return absl::InvalidArgumentError(
          absl::StrCat(file.path,
                       " cannot give ids: a one-dimensional array of integers is "
                       "expected, and it has ",
                       numbers->shape().size(), " dimensions of type ", numbers->type().descr));
    }
    reader.count_ = numbers->shape()[0];
    reader.numbers_ = std::make_unique<NpyFile>(*std::move(numbers));
    return reader;
  }
  absl::StatusOr<LineReader> lines = LineReader::Open(file.path);
  if (!lines.ok()) return lines.status();
  if (lines->regular()) {
    const absl::StatusOr<uint64_t> count = CountLines(file.path);
    if (!count.ok()) return count.status();
    reader.count_ = *count;
  }
  reader.lines_ = std::make_unique<LineReader>(*std::move(lines));
  return reader;
}

absl::StatusOr<std::optional<Id>> IdsReader::Next() {
  return numbers_ != nullptr ? NextNumber() : NextLine();
}

absl::StatusOr<std::optional<Id>> IdsReader::NextLine() {
  std::string_view line;
  const absl::StatusOr<bool> more = lines_->Next(&line);
  if (!more.ok()) return more.status();
  if (!*more) return std::nullopt;
  const auto where = [this] { return absl::StrCat(lines_->name(), ": line ", lines_->number()); };
  const std::optional<std::string_view> entry =
      column_ == 0 ? std::optional(line) : Column(line, column_);
  if (!entry) {
    return absl::InvalidArgumentError(
        absl::StrCat(where(), " has no column ", column_, " (columns are separated by tabs)"));
  }
  if (entry->empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(where(), " is empty; ids have at least one character"));
  }
  return as_text_ ? Id(*entry) : IdFromEntry(*entry);
}

absl::StatusOr<std::optional<Id>> IdsReader::NextNumber() {
  if (next_ == *count_) return std::nullopt;
  const NpyType& type = numbers_->type();
  std::array<std::byte, 8> raw{};
  if (absl::Status status = numbers_->Read(next_, std::span(raw).first(type.size)); !status.ok()) {
    return status;
  }
  uint64_t number;
  std::memcpy(&number, raw.data(), sizeof(number));
  const uint64_t sign = uint64_t{1} << (type.size * 8 - 1);
  if (type.kind == 'i' && (number & sign) != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(numbers_->path(), ": entry ", next_, " is negative; ids are 0 or more"));
  }
  ++next_;
  return as_text_ ? Id(std::to_string(number)) : Id(number);
}

}  // namespace vexact::client

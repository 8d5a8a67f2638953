#include "core/id_index.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace vexact {
namespace {

uint64_t TextBytes(std::string_view text) {
  constexpr size_t kInside = 15;  // of a std::string, without an allocation
  return text.size() > kInside ? text.size() + 1 : 0;
}

template <typename Map>
std::optional<RowLocation> Lookup(const Map& map, const auto& key) {
  const auto found = map.find(key);
  if (found == map.end()) return std::nullopt;
  return found->second;
}

template <typename Map>
std::optional<RowLocation> Exchange(Map& map, typename Map::key_type key, RowLocation row) {
  const auto [entry, inserted] = map.try_emplace(std::move(key), row);
  if (inserted) return std::nullopt;
  return std::exchange(entry->second, row);
}

template <typename Map>
std::optional<RowLocation> Extract(Map& map, const auto& key) {
  const auto found = map.find(key);
  if (found == map.end()) return std::nullopt;
  const RowLocation row = found->second;
  map.erase(found);
  return row;
}

// Appends the entries in their order, which is much faster than one by one; returns a key that
// occurs twice.
template <typename Key, typename Map>
std::optional<Key> Fill(std::vector<std::pair<Key, RowLocation>>& entries, Map& map) {
  const auto before = [](const auto& a, const auto& b) { return a.first < b.first; };
  if (!std::is_sorted(entries.begin(), entries.end(), before)) {
    std::sort(entries.begin(), entries.end(), before);
  }
  for (size_t i = 0; i < entries.size(); ++i) {
    if (i > 0 && entries[i - 1].first == entries[i].first) return entries[i].first;
    map.emplace_hint(map.end(), typename Map::key_type(entries[i].first), entries[i].second);
  }
  return std::nullopt;
}

}  // namespace

std::variant<IdIndex, Id> IdIndex::Build(std::span<const RowLocation> rows) {
  IdIndex index;
  std::vector<std::pair<uint64_t, RowLocation>> numbers;
  std::vector<std::pair<std::string_view, RowLocation>> texts;
  for (const RowLocation& row : rows) {
    const IdView id = row.segment->id(row.row);
    if (const auto* number = std::get_if<uint64_t>(&id)) {
      numbers.emplace_back(*number, row);
    } else {
      texts.emplace_back(std::get<std::string_view>(id), row);
    }
    if (row.segment->dot(row.row) == 0) index.zero_rows_.insert(Own(id));
  }
  if (const auto twice = Fill(numbers, index.numbers_)) return Id(*twice);
  if (const auto twice = Fill(texts, index.texts_)) return Id(std::string(*twice));
  for (const auto& [text, row] : texts) index.text_bytes_ += TextBytes(text);
  return index;
}

std::optional<RowLocation> IdIndex::Find(IdView id) const {
  if (const auto* number = std::get_if<uint64_t>(&id)) return Lookup(numbers_, *number);
  return Lookup(texts_, std::get<std::string_view>(id));
}

std::optional<RowLocation> IdIndex::Set(IdView id, RowLocation row, bool is_zero) {
  if (is_zero) {
    zero_rows_.insert(Own(id));
  } else if (!zero_rows_.empty()) {
    zero_rows_.erase(Own(id));
  }
  if (const auto* number = std::get_if<uint64_t>(&id)) return Exchange(numbers_, *number, row);
  const auto text = std::get<std::string_view>(id);
  const auto previous = Exchange(texts_, std::string(text), row);
  if (!previous) text_bytes_ += TextBytes(text);
  return previous;
}

std::optional<RowLocation> IdIndex::Remove(IdView id) {
  if (!zero_rows_.empty()) zero_rows_.erase(Own(id));
  if (const auto* number = std::get_if<uint64_t>(&id)) return Extract(numbers_, *number);
  const auto text = std::get<std::string_view>(id);
  const auto removed = Extract(texts_, text);
  if (removed) text_bytes_ -= TextBytes(text);
  return removed;
}

std::optional<Id> IdIndex::first_zero_row() const {
  if (zero_rows_.empty()) return std::nullopt;
  return *zero_rows_.begin();
}

uint64_t IdIndex::bytes() const {
  // The nodes of a B-tree are about three quarters full.
  const uint64_t entries = numbers_.size() * (sizeof(uint64_t) + sizeof(RowLocation)) +
                           texts_.size() * (sizeof(std::string) + sizeof(RowLocation));
  return entries * 4 / 3 + text_bytes_ + zero_rows_.size() * sizeof(Id);
}

}  // namespace vexact

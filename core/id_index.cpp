#include "core/id_index.h"

#include <utility>

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

}  // namespace

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

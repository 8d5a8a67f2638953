// From id to live row.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <variant>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "core/id.h"
#include "core/segment.h"

namespace vexact {

// A row as its writer holds it.
struct RowLocation {
  Segment* segment = nullptr;
  uint32_t row = 0;
};

// Which live row each id names, in id order, and which of these rows are zero.
//
// Thread safety: none of its own; the collection guards it.
class IdIndex {
 public:
  // An index of these rows. Returns the id that two of them have, where there is one.
  static std::variant<IdIndex, Id> Build(std::span<const RowLocation> rows);

  std::optional<RowLocation> Find(IdView id) const;

  // Lets the id name `row`; `is_zero` says whether its vector is. Returns the row that it named
  // before.
  std::optional<RowLocation> Set(IdView id, RowLocation row, bool is_zero);

  // Returns the row that the id named.
  std::optional<RowLocation> Remove(IdView id);

  // The least id of a zero row.
  std::optional<Id> first_zero_row() const;

  // Calls `visit(row)` in id order from the first id after `after`, or from the beginning, until it
  // returns false.
  template <typename Visit>
  void VisitAfter(std::optional<IdView> after, Visit visit) const {
    auto number = numbers_.begin();
    auto text = texts_.begin();
    if (after) {
      if (const auto* last = std::get_if<uint64_t>(&*after)) {
        number = numbers_.upper_bound(*last);
      } else {
        number = numbers_.end();
        text = texts_.upper_bound(std::get<std::string_view>(*after));
      }
    }
    for (; number != numbers_.end(); ++number) {
      if (!visit(number->second)) return;
    }
    for (; text != texts_.end(); ++text) {
      if (!visit(text->second)) return;
    }
  }

  // An estimate.
  uint64_t bytes() const;

 private:
  template <typename Key>
  using Map = absl::btree_map<Key, RowLocation, std::less<>>;

  Map<uint64_t> numbers_;
  Map<std::string> texts_;
  absl::btree_set<Id> zero_rows_;
  uint64_t text_bytes_ = 0;  // what the keys of texts_ keep outside of themselves
};

}  // namespace vexact

#include "core/engine.h"

#include <algorithm>

namespace vexact {

SearchStatistics& SearchStatistics::operator+=(const SearchStatistics& other) {
  rows_refined += other.rows_refined;
  rows_rescored += other.rows_rescored;
  bytes_read += other.bytes_read;
  for (const LayoutUse& use : other.layouts) {
    const auto known = std::find_if(layouts.begin(), layouts.end(), [&](const LayoutUse& mine) {
      return mine.layout == use.layout;
    });
    if (known == layouts.end()) {
      layouts.push_back(use);
      continue;
    }
    known->rows += use.rows;
    for (size_t level = 0; level < use.passed.size(); ++level) {
      known->passed[level] += use.passed[level];
    }
  }
  return *this;
}

SearchStatistics SearchStatistics::Share(uint64_t queries, uint64_t total) const {
  SearchStatistics share = *this;
  if (queries == total) return share;
  const auto scale = [&](uint64_t& number) { number = number * queries / total; };
  scale(share.rows_refined);
  scale(share.rows_rescored);
  scale(share.bytes_read);
  for (LayoutUse& use : share.layouts) {
    scale(use.rows);
    std::ranges::for_each(use.passed, scale);
  }
  return share;
}

std::string_view Name(EngineKind kind) {
  switch (kind) {
    case EngineKind::kScan:
      return "scan";
    case EngineKind::kReference:
      return "reference";
    case EngineKind::kFaiss:
      return "faiss";
  }
  return "";
}

std::optional<EngineKind> ParseEngineKind(std::string_view name) {
  for (const EngineKind kind : kEngineKinds) {
    if (Name(kind) == name) return kind;
  }
  return std::nullopt;
}

}  // namespace vexact

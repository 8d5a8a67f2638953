#include "core/compaction.h"

#include <algorithm>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace vexact {
namespace {

// A full segment is rewritten when more than 1 / kDeadShare of its rows are dead, and joined on the
// way when it has less than 1 / kSmallShare of a full one's rows.
constexpr uint32_t kDeadShare = 4;
constexpr uint32_t kSmallShare = 4;

using Part = CollectionState::Part;

bool IsGarbage(const Part& part) { return part.segment->dead() > part.rows / kDeadShare; }

// The positions of the parts that are worth joining into one new segment; empty when there is no
// garbage to give up.
std::vector<size_t> ChooseVictims(const RowTable& table, const CollectionState& state) {
  std::vector<size_t> victims;
  uint64_t live = 0;
  const auto choose = [&](auto&& worth_it) {
    for (size_t p = 0; p < state.parts.size(); ++p) {
      const Part& part = state.parts[p];
      if (!state.IsFull(p)) break;
      const uint64_t rows = part.rows - std::min(part.rows, part.segment->dead());
      if (!worth_it(part) || live + rows > table.FullSegmentRows()) continue;
      live += rows;
      victims.push_back(p);
    }
  };
  choose(IsGarbage);
  if (victims.empty()) return victims;
  // In the room that is left: small segments must not keep a large one from its turn.
  choose([&](const Part& part) {
    return !IsGarbage(part) && part.rows < table.FullSegmentRows() / kSmallShare;
  });
  std::sort(victims.begin(), victims.end());
  return victims;
}

// What replaces some parts.
struct Joined {
  std::vector<std::shared_ptr<Segment>> victims;
  std::vector<RowLocation> sources;  // row i of `part` was copied from sources[i]
  Part part;                         // without a segment when nothing was alive
};

// Without a lock: the victims are full, and their rows never change.
absl::StatusOr<Joined> Join(const RowTable& table, const LayoutCare& care,
                            const CollectionState& state, const std::vector<size_t>& positions,
                            const std::stop_token& stop) {
  Joined joined;
  for (const size_t p : positions) {
    const Part& victim = state.parts[p];
    joined.victims.push_back(victim.segment);
    for (uint32_t row = 0; row < victim.rows; ++row) {
      if (victim.segment->IsLive(row, state.sequence)) {
        joined.sources.push_back({victim.segment.get(), row});
      }
    }
  }
  const auto rows = static_cast<uint32_t>(joined.sources.size());
  if (rows == 0) return joined;
  auto created = table.NewPart(care.current(), rows);
  if (!created.ok()) return created.status();
  Part part = *std::move(created);
  while (part.rows < rows) {
    if (stop.stop_requested()) return absl::CancelledError("the server is stopping");
    const uint32_t begin = part.rows;
    for (; part.rows < std::min(rows, begin + kBackgroundRows); ++part.rows) {
      const auto [segment, row] = joined.sources[part.rows];
      part.segment->Append(segment->number(row), segment->id(row), segment->vector(row),
                           segment->dot(row));
    }
    part.codes->Encode(*part.segment, table.kernel(), begin, part.rows);
    table.GiveWay();
  }
  joined.part = std::move(part);
  return joined;
}

// noexcept: the index and the state must change together. Older snapshots keep the old segments and
// their tombstones; the state keeps its sequence number, because nothing that a search can see has
// changed.
uint64_t Publish(RowTable& table, Joined joined) noexcept {
  std::lock_guard writing(table.write_mutex);
  CollectionState state = *table.state.Take();
  std::unique_lock indexing(table.index_mutex);
  Part& part = joined.part;
  for (uint32_t row = 0; row < joined.sources.size(); ++row) {
    // A row that was buried while it was copied is dead in the new segment too.
    const RowLocation& source = joined.sources[row];
    if (const uint64_t died = source.segment->died(source.row); died != 0) {
      part.segment->Bury(row, died);
    } else {
      table.index.Set(part.segment->id(row), {part.segment.get(), row},
                      part.segment->dot(row) == 0);
    }
  }
  uint64_t given_up = 0;
  const auto is_victim = [&](const Part& old) {
    return std::find(joined.victims.begin(), joined.victims.end(), old.segment) !=
           joined.victims.end();
  };
  const auto first = std::find_if(state.parts.begin(), state.parts.end(), is_victim);
  for (const Part& old : state.parts) {
    if (is_victim(old)) given_up += old.rows;
  }
  given_up -= joined.sources.size();
  if (part.segment != nullptr) *first = std::move(part);
  std::erase_if(state.parts, is_victim);
  state.dead_rows -= given_up;
  table.state.Publish(std::move(state));
  return given_up;
}

}  // namespace

bool IsCompactionDue(const RowTable& table, const CollectionState& state) {
  return !ChooseVictims(table, state).empty();
}

absl::StatusOr<uint64_t> Compact(RowTable& table, const LayoutCare& care,
                                 const std::stop_token& stop) {
  uint64_t given_up = 0;
  while (true) {
    const Snapshot state = table.state.Take();
    const std::vector<size_t> victims = ChooseVictims(table, *state);
    if (victims.empty()) return given_up;
    auto joined = Join(table, care, *state, victims, stop);
    if (!joined.ok()) return joined.status();
    given_up += Publish(table, *std::move(joined));
  }
}

}  // namespace vexact

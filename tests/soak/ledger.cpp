#include "tests/soak/ledger.h"

#include <algorithm>
#include <utility>

#include "tests/crash/text.h"

namespace vexact::soak {
namespace {

using crash::Text;

// For so long a cancelled write may come into effect after its call has ended. All that it still
// needs then is processor time.
constexpr int kMostRounds = 2;

bool IsOpen(const Unplaced& unplaced) {
  return unplaced.until == Unplaced::kUnknown && !unplaced.writes.empty();
}

}  // namespace

void Ledger::See(uint64_t sequence) {
  uint64_t seen = seen_;
  while (seen < sequence && !seen_.compare_exchange_weak(seen, sequence)) {
  }
}

void Ledger::Write(uint64_t sequence, Apply apply) {
  See(sequence);
  std::lock_guard lock(mutex_);
  if (!round_.writes.emplace(sequence, std::move(apply)).second) {
    round_.defects.push_back(Text("two writes were told the number ", sequence));
  }
}

void Ledger::Read(uint64_t sequence, uint64_t since, Check check) {
  See(sequence);
  std::lock_guard lock(mutex_);
  if (sequence < since) {
    round_.defects.push_back(
        Text("an answer is of ", sequence, ", but ", since, " was seen before it was asked for"));
  }
  round_.reads.emplace(sequence, std::move(check));
}

bool Ledger::SendUnplaced(const std::function<std::optional<Unplaced>()>& send) {
  std::unique_lock turn(turn_, std::try_to_lock);
  if (!turn || (!sent_.empty() && IsOpen(sent_.back().unplaced))) return false;
  std::optional<Unplaced> unplaced = send();
  if (!unplaced) return true;
  const uint64_t after = fence_;
  if (unplaced->until != Unplaced::kUnknown) fence_ = unplaced->until;
  sent_.push_back({*std::move(unplaced), after});
  return true;
}

std::vector<uint64_t> Ledger::Gaps(uint64_t last) const {
  std::vector<uint64_t> gaps;
  for (uint64_t sequence = taken_ + 1; sequence <= last; ++sequence) {
    if (!round_.writes.contains(sequence)) gaps.push_back(sequence);
  }
  return gaps;
}

bool Ledger::Unsettled(uint64_t last) const {
  return !sent_.empty() && IsOpen(sent_.back().unplaced) && Gaps(last).empty();
}

void Ledger::PlaceOne(Unplaced& unplaced, uint64_t after, std::vector<uint64_t>& gaps) {
  const auto inside = [&](uint64_t gap) { return gap > after && gap <= unplaced.until; };
  const auto begin = std::ranges::find_if(gaps, inside);
  const auto end = std::find_if_not(begin, gaps.end(), inside);
  const size_t count = std::min<size_t>(unplaced.writes.size(), end - begin);
  for (size_t i = 0; i < count; ++i) {
    round_.writes.emplace(begin[static_cast<ptrdiff_t>(i)], std::move(unplaced.writes[i]));
  }
  gaps.erase(begin, begin + static_cast<ptrdiff_t>(count));
  unplaced.writes.erase(unplaced.writes.begin(),
                        unplaced.writes.begin() + static_cast<ptrdiff_t>(count));
  if (unplaced.until == Unplaced::kUnknown) round_.late_writes += count;
  if (count == 0 && unplaced.without_effect) {
    round_.reads.emplace(unplaced.until, std::move(unplaced.without_effect));
  }
}

void Ledger::Place(uint64_t last) {
  std::vector<uint64_t> gaps = Gaps(last);
  std::vector<Sent> waiting;
  for (Sent& sent : sent_) {
    PlaceOne(sent.unplaced, sent.after, gaps);
    if (IsOpen(sent.unplaced) && ++sent.rounds < kMostRounds) waiting.push_back(std::move(sent));
  }
  sent_ = std::move(waiting);
  fence_ = last;
  for (const uint64_t gap : gaps) {
    round_.defects.push_back(Text("write ", gap, " is nobody's"));
    round_.writes.emplace(gap, [](Model&) { return std::string(); });
  }
}

Round Ledger::Take(uint64_t last) {
  std::scoped_lock lock(turn_, mutex_);
  Place(last);
  taken_ = last;
  return std::exchange(round_, {});
}

std::vector<std::string> Replay(Round round, Model& model) {
  std::vector<std::string> defects = std::move(round.defects);
  const auto note = [&](uint64_t sequence, const std::string& defect) {
    if (!defect.empty()) defects.push_back(Text("at ", sequence, ": ", defect));
  };
  auto read = round.reads.begin();
  const auto check_reads = [&] {
    for (; read != round.reads.end() && read->first <= model.sequence(); ++read) {
      note(read->first,
           read->first < model.sequence() ? "an answer of a time long gone" : read->second(model));
    }
  };
  check_reads();
  for (const auto& [sequence, apply] : round.writes) {
    note(sequence, apply(model));
    if (model.sequence() != sequence) {
      note(sequence, Text("the model is at ", model.sequence()));
      return defects;  // nothing could be compared from here on
    }
    check_reads();
  }
  if (read != round.reads.end()) note(read->first, "an answer of a time to come");
  return defects;
}

}  // namespace vexact::soak

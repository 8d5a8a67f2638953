#include "tests/crash/checker.h"

#include <algorithm>
#include <bit>
#include <iostream>
#include <map>
#include <random>
#include <set>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

#include "tests/crash/answers.h"
#include "tests/crash/found.h"
#include "tests/crash/history.h"
#include "tests/crash/text.h"
#include "tests/crash/world.h"
#include "vexact/client.h"

namespace vexact::crash {
namespace {

constexpr uint32_t kPages = 997;  // of rows; pages of another size than any batch

class Checker {
 public:
  explicit Checker(const CheckOptions& options)
      : options_(options), world_(options.seed), client_(options.address), random_(options.seed) {
    for (uint32_t a = 0; a <= kObserver; ++a) {
      histories_.push_back(History::Read(LogPath(options.logs, a)));
    }
  }

  bool Run() {
    CheckHealth();
    ReadCollections();
    for (uint32_t a = 0; a < kActors; ++a) Settle(a);
    CheckSnapshots();
    for (auto& [number, found] : found_) {
      CheckSequence(number, found);
      answers_.Check(number, found);
    }
    if (defects_.count() > 0) return false;
    Report();
    return true;
  }

 private:
  // The part of an actor's world that one write may change: a row, or the collection itself.
  static constexpr uint32_t kConfig = ~uint32_t{0};
  using Place = std::pair<uint32_t, uint32_t>;  // collection, index

  void CheckHealth();
  void ReadCollections();
  void ReadRows(uint32_t number, Found& found);

  // Finds after how many of the writes without an answer the server's state is the actor's, all or
  // nothing.
  void Settle(uint32_t actor);
  const Found* FindCollection(uint32_t number) const;
  // `found` may be null: no such collection.
  bool Holds(const Found* found, const Shadow& shadow, Place place) const;
  std::string Describe(const Shadow& shadow, Place place) const;
  static std::vector<Place> Places(uint32_t actor, const Operation& operation);

  void CheckSnapshots();
  // What the saver was making of a snapshot when it was interrupted: there whole or not at all.
  // Removes it, and returns whether that was possible.
  bool CheckRestored();
  void LogRemoval();
  // Restores a snapshot and takes it away again.
  void TryRestoring(const client::Snapshot& snapshot);
  // kRestored must be what the collection was when it had the sequence number. Removes it, and
  // returns whether that was possible.
  bool CheckMoment(uint32_t number, uint64_t sequence);
  bool HoldsAtMoment(const Found& found, uint32_t actor, uint32_t number, uint64_t sequence) const;

  void CheckSequence(uint32_t number, const Found& found);
  // Of rows and metric. Whoever makes a collection anew has deleted the one before.
  std::vector<const Entry*> ChangesSinceCreation(uint32_t number) const;
  void Report() const;

  const CheckOptions& options_;
  const World world_;
  const client::Client client_;
  std::mt19937_64 random_;
  std::vector<History> histories_;
  std::map<uint32_t, Found> found_;  // by index of the plan
  std::optional<client::Collection> restored_;
  Defects defects_;
  Answers answers_{options_, world_, client_, random_, defects_};
  uint64_t unknown_ = 0, applied_ = 0;
};

void Checker::CheckHealth() {
  const auto health = client_.CheckHealth({.timeout = kPatience});
  if (!health.ok()) throw std::runtime_error(health.status().ToString());
  if (*health != client::Health::kServing) defects_.Add("health is ", Name(*health));
}

void Checker::ReadCollections() {
  const auto list = client_.ListCollections({.timeout = kPatience});
  if (!list.ok()) throw std::runtime_error(list.status().ToString());
  for (const auto& damaged : list->damaged) {
    defects_.Add("collection \"", damaged.name, "\" is damaged: ", damaged.error);
  }
  for (const client::Collection& info : list->collections) {
    const auto plan = std::ranges::find(
        Plans(), info.name,
        [](const CollectionPlan& p) -> const std::string& { return p.spec.name; });
    if (info.name == kRestored) {
      restored_ = info;
      continue;
    }
    if (plan == Plans().end()) {
      defects_.Add("collection \"", info.name, "\": nobody made it");
      continue;
    }
    if (info.dimension != plan->spec.dimension || info.normalization != plan->spec.normalization) {
      defects_.Add("collection \"", info.name, "\" has other parameters than it was made with");
    }
    const auto number = static_cast<uint32_t>(plan - Plans().begin());
    Found& found = found_[number];
    found.info = info;
    ReadRows(number, found);
  }
}

void Checker::ReadRows(uint32_t number, Found& found) {
  const std::string& name = found.info.name;
  client::Scroll scroll =
      client_.Scroll(name, {.page_size = kPages, .with_vectors = true}, {.timeout = kPatience});
  while (scroll.Next()) {
    if (!found.rows.empty() && scroll.point().id <= found.rows.back().id) {
      defects_.Add("collection \"", name, "\": rows are not in the order of their ids");
    }
    found.rows.push_back({scroll.point().id, scroll.point().vector});
  }
  if (!scroll.status().ok()) {
    return defects_.Add("collection \"", name, "\" cannot be read: ", scroll.status().ToString());
  }
  for (const Row& row : found.rows) {
    const auto owner = OwnerOf(row.id, number);
    if (owner) {
      found.vectors[owner->first][owner->second] = &row.vector;
      continue;
    }
    const std::string id = row.id.is_text() ? row.id.text() : std::to_string(row.id.number());
    defects_.Add("collection \"", name, "\": nobody wrote row ", id);
  }
  const auto count = client_.Count(name, {.timeout = kPatience});
  if (count.value_or(~uint64_t{0}) != found.rows.size() || found.info.rows != found.rows.size()) {
    defects_.Add("collection \"", name, "\" counts ", found.info.rows, " rows and has ",
                 found.rows.size());
  }
}

void Checker::Settle(uint32_t actor) {
  History& history = histories_[actor];
  Shadow shadow(actor, history);
  std::set<Place> wrong;
  for (uint32_t c = 0; c < Plans().size(); ++c) {
    Operation all{.kind = Operation::kDrop, .collection = c};
    for (const Place& place : Places(actor, all)) {
      if (!Holds(FindCollection(c), shadow, place)) wrong.insert(place);
    }
  }
  const auto is_unknown = [](const Entry& entry) { return entry.outcome == Outcome::kUnknown; };
  const auto first = std::ranges::find_if(history.entries, is_unknown);
  // Where only unanswered writes can be the reason, they are; the rest is lost.
  auto next = first;
  std::set<Place> closest = wrong;
  for (; !wrong.empty() && next != history.entries.end(); ++next) {
    shadow.Apply(next->operation);
    for (const Place& place : Places(actor, next->operation)) {
      if (Holds(FindCollection(place.first), shadow, place)) {
        wrong.erase(place);
      } else {
        wrong.insert(place);
      }
    }
    if (wrong.size() < closest.size()) closest = wrong;
  }
  if (!wrong.empty()) {
    const Shadow acknowledged(actor, history);
    defects_.Add(ActorName(actor), ": ", closest.size(),
                 " rows or settings are neither as acknowledged (", history.entries.size(),
                 " writes, the last ", history.entries.end() - first,
                 " without an answer) nor as after any of the unanswered writes");
    for (const Place& place : closest) defects_.Add(Describe(acknowledged, place));
    return;
  }
  Log log(LogPath(options_.logs, actor));
  for (auto entry = first; entry != history.entries.end(); ++entry) {
    const bool applied = entry < next;
    entry->outcome = applied ? Outcome::kApplied : Outcome::kAbsent;
    log.Settled(entry->operation.number, applied);
    ++unknown_;
    if (applied) ++applied_;
  }
}

std::vector<Checker::Place> Checker::Places(uint32_t actor, const Operation& operation) {
  const uint32_t collection = operation.collection;
  const uint32_t ids = OwnedIds(actor, collection);
  std::vector<Place> places;
  if (operation.kind == Operation::kUpsert || operation.kind == Operation::kDelete) {
    for (const uint32_t index : operation.Indices(ids)) places.emplace_back(collection, index);
    return places;
  }
  if (OwnsConfig(actor, collection)) places.emplace_back(collection, kConfig);
  if (operation.kind == Operation::kSetMetric) return places;
  for (uint32_t index = 0; index < ids; ++index) places.emplace_back(collection, index);
  return places;
}

const Found* Checker::FindCollection(uint32_t number) const {
  const auto found = found_.find(number);
  return found == found_.end() ? nullptr : &found->second;
}

bool Checker::Holds(const Found* found, const Shadow& shadow, Place place) const {
  const auto [collection, index] = place;
  const Shadow::Collection& expected = shadow.collections[collection];
  if (index == kConfig) {
    if (found == nullptr) return !expected.exists;
    return expected.exists && found->info.metric == expected.metric;
  }
  const uint64_t version = expected.versions[index];
  if (found == nullptr) return version == 0;
  const auto& vectors = found->vectors[shadow.actor];
  const auto vector = vectors.find(index);
  if (vector == vectors.end()) return version == 0;
  return version != 0 &&
         SameBits(*vector->second, world_.Stored(collection, shadow.actor, index, version));
}

std::string Checker::Describe(const Shadow& shadow, Place place) const {
  const auto [collection, index] = place;
  const Shadow::Collection& expected = shadow.collections[collection];
  const auto found = found_.find(collection);
  std::string text = Text("  \"", Plans()[collection].spec.name, "\"");
  if (index == kConfig) {
    return Text(text, " should ", expected.exists ? "" : "not ", "exist with metric ",
                Name(expected.metric), "; it ",
                found == found_.end() ? std::string("does not exist")
                                      : Text("has ", Name(found->second.info.metric)));
  }
  const uint64_t version = expected.versions[index];
  const bool is_there =
      found != found_.end() && found->second.vectors[shadow.actor].contains(index);
  const std::string should =
      version == 0 ? std::string("not be there") : Text("be there as of write ", version);
  return Text(text, " row ", index, " of ", ActorName(shadow.actor), " should ", should,
              is_there ? "; it is there" : "; it is not");
}

void Checker::CheckSnapshots() {
  if (!CheckRestored()) return;
  const auto snapshots = client_.ListSnapshots({}, {.timeout = kPatience});
  if (!snapshots.ok()) return defects_.Add("snapshots: ", snapshots.status().ToString());
  using Name = std::pair<std::string, std::string>;
  std::set<Name> listed;
  for (const client::Snapshot& snapshot : *snapshots) {
    listed.emplace(snapshot.collection, snapshot.name);
    if (snapshot.error.empty()) continue;
    defects_.Add("snapshot ", snapshot.name, " of \"", snapshot.collection, "\": ", snapshot.error);
  }
  const auto names = [&](Certainty certainty) {
    std::set<Name> result;
    for (const Operation& save : SavedFor(histories_[kSaver], certainty)) {
      result.emplace(Plans()[save.collection].spec.name, save.SnapshotName());
    }
    return result;
  };
  const std::set<Name> possible = names(Certainty::kPossible);
  for (const auto& [collection, name] : listed) {
    if (possible.contains({collection, name})) continue;
    defects_.Add("snapshot ", name, " of \"", collection, "\": it should not be there");
  }
  for (const auto& [collection, name] : names(Certainty::kCertain)) {
    if (listed.contains({collection, name})) continue;
    defects_.Add("snapshot ", name, " of \"", collection, "\" was made and is not there");
  }
  if (!snapshots->empty()) TryRestoring((*snapshots)[random_() % snapshots->size()]);
}

bool Checker::CheckRestored() {
  std::optional<uint32_t> collection;  // of the snapshot that was restored last
  bool certain = false;
  for (const auto& [operation, outcome, sequence] : histories_[kSaver].entries) {
    if (operation.kind == Operation::kRestore) collection = operation.collection;
    const bool restores = operation.kind == Operation::kRestore && outcome == Outcome::kDone;
    const bool drops = operation.kind == Operation::kDropRestored && outcome != Outcome::kRefused;
    if (restores || drops) certain = restores;
  }
  if (restored_ && collection) {
    if (!CheckMoment(*collection, restored_->sequence)) return false;
    LogRemoval();
    return true;
  }
  if (restored_) defects_.Add("nobody restored a snapshot");
  if (certain && !restored_) {
    defects_.Add("a snapshot was restored, and the collection is not there");
  }
  return !restored_;
}

// In the saver's name, for the checks that come later.
void Checker::LogRemoval() {
  std::vector<Entry>& entries = histories_[kSaver].entries;
  const Operation removal{.number = entries.size() + 1, .kind = Operation::kDropRestored};
  Log log(LogPath(options_.logs, kSaver));
  log.Begin(removal);
  log.Done(removal.number, 0);
  entries.push_back({.operation = removal, .outcome = Outcome::kDone});
}

void Checker::TryRestoring(const client::Snapshot& snapshot) {
  const auto plan =
      std::ranges::find(Plans(), snapshot.collection,
                        [](const CollectionPlan& p) -> const std::string& { return p.spec.name; });
  if (plan == Plans().end()) return;
  const auto restored = client_.RestoreStoredSnapshot(kRestored, snapshot.collection, snapshot.name,
                                                      {.timeout = kPatience});
  if (absl::IsResourceExhausted(restored.status())) return;  // the disk is full
  if (!restored.ok()) {
    return defects_.Add("snapshot ", snapshot.name, " of \"", snapshot.collection,
                        "\" cannot be restored: ", restored.status().ToString());
  }
  if (restored->rows != snapshot.rows || restored->sequence != snapshot.sequence) {
    defects_.Add("snapshot ", snapshot.name, ": ", restored->rows, " rows at sequence ",
                 restored->sequence, " came back of ", snapshot.rows, " at ", snapshot.sequence);
  }
  CheckMoment(static_cast<uint32_t>(plan - Plans().begin()), snapshot.sequence);
}

bool Checker::CheckMoment(uint32_t number, uint64_t sequence) {
  const auto described = client_.GetCollection(kRestored, {.timeout = kPatience});
  if (!described.ok()) {
    defects_.Add(kRestored, ": ", described.status().ToString());
    return false;
  }
  Found found;
  found.info = described->collection;
  ReadRows(number, found);
  if (found.info.sequence != sequence) {
    defects_.Add("a snapshot of sequence ", sequence, " came back with ", found.info.sequence);
  }
  for (uint32_t a = 0; a < kActors; ++a) {
    if (HoldsAtMoment(found, a, number, sequence)) continue;
    defects_.Add("a snapshot of \"", Plans()[number].spec.name, "\" at sequence ", sequence,
                 " has rows or a metric that ", ActorName(a), " had not written then");
  }
  const auto dropped = client_.DeleteCollection(kRestored, {.timeout = kPatience});
  if (!dropped.ok() && !absl::IsResourceExhausted(dropped.status())) {
    defects_.Add(kRestored, ": ", dropped.status().ToString());
  }
  return dropped.ok();
}

// Whether it is what the actor had written after some of its writes, all those up to the sequence
// number among them and none after it. Not every number is known.
bool Checker::HoldsAtMoment(const Found& found, uint32_t actor, uint32_t number,
                            uint64_t sequence) const {
  std::vector<const Entry*> writes;
  for (const Entry& entry : histories_[actor].entries) {
    if (entry.operation.collection == number && entry.HasEffect()) writes.push_back(&entry);
  }
  // A change of metric may have been answered with the number of a later write.
  const auto is_after = [&](const Entry* entry) {
    return entry->sequence > sequence && entry->operation.kind != Operation::kSetMetric;
  };
  const auto end = std::ranges::find_if(writes, is_after);
  const auto is_within = [&](const Entry* entry) {
    return entry->sequence != 0 && entry->sequence <= sequence;
  };
  const auto begin = std::find_if(std::reverse_iterator(end), writes.rend(), is_within).base();
  Shadow shadow(actor);
  for (auto write = writes.begin(); write != begin; ++write) shadow.Apply((*write)->operation);
  const std::vector<Place> places = Places(actor, {.kind = Operation::kDrop, .collection = number});
  for (auto write = begin;; ++write) {
    const bool holds = std::ranges::all_of(
        places, [&](const Place& place) { return Holds(&found, shadow, place); });
    if (holds || write == end) return holds;
    shadow.Apply((*write)->operation);
  }
}

// Each write that changed something has taken a number of its own, and what was seen stays.
void Checker::CheckSequence(uint32_t number, const Found& found) {
  const std::string named = Text("collection \"", found.info.name, "\"");
  const uint64_t sequence = found.info.sequence;
  std::set<uint64_t> given;
  uint64_t effective = 0, perhaps = 0;
  for (const Entry* entry : ChangesSinceCreation(number)) {
    entry->HasEffect() ? ++effective : ++perhaps;
    if (entry->sequence > sequence) {
      defects_.Add(named, " is at sequence ", sequence, ", but ", entry->sequence,
                   " was acknowledged");
    }
    // A change of metric is answered with the collection as it is then, perhaps after further
    // writes.
    if (entry->sequence == 0 || entry->operation.kind == Operation::kSetMetric) continue;
    if (!given.insert(entry->sequence).second) {
      defects_.Add(named, " gave sequence ", entry->sequence, " twice");
    }
  }
  // Whether an unanswered write had an effect cannot always be told: it may have repeated another.
  if (sequence < effective || sequence > effective + perhaps) {
    defects_.Add(named, " is at sequence ", sequence, " after ", effective, " writes and perhaps ",
                 perhaps, " more");
  }
  for (const History::Seen& seen : histories_[kObserver].seen) {
    if (seen.collection != number || seen.sequence <= sequence) continue;
    defects_.Add(named, " is at sequence ", sequence, ", but ", seen.sequence, " was visible");
  }
}

std::vector<const Entry*> Checker::ChangesSinceCreation(uint32_t number) const {
  std::vector<const Entry*> changes;
  for (uint32_t a = 0; a < kActors; ++a) {
    const size_t before = changes.size();
    Shadow shadow(a);
    for (const Entry& entry : histories_[a].entries) {
      const Operation& operation = entry.operation;
      if (operation.collection != number || entry.outcome == Outcome::kRefused) continue;
      const bool begins =
          operation.kind == Operation::kCreate || operation.kind == Operation::kDrop;
      if (!begins && shadow.Changes(operation)) changes.push_back(&entry);
      if (!entry.HasEffect()) continue;
      if (begins) changes.resize(before);
      shadow.Apply(operation);
    }
  }
  return changes;
}

void Checker::Report() const {
  uint64_t acknowledged = 0, rows = 0;
  for (const History& history : histories_) {
    acknowledged +=
        static_cast<uint64_t>(std::ranges::count(history.entries, Outcome::kDone, &Entry::outcome));
  }
  for (const auto& [number, found] : found_) rows += found.rows.size();
  std::cout << "acknowledged=" << acknowledged << " unknown=" << unknown_ << " applied=" << applied_
            << " rows=" << rows << " searches=" << answers_.searches() << '\n';
}

}  // namespace

bool Check(const CheckOptions& options) { return Checker(options).Run(); }

}  // namespace vexact::crash

#include "tests/crash/writer.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <chrono>
#include <iostream>
#include <iterator>
#include <limits>
#include <mutex>
#include <random>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "tests/crash/actor.h"
#include "tests/crash/history.h"
#include "tests/crash/world.h"
#include "vexact/client.h"

namespace vexact::crash {
namespace {

constexpr std::string_view kPlans[] = {"mix", "churn", "load", "brief", "stream"};
constexpr std::string_view kLies[] = {
    "none",      "claim-upsert", "claim-delete",   "claim-metric", "claim-sequence", "half-batch",
    "wrong-bit", "stranger",     "claim-snapshot", "claim-load",   "small-loads"};
constexpr uint32_t kMaxBatch = 500;
constexpr int kBriefWrites = 25;
constexpr uint32_t kLied = 100;  // ids of a lie about rows
// The numbers of ids have the factors 2, 3, 5 and 17 alone: with these steps no index comes twice.
constexpr uint32_t kStrides[] = {1, 7, 11, 13};

template <typename T>
std::optional<T> Parse(std::span<const std::string_view> names, std::string_view name) {
  const auto found = std::ranges::find(names, name);
  if (found == names.end()) return std::nullopt;
  return static_cast<T>(found - names.begin());
}

Operation Scattered(Actor& actor, Operation::Kind kind, uint32_t collection, uint32_t count) {
  return {.kind = kind,
          .collection = collection,
          .first = actor.Random(actor.ids(collection)),
          .count = count,
          .stride = kStrides[actor.Random(std::size(kStrides))]};
}

// A batch of random ids, often one alone, now and then as many as may be.
Operation RandomBatch(Actor& actor, Operation::Kind kind, uint32_t collection, uint32_t most) {
  const uint32_t limits[] = {1, 1, 50, 50, most};
  const uint32_t limit = std::min(actor.ids(collection), limits[actor.Random(std::size(limits))]);
  return Scattered(actor, kind, collection, 1 + actor.Random(limit));
}

// The ids from `first` on, in blocks.
std::vector<Operation> Blocks(uint32_t collection, uint32_t first, uint32_t count, uint32_t block) {
  std::vector<Operation> blocks;
  for (uint32_t done = 0; done < count; done += block) {
    blocks.push_back({.kind = Operation::kUpsert,
                      .collection = collection,
                      .first = first + done,
                      .count = std::min(block, count - done)});
  }
  return blocks;
}

// Any write to rows of the collection.
bool WriteRows(Actor& actor, uint32_t collection) {
  const uint32_t die = actor.Random(20);
  if (die < 2) {
    const uint32_t block = 1 + actor.Random(200), count = 3 + actor.Random(6);
    const uint32_t ids = actor.ids(collection);
    return actor.CarryBulk(
        Blocks(collection, actor.Random(ids), std::min(ids, block * count), block));
  }
  if (die < 3) {
    return actor.BeRefused(RandomBatch(actor, Operation::kUpsert, collection, kMaxBatch));
  }
  const auto kind = die < 8 ? Operation::kDelete : Operation::kUpsert;
  return actor.Carry(RandomBatch(actor, kind, collection, kMaxBatch));
}

bool Churn(Actor& actor) {
  constexpr uint32_t kCollections[] = {kLarge, kLarge, 0, 1};
  const uint32_t collection = kCollections[actor.Random(std::size(kCollections))];
  const auto kind = actor.Random(2) == 0 ? Operation::kDelete : Operation::kUpsert;
  Operation operation = RandomBatch(actor, kind, collection, kMaxBatch);
  operation.count = std::min(actor.ids(collection), 100 + actor.Random(kMaxBatch - 100));
  return actor.Carry(operation);
}

// What the lie of the session says about rows; the writer that lied must not cover it up by further
// writes.
bool LieAboutRows(Actor& actor, Lie lie) {
  Operation operation{.kind = Operation::kUpsert, .collection = kLarge, .count = kLied};
  switch (lie) {
    case Lie::kClaimUpsert:
      actor.Claim(operation);
      return true;
    case Lie::kClaimDelete:
      if (!actor.Carry(operation)) return false;
      operation.kind = Operation::kDelete;
      actor.Claim(operation);
      return true;
    case Lie::kHalfBatch:
      return actor.SendHalf(operation);
    case Lie::kWrongBit:
      return actor.SendWrongBit(operation);
    case Lie::kStranger:
      return actor.SendStranger(kLarge);
    default:
      return false;
  }
}

bool IsAboutRows(Lie lie) {
  return lie == Lie::kClaimUpsert || lie == Lie::kClaimDelete || lie == Lie::kHalfBatch ||
         lie == Lie::kWrongBit || lie == Lie::kStranger;
}

void RunWriter(Actor& actor, const WriteOptions& options) {
  const uint32_t ids = actor.ids(kLarge);
  if (actor.rows(kLarge) < ids / 2 && !actor.CarryBulk(Blocks(kLarge, 0, ids, 400))) return;
  if (actor.number() == 0 && IsAboutRows(options.lie)) {
    if (LieAboutRows(actor, options.lie)) actor.Say("lied");
    return;
  }
  if (!actor.RepeatLast()) return;
  for (int writes = 0; options.plan != Plan::kBrief || writes < kBriefWrites; ++writes) {
    const bool churn = options.plan == Plan::kChurn && actor.Random(4) != 0;
    if (!(churn ? Churn(actor) : WriteRows(actor, actor.Random(kFresh)))) return;
  }
}

client::Metric RandomMetric(Actor& actor) {
  return client::kMetrics[actor.Random(std::size(client::kMetrics))];
}

bool CreateMissing(Actor& keeper) {
  for (uint32_t c = 0; c < kFresh; ++c) {
    if (keeper.exists(c)) continue;
    if (!keeper.Carry(
            {.kind = Operation::kCreate, .collection = c, .metric = Plans()[c].spec.metric})) {
      return false;
    }
  }
  return true;
}

void RunKeeper(Actor& actor, const WriteOptions& options) {
  if (options.lie == Lie::kClaimMetric) {
    const Operation cosine{
        .kind = Operation::kSetMetric, .collection = 0, .metric = client::Metric::kCosine};
    if (!actor.Carry(cosine)) return;
    Operation claimed = cosine;
    claimed.metric = client::Metric::kL2;
    actor.Claim(claimed);
    actor.Say("lied");
    return;
  }
  for (int writes = 0; options.plan != Plan::kBrief || writes < kBriefWrites; ++writes) {
    if (!actor.Carry({.kind = Operation::kSetMetric,
                      .collection = actor.Random(kFresh),
                      .metric = RandomMetric(actor)})) {
      return;
    }
    actor.Pause(std::chrono::milliseconds(actor.Random(10)));
  }
}

bool Create(Actor& maker) {
  return maker.Carry(
      {.kind = Operation::kCreate, .collection = kFresh, .metric = RandomMetric(maker)});
}

bool Drop(Actor& maker) { return maker.Carry({.kind = Operation::kDrop, .collection = kFresh}); }

void LoadFresh(Actor& maker) {
  // Either may be refused while the disk is full.
  while (maker.exists(kFresh)) {
    if (!Drop(maker)) return;
  }
  while (!maker.exists(kFresh)) {
    if (!Create(maker)) return;
  }
  if (maker.CarryBulk(Blocks(kFresh, 0, maker.ids(kFresh), kMaxBatch))) {
    maker.Say("loaded");
  }
}

void RunMaker(Actor& actor, const WriteOptions& options) {
  if (options.plan == Plan::kLoad || options.plan == Plan::kBrief) return LoadFresh(actor);
  for (bool going = true; going; actor.Pause(std::chrono::milliseconds(actor.Random(20)))) {
    const uint32_t die = actor.Random(10);
    if (!actor.exists(kFresh)) {
      going = Create(actor);
    } else if (die == 0) {
      going = Drop(actor);
    } else if (die == 1) {
      going = actor.Carry(
          {.kind = Operation::kSetMetric, .collection = kFresh, .metric = RandomMetric(actor)});
    } else {
      going = WriteRows(actor, kFresh);
    }
  }
}

// Again when it is refused, which it may be while the disk is full.
bool DropRestored(Actor& saver) {
  do {
    if (!saver.Carry({.kind = Operation::kDropRestored})) return false;
  } while (!saver.last_was_done());
  return true;
}

// Makes a snapshot, now and then restores it, and keeps few.
bool SaveOne(Actor& saver) {
  constexpr size_t kKept = 3;
  const uint32_t collection = saver.Random(kFresh);
  saver.Say("saving");
  if (!saver.Carry({.kind = Operation::kSave, .collection = collection})) return false;
  const std::vector<Operation> saved = saver.Saved();
  if (!saved.empty() && saver.Random(2) == 0) {
    Operation restore = saved[saver.Random(static_cast<uint32_t>(saved.size()))];
    restore.kind = Operation::kRestore;
    if (!saver.Carry(restore) || !DropRestored(saver)) return false;
  }
  saver.Say("saved");
  if (saved.size() <= kKept) return true;
  Operation forget = saved.front();
  forget.kind = Operation::kForget;
  return saver.Carry(forget);
}

void RunSaver(Actor& actor, const WriteOptions& options) {
  if (options.lie == Lie::kClaimSnapshot) {
    actor.Claim({.kind = Operation::kSave, .collection = kLarge});
    return actor.Say("lied");
  }
  if (options.plan == Plan::kLoad || options.plan == Plan::kBrief) return;
  if (!DropRestored(actor)) return;
  while (SaveOne(actor)) actor.Pause(std::chrono::milliseconds(actor.Random(100)));
}

// New rows and replacements, in blocks of any size; what of them comes together is small or large.
std::vector<Operation> MuchToLoad(Actor& loader, Lie lie) {
  // 200 KB to 4.5 MB: the largest is worth a table by itself.
  constexpr uint32_t kBlocks[] = {50, 300, 700, 1'100};
  std::vector<Operation> blocks;
  for (uint32_t left = 4 + loader.Random(5); left > 0; --left) {
    const uint32_t rows = kBlocks[loader.Random(std::size(kBlocks))];
    blocks.push_back(
        Scattered(loader, Operation::kUpsert, kBulk, lie == Lie::kSmallLoads ? 5 : rows));
  }
  return blocks;
}

// What else happens to rows that came in bulk.
bool ChangeLoaded(Actor& loader) {
  const uint32_t count = 1 + loader.Random(loader.ids(kBulk));
  switch (loader.Random(6)) {
    case 0:
      return loader.Carry(Scattered(loader, Operation::kUpsert, kBulk, count));
    case 1:
      return loader.BeRefused(Scattered(loader, Operation::kUpsert, kBulk, count));
    default:
      return loader.Carry(Scattered(loader, Operation::kDelete, kBulk, count));
  }
}

void RunLoader(Actor& actor, const WriteOptions& options) {
  if (options.lie == Lie::kClaimLoad) {
    std::vector<Operation> blocks = MuchToLoad(actor, options.lie);
    const Operation last = blocks.back();
    blocks.pop_back();
    if (!actor.CarryBulk(blocks)) return;
    actor.Claim(last);
    return actor.Say("lied");
  }
  if (options.plan == Plan::kLoad || options.plan == Plan::kBrief) return;
  if (!actor.RepeatLast()) return;
  for (bool going = true; going;) {
    actor.Say("streaming");
    if (!actor.CarryBulk(MuchToLoad(actor, options.lie))) return;
    actor.Say("streamed");
    going = options.lie == Lie::kSmallLoads || ChangeLoaded(actor);
    if (options.plan != Plan::kStream) actor.Pause(std::chrono::milliseconds(actor.Random(500)));
  }
}

// Notes what is visible, which must be durable as well; and notices garbage being collected: dead
// rows that become fewer, or the database's own compaction.
class Observer {
 public:
  Observer(Session& session, const WriteOptions& options)
      : session_(session), options_(options), log_(LogPath(options.logs, kObserver)) {}

  void Run() {
    while (!session_.stop && LookAtCollections() && LookAtDatabase()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  }

 private:
  bool LookAtCollections() {
    const auto list = session_.client.ListCollections({.timeout = kPatience});
    if (!list.ok()) return false;
    for (uint32_t c = 0; c < kFresh; ++c) {
      const auto found =
          std::ranges::find(list->collections, Plans()[c].spec.name, &client::Collection::name);
      if (found == list->collections.end()) continue;
      if (std::exchange(dead_rows_[c], found->dead_rows) > found->dead_rows) {
        session_.Say("compacting");
      }
      uint64_t sequence = found->sequence;
      if (options_.lie == Lie::kClaimSequence && c == 0) sequence += 1'000'000;
      if (std::exchange(sequences_[c], sequence) == sequence) continue;
      log_.Saw(c, sequence);
      if (options_.lie == Lie::kClaimSequence && c == 0) session_.Say("lied");
    }
    return true;
  }

  bool LookAtDatabase() {
    const auto info = session_.client.GetInfo({.timeout = kPatience});
    if (info.ok() && info->storage.compactions_running > 0) session_.Say("compacting database");
    return info.ok();
  }

  Session& session_;
  const WriteOptions& options_;
  Log log_;
  uint64_t dead_rows_[kFresh] = {}, sequences_[kFresh] = {};
};

}  // namespace

std::optional<Plan> ParsePlan(std::string_view name) { return Parse<Plan>(kPlans, name); }
std::optional<Lie> ParseLie(std::string_view name) { return Parse<Lie>(kLies, name); }

bool Write(const WriteOptions& options) {
  Session session(options);
  std::vector<std::unique_ptr<Actor>> actors;
  for (uint32_t a = 0; a < kActors; ++a) actors.push_back(std::make_unique<Actor>(session, a));
  if (!CreateMissing(*actors[kKeeper])) return !session.failed;
  {
    std::jthread observer([&] { Observer(session, options).Run(); });
    std::vector<std::jthread> threads;
    for (auto& actor : actors) {
      threads.emplace_back([&options, &actor = *actor] {
        if (actor.number() < kWriters) return RunWriter(actor, options);
        if (actor.number() == kKeeper) return RunKeeper(actor, options);
        if (actor.number() == kMaker) return RunMaker(actor, options);
        actor.number() == kSaver ? RunSaver(actor, options) : RunLoader(actor, options);
      });
    }
    threads.clear();
    session.stop = true;
  }
  return !session.failed;
}

}  // namespace vexact::crash

#include "tests/crash/history.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <iterator>
#include <map>
#include <sstream>
#include <stdexcept>
#include <system_error>

#include "tests/crash/text.h"

namespace vexact::crash {
namespace {

constexpr std::string_view kKinds[] = {"upsert", "delete", "set-metric", "create",       "drop",
                                       "save",   "forget", "restore",    "drop-restored"};

Operation ReadOperation(std::istream& in) {
  Operation operation;
  std::string kind, metric;
  in >> operation.number >> kind >> operation.collection >> operation.first >> operation.count >>
      operation.stride >> operation.version >> metric;
  const auto* const found = std::find(std::begin(kKinds), std::end(kKinds), kind);
  const auto parsed = client::ParseMetric(metric);
  if (found == std::end(kKinds) || !parsed) in.setstate(std::ios::failbit);
  operation.kind = static_cast<Operation::Kind>(found - std::begin(kKinds));
  operation.metric = parsed.value_or(client::Metric::kCosine);
  return operation;
}

// The answer to a write that is waiting for one.
void Answer(History& history, uint64_t number, Outcome outcome, uint64_t sequence) {
  if (number == 0 || number > history.entries.size() ||
      history.entries[number - 1].outcome != Outcome::kUnknown) {
    throw std::runtime_error("an answer to write " + std::to_string(number) +
                             ", which waits for none");
  }
  history.entries[number - 1].outcome = outcome;
  history.entries[number - 1].sequence = sequence;
}

void ReadLine(const std::string& line, History& history) {
  std::istringstream in(line);
  std::string what;
  in >> what;
  if (what == "begin") {
    history.entries.push_back({.operation = ReadOperation(in)});
    if (history.entries.back().operation.number != history.entries.size()) {
      in.setstate(std::ios::failbit);
    }
  } else if (what == "seen") {
    History::Seen seen{};
    in >> seen.collection >> seen.sequence;
    history.seen.push_back(seen);
  } else {
    uint64_t number = 0, sequence = 0;
    in >> number;
    if (what == "done") in >> sequence;
    const Outcome outcome = what == "done"      ? Outcome::kDone
                            : what == "refused" ? Outcome::kRefused
                            : what == "applied" ? Outcome::kApplied
                                                : Outcome::kAbsent;
    if (outcome == Outcome::kAbsent && what != "absent") in.setstate(std::ios::failbit);
    if (in) Answer(history, number, outcome, sequence);
  }
  if (!in) throw std::runtime_error("a line that no actor writes: " + line);
}

}  // namespace

std::vector<uint32_t> Operation::Indices(uint32_t ids) const {
  std::vector<uint32_t> indices(count);
  for (uint32_t i = 0; i < count; ++i) indices[i] = (first + i * stride) % ids;
  return indices;
}

std::string Operation::SnapshotName() const { return Text("s", version); }

History History::Read(const std::string& path) {
  History history;
  std::ifstream in(path);
  // A last line without an end was being written when the machine stopped: it never counted.
  for (std::string line; std::getline(in, line) && !in.eof();) ReadLine(line, history);
  bool unknown = false;
  for (const Entry& entry : history.entries) {
    if (unknown && entry.outcome != Outcome::kUnknown) {
      throw std::runtime_error(path + ": an answer behind a write without one");
    }
    unknown = entry.outcome == Outcome::kUnknown;
  }
  return history;
}

std::vector<Operation> SavedFor(const History& saver, Certainty certainty) {
  const bool certain = certainty == Certainty::kCertain;
  std::map<uint64_t, Operation> saved;
  for (const Entry& entry : saver.entries) {
    if (entry.outcome == Outcome::kRefused) continue;
    const Operation& operation = entry.operation;
    const bool done = entry.outcome == Outcome::kDone;
    if (operation.kind == Operation::kSave && (done || !certain)) {
      saved.emplace(operation.version, operation);
    } else if (operation.kind == Operation::kForget && (done || certain)) {
      saved.erase(operation.version);
    }
  }
  std::vector<Operation> operations;
  for (const auto& [version, operation] : saved) operations.push_back(operation);
  return operations;
}

std::string LogPath(const std::string& folder, uint32_t actor) {
  return folder + "/" + ActorName(actor) + ".log";
}

Log::Log(const std::string& path)
    : file_(open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644)) {
  if (file_ < 0) throw std::system_error(errno, std::generic_category(), path);
}

Log::~Log() { close(file_); }

void Log::Append(const std::string& line) {
  if (write(file_, line.data(), line.size()) != static_cast<ssize_t>(line.size()) ||
      fdatasync(file_) != 0) {
    throw std::system_error(errno, std::generic_category(), "the harness's own log");
  }
}

void Log::Begin(const Operation& operation) {
  std::ostringstream line;
  line << "begin " << operation.number << ' ' << kKinds[operation.kind] << ' '
       << operation.collection << ' ' << operation.first << ' ' << operation.count << ' '
       << operation.stride << ' ' << operation.version << ' ' << Name(operation.metric) << '\n';
  Append(line.str());
}

void Log::Done(uint64_t number, uint64_t sequence) {
  Append("done " + std::to_string(number) + ' ' + std::to_string(sequence) + '\n');
}

void Log::Refused(uint64_t number, std::string_view code) {
  Append("refused " + std::to_string(number) + ' ' + std::string(code) + '\n');
}

void Log::Settled(uint64_t number, bool applied) {
  Append((applied ? "applied " : "absent ") + std::to_string(number) + '\n');
}

void Log::Saw(uint32_t collection, uint64_t sequence) {
  Append("seen " + std::to_string(collection) + ' ' + std::to_string(sequence) + '\n');
}

Shadow::Shadow(uint32_t actor_given) : actor(actor_given) {
  for (uint32_t c = 0; c < Plans().size(); ++c) {
    collections.push_back({.versions = std::vector<uint64_t>(OwnedIds(actor, c))});
  }
}

Shadow::Shadow(uint32_t actor_given, const History& history) : Shadow(actor_given) {
  for (const Entry& entry : history.entries) {
    if (entry.HasEffect()) Apply(entry.operation);
  }
}

void Shadow::Apply(const Operation& operation) {
  Collection& collection = collections[operation.collection];
  switch (operation.kind) {
    case Operation::kUpsert:
    case Operation::kDelete:
      for (const uint32_t index : operation.Indices(OwnedIds(actor, operation.collection))) {
        collection.versions[index] = operation.kind == Operation::kUpsert ? operation.version : 0;
      }
      break;
    case Operation::kSetMetric:
      collection.metric = operation.metric;
      break;
    case Operation::kCreate:
    case Operation::kDrop:
      collection.exists = operation.kind == Operation::kCreate;
      collection.metric = operation.metric;
      std::ranges::fill(collection.versions, 0);
      break;
    default:
      break;
  }
}

bool Shadow::Changes(const Operation& operation) const {
  const Collection& collection = collections[operation.collection];
  switch (operation.kind) {
    case Operation::kSetMetric:
      return collection.metric != operation.metric;
    case Operation::kDelete:
      return std::ranges::any_of(operation.Indices(OwnedIds(actor, operation.collection)),
                                 [&](uint32_t index) { return collection.versions[index] != 0; });
    case Operation::kUpsert:
    case Operation::kCreate:
    case Operation::kDrop:
      return true;
    default:
      return false;
  }
}

uint32_t Shadow::Rows(uint32_t collection) const {
  const std::vector<uint64_t>& versions = collections[collection].versions;
  return static_cast<uint32_t>(versions.size() -
                               static_cast<size_t>(std::ranges::count(versions, uint64_t{0})));
}

}  // namespace vexact::crash

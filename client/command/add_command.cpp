// add.
#include <algorithm>
#include <deque>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/command/command.h"
#include "client/command/format.h"
#include "client/command/interruption.h"
#include "client/command/progress.h"
#include "client/command/row_source.h"

namespace vexact::client {
namespace {

struct AddOptions {
  std::string collection;
  RowSourceOptions source;
  uint64_t skip = 0;
};

// Bytes of vectors in one request: large enough that a round trip costs nothing, small enough that
// the window of unacknowledged ones stays small in memory.
constexpr uint64_t kRequestBytes = 2 << 20;

// Rows of the file that become one request. An id that comes again takes the place of its earlier
// row, as it would have in the collection.
class Batch {
 public:
  explicit Batch(uint64_t max_rows) : max_rows_(max_rows) {}

  void Add(const Row& row) {
    const auto [slot, is_new] = slots_.try_emplace(row.id, places_.size());
    ++rows_;
    if (!is_new) {
      places_[slot->second] = row.place;
      std::copy(row.vector.begin(), row.vector.end(),
                block_.vectors.begin() + static_cast<long>(slot->second * row.vector.size()));
      return;
    }
    places_.push_back(row.place);
    block_.ids.push_back(row.id);
    block_.vectors.insert(block_.vectors.end(), row.vector.begin(), row.vector.end());
  }

  bool full() const { return places_.size() >= max_rows_; }
  bool empty() const { return rows_ == 0; }
  // Of the file.
  uint64_t rows() const { return rows_; }
  const PointBlock& block() const { return block_; }
  // Where each row of the block stands in the file.
  std::vector<uint64_t> TakePlaces() { return std::move(places_); }

 private:
  uint64_t max_rows_;
  uint64_t rows_ = 0;
  PointBlock block_;
  std::vector<uint64_t> places_;
  absl::flat_hash_map<Id, size_t> slots_;
};

// Without the "request 3 of the stream: " that the server begins with: who loads a file knows of no
// requests.
std::string WithoutRequest(std::string message) {
  constexpr std::string_view kStream = " of the stream: ";
  const size_t at = message.find(kStream);
  if (!message.starts_with("request ") || at == std::string::npos) return message;
  return message.substr(at + kStream.size());
}

// One run of `add`: from the file to the stream, with an account of what was acknowledged.
class Load {
 public:
  Load(const Globals& globals, const AddOptions& options, RowSource& source)
      : globals_(globals),
        options_(options),
        source_(source),
        client_(globals.client()),
        writer_(client_.BulkUpsert(options.collection, {.timeout = globals.call().timeout})) {}

  int Run() {
    if (const int status = Prepare(); status != kDone) return status;
    const int status = Send();
    Count();
    return status == kDone ? Succeed() : status;
  }

 private:
  // A request that was sent and not yet acknowledged.
  struct Sent {
    uint64_t rows = 0;  // of the file
    std::vector<uint64_t> places;
  };

  // Asks the server what the rows have to be, and compares what is known of the file.
  int Prepare() {
    const auto collection = client_.GetCollection(options_.collection, globals_.call());
    if (absl::IsNotFound(collection.status()) && source_.dimension()) {
      return Fail(collection.status(),
                  absl::StrCat("To make it for this file: vexact create ", options_.collection,
                               " --dim ", *source_.dimension()));
    }
    if (!collection.ok()) return Fail(collection.status());
    dimension_ = collection->collection.dimension;
    if (source_.dimension() && *source_.dimension() != dimension_) {
      return BadInput(absl::StrCat(options_.source.path, " has ", Thousands(*source_.dimension()),
                                   " components a row; ", Expected(), ". Nothing was added."));
    }
    const auto info = client_.GetInfo(globals_.call());
    if (!info.ok()) return Fail(info.status());
    const uint64_t bytes = std::min(kRequestBytes, info->limits.max_message_bytes / 2);
    batch_rows_ = std::max<uint64_t>(1, bytes / (dimension_ * sizeof(float)));
    return SkipRows();
  }

  int SkipRows() {
    Row row;
    for (skipped_ = 0; skipped_ < options_.skip; ++skipped_) {
      const absl::StatusOr<bool> more = source_.Next(&row);
      if (!more.ok()) return Stop(more.status());
      if (!*more) {
        return BadInput(absl::StrCat(options_.source.path, " has ", Rows(skipped_),
                                     ", fewer than --skip ", options_.skip,
                                     ". Nothing was added."));
      }
    }
    return kDone;
  }

  // Reads to the end of the file, or to the first thing that is wrong.
  int Send() {
    while (true) {
      Batch batch(batch_rows_);
      const absl::Status read = Fill(batch);
      // What came before the row that is wrong is good, and is sent.
      if (!batch.empty()) {
        if (const absl::Status written = Write(batch); !written.ok()) return Refused(written);
      }
      if (!read.ok()) return Stop(read);
      if (at_end_) break;
      if (Interrupted()) return Stop(absl::CancelledError("interrupted"));
    }
    const absl::StatusOr<BulkProgress> finished = writer_.Finish();
    return finished.ok() ? kDone : Refused(finished.status());
  }

  absl::Status Fill(Batch& batch) {
    Row row;
    while (!batch.full() && !Interrupted()) {
      const absl::StatusOr<bool> more = source_.Next(&row);
      if (!more.ok()) return more.status();
      if (!*more) {
        at_end_ = true;
        return absl::OkStatus();
      }
      if (row.vector.size() != dimension_) {
        return absl::InvalidArgumentError(
            absl::StrCat(options_.source.path == "-" ? "stdin" : options_.source.path, ": ",
                         std::string(source_.unit()), " ", row.place, " has ",
                         Thousands(row.vector.size()), " components; ", Expected()));
      }
      batch.Add(row);
    }
    return absl::OkStatus();
  }

  absl::Status Write(Batch& batch) {
    sent_.push_back({.rows = batch.rows(), .places = {}});
    absl::Status written = writer_.Write(batch.block());
    sent_.back().places = batch.TakePlaces();
    Count();
    progress_.Show({.name = options_.collection,
                    .rows = skipped_ + rows_,
                    .total = source_.rows(),
                    .bytes = rows_ * dimension_ * sizeof(float),
                    .elapsed = absl::Now() - begin_});
    return written;
  }

  // Takes new acknowledgements into account.
  void Count() {
    for (; requests_ < writer_.acknowledged().requests; ++requests_) {
      rows_ += sent_.front().rows;
      sent_.pop_front();
    }
  }

  std::string Expected() const {
    return absl::StrCat("collection \"", options_.collection, "\" has ", Thousands(dimension_),
                        " dimensions");
  }

  // "4,095 rows were added before and stay. ..."
  std::string Account() const {
    if (rows_ == 0) return "Nothing was added.";
    return absl::StrCat(Rows(rows_), rows_ == 1 ? " was" : " were",
                        " added before and stay. To go on after them, repeat the command with "
                        "--skip ",
                        skipped_ + rows_, ".");
  }

  // The server refused a request or cannot be reached any more.
  int Refused(const absl::Status& status) {
    Count();
    if (Interrupted()) return Stop(status);
    const std::vector<uint64_t> places = sent_.empty() ? std::vector<uint64_t>() : sent_[0].places;
    const std::string unit(source_.unit());
    const std::string message =
        Renumber(WithoutRequest(std::string(status.message())), "row", [&](uint64_t row) {
          return row < places.size() ? absl::StrCat(unit, " ", places[row])
                                     : absl::StrCat("row ", row);
        });
    progress_.Clear();
    return Fail(absl::Status(status.code(), message), Account());
  }

  // The file ends here for this run: what was sent is waited for.
  int Stop(const absl::Status& why) {
    const absl::StatusOr<BulkProgress> finished = writer_.Finish();
    Count();
    progress_.Clear();
    if (Interrupted()) {
      std::cerr << "interrupted: " << Account() << '\n';
      return kInterrupted;
    }
    if (!finished.ok()) return Refused(finished.status());
    BadInput(absl::StrCat(Printable(std::string(why.message())), ". ", Account()));
    return kBadUsage;
  }

  int Succeed() {
    progress_.Clear();
    const BulkProgress& done = writer_.acknowledged();
    // Rows that an id's later row replaced before they were sent were replaced all the same.
    const uint64_t replaced = rows_ - done.added;
    const absl::Duration time = absl::Now() - begin_;
    if (globals_.json) {
      Print({{"collection", options_.collection},
             {"rows", rows_},
             {"added", done.added},
             {"replaced", replaced},
             {"sequence", done.sequence},
             {"time_s", absl::ToDoubleSeconds(time)}});
    } else {
      std::cout << options_.collection << ": " << Rows(done.added) << " added, "
                << Thousands(replaced) << " replaced (" << Elapsed(time) << ")\n";
    }
    return kDone;
  }

  const Globals& globals_;
  const AddOptions& options_;
  RowSource& source_;
  const Client client_;
  BulkWriter writer_;
  Progress progress_;
  const absl::Time begin_ = absl::Now();

  uint64_t dimension_ = 0;
  uint64_t batch_rows_ = 1;
  bool at_end_ = false;
  uint64_t skipped_ = 0;   // rows of the file
  uint64_t requests_ = 0;  // acknowledged, and taken into account in rows_
  uint64_t rows_ = 0;      // of the file, acknowledged
  std::deque<Sent> sent_;  // not yet acknowledged, oldest first
};

int RunAdd(const Globals& globals, const AddOptions& options) {
  const InterruptionGuard guard;
  const absl::StatusOr<std::unique_ptr<RowSource>> source = OpenRows(options.source);
  if (!source.ok()) {
    return BadInput(
        absl::StrCat(Printable(std::string(source.status().message())), ". Nothing was added."));
  }
  return Load(globals, options, **source).Run();
}

}  // namespace

void AddAddCommand(Program& program) {
  auto options = std::make_shared<AddOptions>();
  CLI::App* add = AddCommand<AddOptions>(program, "add",
                                         "Load rows from a file, replacing those whose ids exist",
                                         "  vexact add docs embeddings.npy\n"
                                         "  vexact add docs embeddings.npy --ids titles.txt\n"
                                         "  vexact add docs embeddings.npy --ids table.tsv:2\n"
                                         "  embed articles/* | vexact add docs -",
                                         options, RunAdd);
  AddCollectionArgument(add, &options->collection);
  add->add_option("file", options->source.path,
                  "A .npy of float16, float32 or float64; or JSON lines {\"id\": 1, \"vector\": "
                  "[...]}, - for stdin")
      ->required()
      ->type_name("FILE");
  add->add_option("--ids", options->source.ids,
                  "The ids of a .npy's rows: a text file of one a line, a column (from 1) of a "
                  "tab-separated file, or a .npy of integers (default: 0, 1, 2, ...)")
      ->type_name("FILE[:COLUMN]");
  add->add_flag("--text-ids", options->source.text_ids,
                "Every entry of --ids is a text, also one of digits");
  add->add_option("--skip", options->skip, "Leave out the first rows: go on where a load stopped")
      ->type_name("ROWS");
}

}  // namespace vexact::client

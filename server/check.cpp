#include "server/check.h"

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "core/codes_check.h"
#include "core/snapshot_folder.h"
#include "core/store_check.h"
#include "core/workers.h"
#include "server/format.h"
#include "server/storage.h"

namespace vexact::server {
namespace {

// A line on stderr that says how far the work is: over and over on a terminal, elsewhere now and
// then.
class Progress {
 public:
  ~Progress() { Clear(); }

  void Show(const std::string& text) {
    const absl::Time now = absl::Now();
    if (now - shown_ < (terminal_ ? absl::Milliseconds(100) : absl::Seconds(5))) return;
    shown_ = now;
    std::fprintf(stderr, terminal_ ? "\r\033[K%s" : "%s\n", text.c_str());
  }
  // Makes room for a line that stays.
  void Clear() const {
    if (terminal_) std::fputs("\r\033[K", stderr);
  }

 private:
  const bool terminal_ = isatty(STDERR_FILENO) != 0;
  absl::Time shown_ = absl::Now();
};

// What is said meanwhile.
class Report {
 public:
  void Line(std::string_view text) {
    progress_.Clear();
    absl::PrintF("%s\n", text);
    std::fflush(stdout);
    ++lines_;
  }
  uint64_t lines() const { return lines_; }

  StoreCheckOptions OptionsFor(const Config& config) {
    return {
        .directory = config.data_dir,
        .report = [this](std::string_view line) { Line(line); },
        .progress =
            [this](std::string_view collection, uint64_t rows) {
              progress_.Show(absl::StrFormat("reading %s: %s rows", collection, Thousands(rows)));
            }};
  }

  // Codes that are damaged are reported; those of rows that are damaged cannot be looked at.
  absl::StatusOr<std::vector<CheckedCodes>> Codes(const Config& config) {
    Workers workers(config.threads);
    return CheckAllCodes(config.data_dir, workers, [this](std::string_view collection) {
      progress_.Show(absl::StrFormat("computing the codes of %s", collection));
    });
  }

  // Reads all snapshots, reports those that are damaged, and returns how many there are.
  absl::StatusOr<uint64_t> Snapshots(const Config& config) {
    const auto show = [this](const SnapshotFolder::Stored& one, uint64_t bytes, uint64_t total) {
      progress_.Show(absl::StrFormat("reading snapshot %s: %s of %s bytes", one.path,
                                     Thousands(bytes), Thousands(total)));
    };
    const auto checked = SnapshotFolder::CheckAll(config.data_dir, show);
    if (!checked.ok()) return checked.status();
    for (const SnapshotFolder::Stored& one : *checked) {
      if (one.summary.ok()) continue;
      Line(absl::StrFormat("collection \"%s\": snapshot %s: %s; delete it and make another",
                           one.collection, one.path, one.summary.status().message()));
    }
    return checked->size();
  }

 private:
  Progress progress_;
  uint64_t lines_ = 0;
};

std::string Count(uint64_t count, std::string_view one) {
  return absl::StrFormat("%s %s%s", Thousands(count), one, count == 1 ? "" : "s");
}

const CodesCheck* FindCodes(const std::vector<CheckedCodes>& codes, std::string_view collection) {
  const auto found = std::ranges::find(codes, collection, &CheckedCodes::collection);
  return found == codes.end() || !found->check.ok() ? nullptr : &*found->check;
}

void PrintTable(const std::vector<CheckedCollection>& collections,
                const std::vector<CheckedCodes>& codes) {
  size_t width = std::string_view("collection").size();
  for (const CheckedCollection& one : collections) width = std::max(width, one.name.size());
  if (collections.empty()) return;
  absl::PrintF("%-*s  %15s  %11s  %15s\n", width, "collection", "rows", "codes files",
               "codes compared");
  for (const CheckedCollection& one : collections) {
    const CodesCheck* const check = FindCodes(codes, one.name);
    absl::PrintF("%-*s  %15s  %11s  %15s\n", width, one.name, Thousands(one.rows),
                 check == nullptr ? "-" : Thousands(check->files),
                 check == nullptr ? "-" : Thousands(check->rows));
  }
}

uint64_t RowsOf(const std::vector<CheckedCollection>& collections) {
  uint64_t rows = 0;
  for (const CheckedCollection& one : collections) rows += one.rows;
  return rows;
}

}  // namespace

absl::StatusOr<bool> Verify(const Config& config) {
  Report report;
  const auto store = VerifyStore(report.OptionsFor(config));
  if (!store.ok()) return WithAdvice(store.status());
  std::vector<CheckedCodes> codes;
  // Where the store cannot be read, there is nothing to compare with.
  if (auto checked = report.Codes(config); checked.ok()) {
    codes = *std::move(checked);
  } else if (!absl::IsDataLoss(checked.status())) {
    return checked.status();
  }
  for (const CheckedCodes& one : codes) {
    if (!one.check.ok()) continue;
    for (const CodesProblem& problem : one.check->problems) {
      report.Line(
          absl::StrFormat("collection \"%s\": codes file %s; it is made anew at the next "
                          "start",
                          one.collection, problem.line));
    }
  }
  const uint64_t of_collections = report.lines();
  const auto snapshots = report.Snapshots(config);
  if (!snapshots.ok()) return snapshots.status();
  PrintTable(store->collections, codes);
  if (report.lines() == 0) {
    absl::PrintF("sound: %s, %s, %s\n", Count(store->collections.size(), "collection"),
                 Count(RowsOf(store->collections), "row"), Count(*snapshots, "snapshot"));
    return true;
  }
  // Of a snapshot that is damaged nothing can be kept.
  const std::string advice =
      of_collections == 0
          ? ""
          : absl::StrFormat("; to keep what is good: vexactd --repair --data-dir %s",
                            config.data_dir);
  absl::PrintF("not sound: %s%s\n", Count(report.lines(), "problem"), advice);
  return false;
}

absl::Status Repair(const Config& config) {
  Report report;
  const auto store = RepairStore(report.OptionsFor(config));
  if (!store.ok()) return WithAdvice(store.status());
  const auto codes = report.Codes(config);
  if (!codes.ok()) return codes.status();
  for (const CheckedCodes& one : *codes) {
    if (!one.check.ok()) return one.check.status();
    for (const CodesProblem& problem : one.check->problems) {
      std::error_code ignored;  // the next start removes it as well
      std::filesystem::remove(problem.file, ignored);
      report.Line(
          absl::StrFormat("collection \"%s\": removed codes file %s; it is made anew at the "
                          "next start",
                          one.collection, problem.line));
    }
  }
  PrintTable(store->collections, *codes);
  if (store->damaged) {
    absl::PrintF(
        "repaired: %s kept, %s lost; the damaged database is kept in %s until you delete "
        "it\n",
        Count(RowsOf(store->collections), "row"), Count(store->lost_rows, "row"), *store->damaged);
  } else {
    absl::PrintF(
        "%s: %s, %s\n", report.lines() == 0 ? "nothing was damaged" : "no data was damaged",
        Count(store->collections.size(), "collection"), Count(RowsOf(store->collections), "row"));
  }
  return absl::OkStatus();
}

}  // namespace vexact::server

#include "core/store_check.h"

#include <rocksdb/env.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/store_checker.h"
#include "core/store_directory.h"
#include "core/store_scan.h"

namespace vexact {
namespace {

constexpr uint64_t kProgressEvery = 1 << 16;  // rows

}  // namespace

absl::StatusOr<bool> CheckSchema(const Database& database, const std::string& directory,
                                 const Report& report) {
  std::string value;
  const rocksdb::Status read = database.db->Get({}, rocksdb::Slice(kSchemaKey), &value);
  const auto version = read.ok() ? DecodeNumber(value) : std::nullopt;
  if (!version) {
    report("the schema version cannot be read");
    return false;
  }
  const uint32_t own = StoreSchema().version;
  if (*version == own) return true;
  return absl::FailedPreconditionError(absl::StrFormat(
      "data directory %s is of schema version %d, and this program checks version %d: %s",
      directory, *version, own,
      *version < own ? "start vexactd once to bring it up" : "use the program that wrote it"));
}

void CheckTables(const Database& database, const Report& report) {
  const rocksdb::Status checksums = database.db->VerifyChecksum();
  if (checksums.ok()) return;
  report(absl::StrCat("a table is damaged where it has nothing that is needed: ",
                      checksums.ToString()));
}

absl::Status ScanSound(const Database& database, const FoundCollection& collection,
                       const StoreCheckOptions& options, const Report& report,
                       CheckedCollection& checked) {
  const CollectionConfig config = collection.entry ? collection.entry->config : CollectionConfig();
  const uint64_t next_row = collection.state ? collection.state->next_row : 0;
  IdCheck ids(database, collection.number);
  uint64_t scanned_rows = 0;
  const auto visit = [&](const ScannedRow& row) {
    if (options.progress && ++scanned_rows % kProgressEvery == 0) {
      options.progress(checked.name, scanned_rows);
    }
    auto problem = CheckRow(row, config);
    if (!problem && row.row >= next_row) {
      problem = RowProblem{absl::StrFormat("its number is not below the next one, %d", next_row)};
    }
    const auto id = row.id_status.ok() ? DecodeId(row.id) : std::nullopt;
    if (const auto earlier = id ? ids.Add(row.row, *id) : std::nullopt; earlier && !problem) {
      problem = RowProblem{absl::StrFormat("row %d has the same id", *earlier)};
    }
    if (problem) {
      report(absl::StrCat(DescribeRow(collection, row), ": ", problem->text));
    } else {
      ++checked.rows;
    }
    return absl::OkStatus();
  };
  const auto unreadable = [&](const RowReader::Gap& gap) {
    report(absl::StrFormat("%s, rows %d to %d: neither ids nor vectors can be read: %s",
                           DescribeCollection(collection), gap.begin, gap.end - 1, gap.reason));
  };
  absl::Status scanned = ScanRows(database, collection.number, next_row, visit, unreadable);
  if (!scanned.ok()) return scanned;
  // Every write has a number of its own, from 1 on.
  if (collection.state && collection.state->sequence == 0 && checked.rows > 0) {
    report(absl::StrCat(DescribeCollection(collection),
                        ": it has rows, but its sequence number is 0, as before the first write"));
  }
  return absl::OkStatus();
}

absl::StatusOr<StoreCheckResult> CheckDatabase(const Database& database,
                                               const StoreCheckOptions& options) {
  StoreCheckResult result;
  const Report report = [&](std::string_view line) {
    ++result.problems;
    if (options.report) options.report(line);
  };
  if (const auto schema = CheckSchema(database, options.directory, report); !schema.ok()) {
    return schema.status();
  }
  for (const FoundCollection& collection : ScanCollections(database, report).collections) {
    CheckedCollection checked;
    checked.name = collection.entry ? *collection.entry->name
                                    : absl::StrFormat("number %d", collection.number);
    absl::Status scanned = ScanSound(database, collection, options, report, checked);
    if (!scanned.ok()) return scanned;
    result.collections.push_back(std::move(checked));
  }
  if (result.problems == 0) CheckTables(database, report);
  return result;
}

absl::StatusOr<StoreCheckResult> VerifyLocked(const StoreCheckOptions& options) {
  rocksdb::Env* const env = options.env != nullptr ? options.env : rocksdb::Env::Default();
  auto opened = OpenDatabase(options.directory, DatabaseOptions(env, StoreTuning().memtable_bytes),
                             DatabaseMode::kReadOnly);
  if (opened.ok()) return CheckDatabase(*opened, options);
  if (!absl::IsDataLoss(opened.status())) return opened.status();
  if (options.report) {
    const std::string message(opened.status().message());
    options.report(message);
  }
  return StoreCheckResult{.problems = 1};
}

absl::StatusOr<StoreCheckResult> VerifyStore(const StoreCheckOptions& options) {
  const auto lock = DirectoryLock::Acquire(options.directory, DirectoryLock::kRefuse);
  if (!lock.ok()) return lock.status();
  return VerifyLocked(options);
}

}  // namespace vexact

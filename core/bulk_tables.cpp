#include "core/bulk_tables.h"

#include <rocksdb/env.h>
#include <rocksdb/sst_file_writer.h>
#include <rocksdb/table.h>

#include <system_error>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/ingestion_env.h"
#include "core/store_directory.h"

namespace vexact {
namespace {

// Rows are read in their order, many at a time: larger blocks than the usual 4 KiB, which two
// vectors fill.
constexpr size_t kBlockBytes = size_t{64} << 10;
// The disk begins to write when so much has come together, so that the sync at the end is short.
constexpr uint64_t kWriteBehindBytes = uint64_t{1} << 20;
// Blocks are larger than this and go to the file as they are, without being gathered first.
constexpr size_t kGatherBytes = size_t{4} << 10;

rocksdb::Options TableOptions(rocksdb::Env& env) {
  rocksdb::Options options;
  options.env = &env;
  options.compression = rocksdb::kNoCompression;
  rocksdb::BlockBasedTableOptions table;
  table.block_size = kBlockBytes;
  table.no_block_cache = true;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

// Where the tables fit without a change of anything else, or not at all: keys that no table has are
// all that these rows need, and a flush or a number of its own for each key is not worth its price.
rocksdb::IngestExternalFileOptions IngestionOptions() {
  rocksdb::IngestExternalFileOptions options;
  options.move_files = true;
  options.snapshot_consistency = false;
  options.allow_global_seqno = false;
  options.allow_blocking_flush = false;
  options.write_global_seqno = false;
  return options;
}

rocksdb::Status Ingest(rocksdb::DB& db, const std::vector<rocksdb::IngestExternalFileArg>& tables) {
  std::vector<std::string> kept;
  rocksdb::Status status;
  {
    const IngestionEnv::Keeping keeping;
    status = db.IngestExternalFiles(tables);
    kept = keeping.kept();
  }
  // Refused before the list of files was touched.
  if (status.IsInvalidArgument()) {
    for (const std::string& path : kept) (void)db.GetEnv()->DeleteFile(path);
  }
  return status;
}

// `one` on another thread, where the system has one to spare, while this one does `other`.
template <typename One, typename Other>
void AtTheSameTime(const One& one, const Other& other) {
  std::jthread thread;
  try {
    thread = std::jthread(one);
  } catch (const std::system_error&) {
    one();
  }
  other();
}

}  // namespace

BulkTables::BulkTables(rocksdb::Env& env, const std::string& directory)
    : env_(env),
      folder_(absl::StrCat(DatabasePath(directory), ".incoming")),
      options_(TableOptions(env)) {}

void BulkTables::Clear() {
  std::vector<std::string> names;
  if (!env_.GetChildren(folder_, &names).ok()) return;
  for (const std::string& name : names) (void)env_.DeleteFile(absl::StrCat(folder_, "/", name));
}

rocksdb::Status BulkTables::Add(Database& database, CollectionNumber collection,
                                std::span<const NewRow> rows,
                                const std::function<rocksdb::Status()>& before) {
  if (rocksdb::Status status = env_.CreateDirIfMissing(folder_); !status.ok()) return status;
  const uint64_t number = next_.fetch_add(1, std::memory_order_relaxed);
  const auto path = [&](Family family) {
    return absl::StrCat(folder_, "/", number, ".", Name(family));
  };
  rocksdb::Status status, beside;
  AtTheSameTime(
      [&] {
        beside = before();
        if (!beside.ok()) return;
        beside = Write(database, Family::kIds, collection, rows, path(Family::kIds));
      },
      [&] { status = Write(database, Family::kRows, collection, rows, path(Family::kRows)); });
  if (status.ok()) status = beside;
  std::vector<rocksdb::IngestExternalFileArg> tables;
  for (const Family family : {Family::kIds, Family::kRows}) {
    rocksdb::IngestExternalFileArg& table = tables.emplace_back();
    table.column_family = database.handle(family);
    table.external_files = {path(family)};
    table.options = IngestionOptions();
  }
  uint64_t bytes = 0;
  for (const auto& table : tables) {
    uint64_t size = 0;
    if (status.ok()) status = env_.GetFileSize(table.external_files.front(), &size);
    bytes += size;
  }
  if (status.ok()) status = Ingest(*database.db, tables);
  if (status.ok()) {
    bytes_.fetch_add(bytes, std::memory_order_relaxed);
    return status;
  }
  for (const auto& table : tables) (void)env_.DeleteFile(table.external_files.front());
  return status;
}

rocksdb::Status BulkTables::Write(Database& database, Family family, CollectionNumber collection,
                                  std::span<const NewRow> rows, const std::string& path) {
  // A file that an earlier run has left may be a table of the database by now, under another name.
  (void)env_.DeleteFile(path);
  rocksdb::EnvOptions file_options;
  file_options.bytes_per_sync = kWriteBehindBytes;
  file_options.writable_file_max_buffer_size = kGatherBytes;
  rocksdb::SstFileWriter writer(file_options, options_, database.handle(family),
                                /*invalidate_page_cache=*/false);
  rocksdb::Status status = writer.Open(path);
  for (const auto& [row, id, vector] : rows) {
    if (!status.ok()) return status;
    const std::string key = RowKey(collection, row);
    status =
        family == Family::kIds ? writer.Put(key, Encode(id)) : writer.Put(key, AsSlice(vector));
  }
  return status.ok() ? writer.Finish() : status;
}

}  // namespace vexact

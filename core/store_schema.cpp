#include "core/store_schema.h"

#include <rocksdb/write_batch.h>

#include <memory>

#include "absl/strings/str_format.h"

namespace vexact {
namespace {

absl::Status Write(Database& database, rocksdb::WriteBatch& batch, const std::string& directory) {
  rocksdb::WriteOptions write;
  write.sync = true;
  return ToStatus(database.db->Write(write, &batch), directory);
}

}  // namespace

absl::StatusOr<uint32_t> ReadVersion(const Database& database, const StoreSchema& schema,
                                     const std::string& directory) {
  std::string value;
  const rocksdb::Status read = database.db->Get({}, kSchemaKey, &value);
  if (read.IsNotFound()) {
    // A crash may have come between the making of the database and its schema.
    const std::unique_ptr<rocksdb::Iterator> any(
        database.db->NewIterator({}, database.handle(Family::kCollections)));
    any->SeekToFirst();
    if (!any->Valid() && any->status().ok()) return 0;
    return absl::DataLossError(absl::StrFormat("data directory %s has collections but no schema%s",
                                               directory, RepairHint(directory)));
  }
  if (!read.ok()) return ToStatus(read, directory);
  const auto version = DecodeNumber(value);
  if (!version || *version == 0) {
    return absl::DataLossError(absl::StrFormat("data directory %s has no readable schema version%s",
                                               directory, RepairHint(directory)));
  }
  if (*version > schema.version) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "data directory %s is of schema version %d; this program knows versions up to %d: use the "
        "program that wrote it, or a later one",
        directory, *version, schema.version));
  }
  return *version;
}

absl::Status BringUp(Database& database, uint32_t version, const StoreSchema& schema,
                     const std::string& directory) {
  constexpr CollectionNumber kFirstCollection = 1;
  if (version == 0) {
    rocksdb::WriteBatch batch;
    (void)batch.Put(kSchemaKey, Encode(schema.version));
    (void)batch.Put(kNextCollectionKey, Encode(kFirstCollection));
    return Write(database, batch, directory);
  }
  for (; version < schema.version; ++version) {
    rocksdb::WriteBatch last;
    const StoreSchema::Migration& migration = schema.migrations[version - 1];
    if (absl::Status status = migration(database, last); !status.ok()) return status;
    (void)last.Put(kSchemaKey, Encode(version + 1));
    if (absl::Status status = Write(database, last, directory); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<CollectionNumber> ReadNextCollection(const Database& database,
                                                    const std::string& directory) {
  std::string value;
  const rocksdb::Status read = database.db->Get({}, kNextCollectionKey, &value);
  if (!read.ok() && !read.IsNotFound()) return ToStatus(read, directory);
  if (const auto next = DecodeNumber(value)) return *next;
  return absl::DataLossError(
      absl::StrFormat("data directory %s has no readable number for the next collection%s",
                      directory, RepairHint(directory)));
}

}  // namespace vexact

// How a store's data lie in its database: column families, keys, values and options.
//
//   family       key                                    value
//   default      "schema"                               version (4 bytes)
//                "next collection"                      number (4 bytes)
//                "dropped", collection                  nothing: its rows are yet to be removed
//                "incoming", collection                 begin (8), end (8): rows that are to be
//                                                       removed if they were not committed
//   collections  collection                             dimension (4), metric, normalization, named
//                                                       (1 byte each), name
//                collection, 's'                        metric (1), sequence (8), next row (8)
//   ids          collection, row                        'u', number (8), or 's', string
//   rows         collection, row                        dimension float32, little-endian, as they
//                                                       are in memory
//
// A collection's number has 4 bytes in keys, a row's 8. All integers are big-endian, so that keys
// sort by number.
#pragma once

#include <rocksdb/db.h>
#include <rocksdb/options.h>
#include <rocksdb/slice.h>
#include <rocksdb/status.h>

#include <bit>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/store.h"

namespace vexact {

static_assert(std::endian::native == std::endian::little, "rows are stored as they are in memory");

// RocksDB numbers column families in the order of their creation, which is this one.
enum class Family : uint32_t { kDefault, kCollections, kIds, kRows };
inline constexpr Family kFamilies[] = {Family::kDefault, Family::kCollections, Family::kIds,
                                       Family::kRows};
std::string Name(Family family);

// Stands for a family in a write batch that is filled before, or without, a database.
rocksdb::ColumnFamilyHandle* Handle(Family family);

std::string CollectionKey(CollectionNumber collection);
std::string StateKey(CollectionNumber collection);
std::string RowKey(CollectionNumber collection, uint64_t row);
std::string DroppedKey(CollectionNumber collection);
std::string IncomingKey(CollectionNumber collection);
inline constexpr std::string_view kSchemaKey = "schema";
inline constexpr std::string_view kNextCollectionKey = "next collection";
inline constexpr std::string_view kDroppedPrefix = "dropped";
inline constexpr std::string_view kIncomingPrefix = "incoming";

// What CollectionKey leads to. A collection without a name is one that nobody has published.
struct CollectionEntry {
  std::optional<std::string> name;
  CollectionConfig config;
};

// Rows of a collection.
struct RowSpan {
  uint64_t begin = 0, end = 0;

  bool empty() const { return begin >= end; }
  bool Has(uint64_t row) const { return begin <= row && row < end; }
};

std::string Encode(uint32_t number);
std::string Encode(RowSpan rows);
std::string Encode(const CollectionEntry& entry);
std::string Encode(const StoredState& state);
std::string Encode(IdView id);
rocksdb::Slice AsSlice(std::span<const float> vector);

// Nothing when the bytes are not what Encode makes.
std::optional<uint32_t> DecodeNumber(rocksdb::Slice value);
std::optional<RowSpan> DecodeRowSpan(rocksdb::Slice value);
std::optional<CollectionEntry> DecodeEntry(rocksdb::Slice value);
std::optional<StoredState> DecodeState(rocksdb::Slice value);
std::optional<IdView> DecodeId(rocksdb::Slice value);
struct RowName {
  CollectionNumber collection;
  uint64_t row;
};
std::optional<RowName> DecodeRowKey(rocksdb::Slice key);

// The collection of a key of `collections`, and whether the key is that of its state.
struct CollectionName {
  CollectionNumber collection;
  bool state;
};
std::optional<CollectionName> DecodeCollectionKey(rocksdb::Slice key);

// An open database.
struct Database {
  Database() = default;
  ~Database();
  Database(Database&& other) noexcept = default;
  Database& operator=(Database&& other) noexcept;

  rocksdb::ColumnFamilyHandle* handle(Family family) const {
    return handles[static_cast<size_t>(family)];
  }

  std::unique_ptr<rocksdb::DB> db;
  std::vector<rocksdb::ColumnFamilyHandle*> handles;  // by family, then those of a newer version
};

enum class DatabaseMode {
  kReadWrite,
  kCreate,        // as kReadWrite, but there may be none yet
  kNoCompaction,  // as kReadWrite, without compaction in the background
  kReadOnly,      // nothing on the disk changes
};

// The options of a store's database, but for what Database's opening adds.
rocksdb::Options DatabaseOptions(rocksdb::Env* env, uint64_t memtable_bytes);

// Opens the database of a data directory.
absl::StatusOr<Database> OpenDatabase(const std::string& directory, const rocksdb::Options& options,
                                      DatabaseMode mode);

// Rows that a write left behind when it was cut off before the batch that makes them count: nobody
// was told of them (Store::CommitRows). Empty: there are none, whatever mark there is. Nothing: the
// mark or the collection's state cannot be read.
std::optional<RowSpan> CutOffRows(const Database& database, CollectionNumber collection);

// The error that a caller of the store sees; `directory` is the data directory.
absl::Status ToStatus(const rocksdb::Status& status, const std::string& directory);

// What to do about damage, for the end of a message.
std::string RepairHint(const std::string& directory);

}  // namespace vexact

#include "core/store.h"

#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/bulk_tables.h"
#include "core/healing_database.h"
#include "core/store_database.h"
#include "core/store_directory.h"
#include "core/store_schema.h"

namespace vexact {
namespace {

std::string Describe(CollectionNumber collection, const CollectionEntry& entry) {
  return entry.name ? absl::StrFormat("collection \"%s\"", *entry.name)
                    : absl::StrFormat("unnamed collection %d", collection);
}

}  // namespace

StoreBatch::StoreBatch(size_t expected_bytes)
    : batch_(std::make_unique<rocksdb::WriteBatch>(expected_bytes)) {}
StoreBatch::~StoreBatch() = default;
StoreBatch::StoreBatch(StoreBatch&&) noexcept = default;
StoreBatch& StoreBatch::operator=(StoreBatch&&) noexcept = default;

// Filling a batch cannot fail: it has no limit of its own, and keys and families are ours.

void StoreBatch::PutRow(CollectionNumber collection, uint64_t row, IdView id,
                        std::span<const float> vector) {
  const std::string key = RowKey(collection, row);
  const std::string encoded = Encode(id);
  (void)batch_->Put(Handle(Family::kIds), key, encoded);
  (void)batch_->Put(Handle(Family::kRows), key, AsSlice(vector));
  bytes_ += encoded.size() - 1 + vector.size_bytes();
}

void StoreBatch::DeleteRow(CollectionNumber collection, uint64_t row) {
  const std::string key = RowKey(collection, row);
  (void)batch_->Delete(Handle(Family::kIds), key);
  (void)batch_->Delete(Handle(Family::kRows), key);
}

void StoreBatch::PutState(CollectionNumber collection, const StoredState& state) {
  (void)batch_->Put(Handle(Family::kCollections), StateKey(collection), Encode(state));
}

struct Store::Impl {
  Impl(StoreOptions options, DirectoryLock lock)
      : database(std::move(options), std::move(lock)),
        tables(*database.options().env, database.directory()) {}

  absl::Status Open();

  absl::StatusOr<CollectionEntry> ReadEntry(CollectionNumber collection);
  absl::Status PutEntry(CollectionNumber collection, const CollectionEntry& entry,
                        const std::optional<CollectionEntry>& before);
  absl::StatusOr<CollectionNumber> Create(const CollectionEntry& entry);
  absl::Status Drop(CollectionNumber collection, const CollectionEntry& entry);

  rocksdb::Status AddRows(Database& open, CollectionNumber collection,
                          std::span<const NewRow> rows);
  bool sync() const { return database.options().durability == Durability::kFsync; }
  void Count(uint64_t bytes);

  using VisitEntry = std::function<absl::Status(RowName, rocksdb::Slice value, uint32_t dimension,
                                                const std::string& collection)>;
  absl::Status Visit(Family family, CollectionNumber collection, uint64_t begin, uint64_t end,
                     const VisitEntry& visit);

  const std::string& directory() const { return database.directory(); }

  HealingDatabase database;
  BulkTables tables;
  std::atomic<uint64_t> commits = 0, batch_bytes = 0;

  std::mutex create_mutex;
  CollectionNumber next_collection = 1;  // guarded by create_mutex
};

absl::Status Store::Impl::Open() {
  if (absl::Status status = database.Open(); !status.ok()) return status;
  tables.Clear();
  return database.Read([&](Database& open) {
    const auto next = ReadNextCollection(open, directory());
    if (next.ok()) next_collection = *next;
    return next.status();
  });
}

absl::StatusOr<CollectionEntry> Store::Impl::ReadEntry(CollectionNumber collection) {
  CollectionEntry entry;
  absl::Status status = database.Read([&](Database& open) {
    std::string value;
    const rocksdb::Status read =
        open.db->Get({}, open.handle(Family::kCollections), CollectionKey(collection), &value);
    if (read.IsNotFound()) {
      return absl::NotFoundError(absl::StrFormat("the store has no collection %d", collection));
    }
    if (!read.ok()) return ToStatus(read, directory());
    auto decoded = DecodeEntry(value);
    if (!decoded) {
      return absl::DataLossError(absl::StrFormat("collection %d: its entry is unreadable%s",
                                                 collection, RepairHint(directory())));
    }
    entry = std::move(*decoded);
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return entry;
}

// Writes what is known of a collection but its rows.
absl::Status Store::Impl::PutEntry(CollectionNumber collection, const CollectionEntry& entry,
                                   const std::optional<CollectionEntry>& before) {
  rocksdb::WriteBatch batch;
  (void)batch.Put(Handle(Family::kCollections), CollectionKey(collection), Encode(entry));
  if (!before) {
    (void)batch.Put(Handle(Family::kCollections), StateKey(collection),
                    Encode(StoredState{.metric = entry.config.metric}));
    // A number that a failed write has taken stays taken.
    (void)batch.Put(kNextCollectionKey, Encode(collection + 1));
  }
  return database.Write(batch, /*sync=*/true, [&] {
    rocksdb::WriteBatch undo;
    if (before) {
      (void)undo.Put(Handle(Family::kCollections), CollectionKey(collection), Encode(*before));
    } else {
      (void)undo.Delete(Handle(Family::kCollections), CollectionKey(collection));
      (void)undo.Delete(Handle(Family::kCollections), StateKey(collection));
    }
    return undo;
  });
}

absl::StatusOr<CollectionNumber> Store::Impl::Create(const CollectionEntry& entry) {
  // Held throughout: the next number must not go back on the disk.
  const std::lock_guard create_lock(create_mutex);
  const CollectionNumber collection = next_collection++;
  if (absl::Status status = PutEntry(collection, entry, std::nullopt); !status.ok()) return status;
  return collection;
}

absl::Status Store::Impl::Drop(CollectionNumber collection, const CollectionEntry& entry) {
  std::string state;
  absl::Status read = database.Read([&](Database& open) {
    const rocksdb::Status status =
        open.db->Get({}, open.handle(Family::kCollections), StateKey(collection), &state);
    return status.IsNotFound() ? absl::OkStatus() : ToStatus(status, directory());
  });
  if (!read.ok()) return read;
  // Its rows are removed later, so that this can be undone.
  rocksdb::WriteBatch batch = DropBatch(collection);
  absl::Status written = database.Write(batch, /*sync=*/true, [&] {
    rocksdb::WriteBatch undo;
    (void)undo.Put(Handle(Family::kCollections), CollectionKey(collection), Encode(entry));
    (void)undo.Put(Handle(Family::kCollections), StateKey(collection), state);
    (void)undo.Delete(DroppedKey(collection));
    return undo;
  });
  if (!written.ok()) return written;
  database.sweeper().Remove(collection);
  return absl::OkStatus();
}

absl::Status Store::Impl::Visit(Family family, CollectionNumber collection, uint64_t begin,
                                uint64_t end, const VisitEntry& visit) {
  const absl::StatusOr<CollectionEntry> entry = ReadEntry(collection);
  if (!entry.ok()) return entry.status();
  const std::string name = Describe(collection, *entry);
  return database.Read([&](Database& open) {
    rocksdb::ReadOptions read;
    read.fill_cache = false;
    // There on a full disk only, which keeps them from being removed.
    const RowSpan cut_off = CutOffRows(open, collection).value_or(RowSpan());
    const std::string upper_key =
        RowKey(collection, cut_off.empty() ? end : std::min(end, cut_off.begin));
    const rocksdb::Slice upper = upper_key;
    read.iterate_upper_bound = &upper;
    const std::unique_ptr<rocksdb::Iterator> at(open.db->NewIterator(read, open.handle(family)));
    for (at->Seek(RowKey(collection, begin)); at->Valid(); at->Next()) {
      const auto row = DecodeRowKey(at->key());
      if (!row) {
        return absl::DataLossError(absl::StrFormat("%s has an unreadable key in family \"%s\"%s",
                                                   name, Name(family), RepairHint(directory())));
      }
      if (absl::Status status = visit(*row, at->value(), entry->config.dimension, name);
          !status.ok()) {
        return status;
      }
    }
    absl::Status status = ToStatus(at->status(), directory());
    if (status.ok()) return status;
    return absl::Status(status.code(), absl::StrCat(name, ": ", status.message()));
  });
}

Store::Store(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Store::~Store() { impl_->database.Close(); }

absl::StatusOr<std::unique_ptr<Store>> Store::Open(const StoreOptions& options) {
  auto lock = DirectoryLock::Acquire(options.directory, DirectoryLock::kCreate);
  if (!lock.ok()) return lock.status();
  auto impl = std::make_unique<Impl>(options, std::move(*lock));
  if (absl::Status status = impl->Open(); !status.ok()) return status;
  return std::unique_ptr<Store>(new Store(std::move(impl)));
}

absl::StatusOr<std::vector<StoredCollection>> Store::Collections() const {
  std::vector<StoredCollection> collections;
  absl::Status read = impl_->database.Read([&](Database& open) {
    const auto unreadable = [&](CollectionNumber number) {
      return absl::DataLossError(absl::StrFormat("collection %d: its entry is unreadable%s", number,
                                                 RepairHint(impl_->directory())));
    };
    const std::unique_ptr<rocksdb::Iterator> at(
        open.db->NewIterator({}, open.handle(Family::kCollections)));
    // An entry, and then its state.
    std::optional<std::pair<CollectionNumber, CollectionEntry>> entry;
    for (at->SeekToFirst(); at->Valid(); at->Next()) {
      const auto key = DecodeCollectionKey(at->key());
      if (!key) return unreadable(0);
      if (!key->state) {
        if (entry) return unreadable(entry->first);
        auto decoded = DecodeEntry(at->value());
        if (!decoded) return unreadable(key->collection);
        entry.emplace(key->collection, std::move(*decoded));
        continue;
      }
      const auto state = DecodeState(at->value());
      if (!state || !entry || entry->first != key->collection) return unreadable(key->collection);
      if (entry->second.name) {
        collections.push_back(
            {key->collection, *std::move(entry->second.name), entry->second.config, *state});
      }
      entry.reset();
    }
    if (entry) return unreadable(entry->first);
    return ToStatus(at->status(), impl_->directory());
  });
  if (!read.ok()) return read;
  return collections;
}

absl::StatusOr<CollectionNumber> Store::CreateUnnamed(const CollectionConfig& config) {
  return impl_->Create({.name = std::nullopt, .config = config});
}

absl::StatusOr<CollectionNumber> Store::Create(std::string_view name,
                                               const CollectionConfig& config) {
  return impl_->Create({.name = std::string(name), .config = config});
}

absl::Status Store::Publish(CollectionNumber collection, std::string_view name) {
  const absl::StatusOr<CollectionEntry> before = impl_->ReadEntry(collection);
  if (!before.ok()) return before.status();
  CollectionEntry entry = *before;
  entry.name = std::string(name);
  return impl_->PutEntry(collection, entry, *before);
}

absl::Status Store::Drop(CollectionNumber collection) {
  const absl::StatusOr<CollectionEntry> entry = impl_->ReadEntry(collection);
  if (!entry.ok()) return entry.status();
  return impl_->Drop(collection, *entry);
}

// What is written first says which rows to remove if the last write is not reached: the next start
// does that. It has to be on the disk before the rows.
rocksdb::Status Store::Impl::AddRows(Database& open, CollectionNumber collection,
                                     std::span<const NewRow> rows) {
  rocksdb::WriteOptions write;
  write.sync = true;
  const RowSpan numbers{rows.front().row, rows.back().row + 1};
  const rocksdb::Status added = tables.Add(open, collection, rows, [&] {
    return open.db->Put(write, IncomingKey(collection), Encode(numbers));
  });
  if (!added.IsInvalidArgument()) return added;
  // Rows of these numbers were cut off once: their deletions stand in the way of tables.
  StoreBatch batch;
  for (const auto& [row, id, vector] : rows) batch.PutRow(collection, row, id, vector);
  return open.db->Write(write, batch.batch_.get());
}

void Store::Impl::Count(uint64_t bytes) {
  // Counters for people: no other memory depends on them.
  commits.fetch_add(1, std::memory_order_relaxed);
  batch_bytes.fetch_add(bytes, std::memory_order_relaxed);
}

absl::Status Store::Commit(StoreBatch batch, const std::function<StoreBatch()>& undo) {
  absl::Status status = impl_->database.Write(*batch.batch_, impl_->sync(),
                                              [&] { return std::move(*undo().batch_); });
  if (status.ok()) impl_->Count(batch.bytes());
  return status;
}

absl::Status Store::CommitRows(CollectionNumber collection, std::span<const NewRow> rows,
                               StoreBatch rest, const std::function<StoreBatch()>& undo) {
  (void)rest.batch_->Delete(IncomingKey(collection));
  rocksdb::WriteOptions write;
  write.sync = impl_->sync();
  absl::Status status = impl_->database.ToWrite([&](Database& open) {
    rocksdb::Status written = impl_->AddRows(open, collection, rows);
    if (written.ok()) written = open.db->Write(write, rest.batch_.get());
    if (written.ok()) return absl::OkStatus();
    return impl_->database.Fail(written, [&] {
      rocksdb::WriteBatch batch = std::move(*undo().batch_);
      (void)batch.Delete(IncomingKey(collection));
      return batch;
    });
  });
  if (!status.ok()) return status;
  uint64_t bytes = rest.bytes();
  for (const NewRow& row : rows) bytes += Encode(row.id).size() - 1 + row.vector.size_bytes();
  impl_->Count(bytes);
  return status;
}

uint64_t Store::bulk_bytes() const { return impl_->database.options().tuning.bulk_bytes; }

absl::Status Store::Sync() {
  return impl_->database.ToWrite([&](Database& open) {
    const rocksdb::Status status = open.db->SyncWAL();
    return status.ok() ? absl::OkStatus() : impl_->database.Fail(status, nullptr);
  });
}

absl::Status Store::VisitIds(CollectionNumber collection, uint64_t begin, uint64_t end,
                             const VisitId& visit) const {
  const auto visit_entry = [&](RowName row, rocksdb::Slice value, uint32_t,
                               const std::string& name) {
    const auto id = DecodeId(value);
    if (id) return visit(row.row, *id);
    return absl::DataLossError(absl::StrFormat("%s: the id of row %d is unreadable%s", name,
                                               row.row, RepairHint(impl_->directory())));
  };
  return impl_->Visit(Family::kIds, collection, begin, end, visit_entry);
}

absl::Status Store::VisitRows(CollectionNumber collection, uint64_t begin, uint64_t end,
                              const VisitRow& visit) const {
  std::vector<float> aligned;
  const auto visit_entry = [&](RowName row, rocksdb::Slice value, uint32_t dimension,
                               const std::string& name) {
    if (value.size() != size_t{dimension} * sizeof(float)) {
      return absl::DataLossError(absl::StrFormat(
          "%s: row %d has %d bytes, not the %d of dimension %d%s", name, row.row, value.size(),
          size_t{dimension} * sizeof(float), dimension, RepairHint(impl_->directory())));
    }
    const char* data = value.data();
    if (reinterpret_cast<uintptr_t>(data) % alignof(float) != 0) {
      aligned.resize(dimension);
      std::memcpy(aligned.data(), data, value.size());
      data = reinterpret_cast<const char*>(aligned.data());
    }
    return visit(row.row, {reinterpret_cast<const float*>(data), dimension});
  };
  return impl_->Visit(Family::kRows, collection, begin, end, visit_entry);
}

StoreStatistics Store::statistics() const {
  StoreStatistics result = impl_->database.statistics();
  result.commits = impl_->commits.load(std::memory_order_relaxed);
  result.batch_bytes = impl_->batch_bytes.load(std::memory_order_relaxed);
  result.flush_bytes += impl_->tables.bytes();
  result.disk_bytes += impl_->tables.bytes();
  return result;
}

absl::Status Store::failure() const { return impl_->database.failure(); }

const std::string& Store::directory() const { return impl_->directory(); }

}  // namespace vexact

// The collections of one server, by name.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "core/collection.h"
#include "core/maintenance.h"
#include "core/name.h"
#include "core/store.h"

namespace vexact {

// Of NOT_FOUND for a collection: a sentence with the names there are, for who may know them.
inline constexpr char kCollectionNamesPayload[] = "vexact/collection_names";

struct CatalogLoadOptions {
  // Told now and then how far a collection is; by one thread at a time.
  std::function<void(std::string_view collection, uint64_t rows, uint64_t total)> progress =
      nullptr;
  std::stop_token stop = {};
};

// Thread safety: every method may be called from any thread. A collection that is dropped lives on,
// in memory, until the last caller lets go of it.
class Catalog {
 public:
  // In memory alone. `workers` must outlive the catalog and its collections. `report` is told what
  // the background maintenance of collections does.
  explicit Catalog(Workers& workers, MaintenanceReport report = nullptr);
  ~Catalog();

  // All that is in `store`, which must outlive the catalog and its collections. A collection that
  // is damaged does not keep the others from being opened: see damaged(). UNAVAILABLE,
  // RESOURCE_EXHAUSTED; CANCELLED by the stop token.
  static absl::StatusOr<std::unique_ptr<Catalog>> Open(Store& store, Workers& workers,
                                                       MaintenanceReport report = nullptr,
                                                       const CatalogLoadOptions& options = {});

  struct Created {
    std::shared_ptr<Collection> collection;
    bool created;  // false when it existed, with the same configuration
  };
  // INVALID_ARGUMENT: a bad name (name.h) or configuration. ALREADY_EXISTS: it exists with another
  // configuration; the message says which field differs. DATA_LOSS: it exists and is damaged.
  // RESOURCE_EXHAUSTED, UNAVAILABLE: it cannot be written.
  absl::StatusOr<Created> Create(std::string_view name, const CollectionConfig& config);

  // A collection of this name that is in no list, nor on the disk after the next start, before it
  // is published; dropped by itself when it is not to be. ALREADY_EXISTS when there is one of this
  // name, whatever its configuration; otherwise errors as Create's.
  absl::StatusOr<std::shared_ptr<Collection>> CreateUnnamed(std::string_view name,
                                                            const CollectionConfig& config);
  // Whether CreateUnnamed would refuse the name.
  absl::Status CheckNew(std::string_view name) const;
  // ALREADY_EXISTS when there is one of its name by now; RESOURCE_EXHAUSTED, UNAVAILABLE.
  absl::Status Publish(const std::shared_ptr<Collection>& collection);

  // NOT_FOUND, with the names there are in kCollectionNamesPayload; DATA_LOSS when it is damaged,
  // saying what is.
  absl::StatusOr<std::shared_ptr<Collection>> Get(std::string_view name) const;

  // By name; without those that are damaged.
  std::vector<std::shared_ptr<Collection>> List() const;

  // The damaged collections by name, with the DATA_LOSS that each call of theirs gets.
  std::map<std::string, absl::Status, std::less<>> damaged() const;

  // How many rows it had; 0 when it is damaged. NOT_FOUND; RESOURCE_EXHAUSTED and UNAVAILABLE when
  // that cannot be written: then it stays.
  absl::StatusOr<uint64_t> Drop(std::string_view name);

 private:
  struct Damaged {
    CollectionNumber number;
    absl::Status status;
  };
  Catalog(Workers& workers, MaintenanceReport report, Store* store);

  absl::Status OpenOne(const StoredCollection& stored, const CatalogLoadOptions& options);
  void RemoveForeignCodes(const std::vector<StoredCollection>& stored) const;
  // Has `make(on_work)` make a collection whose on_work has it maintained.
  absl::StatusOr<std::shared_ptr<Collection>> Maintained(
      const std::function<absl::StatusOr<std::unique_ptr<Collection>>(std::function<void()>)>& make)
      const;
  absl::StatusOr<std::shared_ptr<Collection>> MakeEmpty(std::string_view name,
                                                        const CollectionConfig& config,
                                                        const StoredIn& stored) const;
  // What there is under the name; NOT_FOUND or DATA_LOSS. REQUIRES: mutex_ is held.
  absl::StatusOr<std::shared_ptr<Collection>> Find(std::string_view name) const;
  absl::Status NotFound(std::string_view name) const;

  Workers& workers_;
  Store* const store_;  // null in memory alone
  const std::shared_ptr<Maintenance> maintenance_;
  const MaintenanceReport report_;
  // One creation or dropping at a time: they write to the disk, and nobody else is to wait for
  // that. Taken before mutex_.
  std::mutex change_mutex_;
  mutable std::shared_mutex mutex_;  // guards what follows
  std::map<std::string, std::shared_ptr<Collection>, std::less<>> collections_;
  std::map<std::string, Damaged, std::less<>> damaged_;
};

}  // namespace vexact

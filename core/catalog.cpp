#include "core/catalog.h"

#include <algorithm>
#include <filesystem>
#include <mutex>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_format.h"

namespace vexact {
namespace {

absl::Status ExistsWith(std::string_view name, std::string_view field, std::string_view has,
                        std::string_view asked) {
  return absl::AlreadyExistsError(absl::StrFormat(
      "collection \"%s\" exists with %s %s; %s was asked for", name, field, has, asked));
}

// OK when the collection is what `config` asks for.
absl::Status CheckSame(const Collection& collection, const CollectionConfig& config) {
  const CollectionConfig has = collection.info().config;
  if (has.dimension != config.dimension) {
    return ExistsWith(collection.name(), "dimension", std::to_string(has.dimension),
                      std::to_string(config.dimension));
  }
  if (has.metric != config.metric) {
    return ExistsWith(collection.name(), "metric", Name(has.metric), Name(config.metric));
  }
  if (has.normalization != config.normalization) {
    return ExistsWith(collection.name(), "normalization", Name(has.normalization),
                      Name(config.normalization));
  }
  return absl::OkStatus();
}

}  // namespace

Catalog::Catalog(Workers& workers, MaintenanceReport report, Store* store)
    : workers_(workers),
      store_(store),
      maintenance_(std::make_shared<Maintenance>(report)),
      report_(std::move(report)) {}
Catalog::Catalog(Workers& workers, MaintenanceReport report)
    : Catalog(workers, std::move(report), nullptr) {}
Catalog::~Catalog() = default;

absl::StatusOr<std::unique_ptr<Catalog>> Catalog::Open(Store& store, Workers& workers,
                                                       MaintenanceReport report,
                                                       const CatalogLoadOptions& options) {
  const auto stored = store.Collections();
  if (!stored.ok()) return stored.status();
  std::unique_ptr<Catalog> catalog(new Catalog(workers, std::move(report), &store));
  catalog->RemoveForeignCodes(*stored);
  for (const StoredCollection& one : *stored) {
    if (absl::Status status = catalog->OpenOne(one, options); !status.ok()) return status;
  }
  // What the last process did not come to: codes under an older layout, or without a file.
  for (const auto& [name, collection] : catalog->collections_) {
    catalog->maintenance_->Add(collection);
  }
  return catalog;
}

absl::Status Catalog::OpenOne(const StoredCollection& stored, const CatalogLoadOptions& options) {
  LoadOptions load{.stop = options.stop};
  if (options.progress) {
    load.progress = [&](uint64_t rows, uint64_t total) {
      options.progress(stored.name, rows, total);
    };
  }
  auto opened = Maintained([&](std::function<void()> on_work) {
    return Collection::Open(stored, *store_, workers_, load, std::move(on_work));
  });
  if (absl::IsDataLoss(opened.status())) {
    damaged_.emplace(stored.name, Damaged{stored.number, opened.status()});
    return absl::OkStatus();
  }
  if (!opened.ok()) return opened.status();
  const std::shared_ptr<Collection> collection = *std::move(opened);
  for (const std::string& fault : collection->rebuilt().faults) {
    if (!report_) break;
    report_(*collection, {.kind = MaintenanceEvent::kRebuilt,
                          .rows = collection->rebuilt().rows,
                          .status = absl::DataLossError(fault)});
  }
  collections_.emplace(stored.name, collection);
  return absl::OkStatus();
}

// Of collections that were dropped when the process ended.
void Catalog::RemoveForeignCodes(const std::vector<StoredCollection>& stored) const {
  std::set<std::string> known;
  for (const StoredCollection& one : stored) known.insert(std::to_string(one.number));
  std::error_code error;
  std::vector<std::string> foreign;
  for (std::filesystem::directory_iterator at(CodesPath(store_->directory()), error), end;
       !error && at != end; at.increment(error)) {
    if (!known.contains(at->path().filename().string())) foreign.push_back(at->path().string());
  }
  for (const std::string& path : foreign) CodesFolder::RemoveAt(path);
}

absl::StatusOr<std::shared_ptr<Collection>> Catalog::Maintained(
    const std::function<absl::StatusOr<std::unique_ptr<Collection>>(std::function<void()>)>& make)
    const {
  // Weak on both sides: a collection may outlive the catalog, and its memory must not wait for its
  // turn to be maintained.
  const auto self = std::make_shared<std::weak_ptr<Collection>>();
  auto made = make([self, maintenance = std::weak_ptr(maintenance_)] {
    if (const auto alive = maintenance.lock()) alive->Add(*self);
  });
  if (!made.ok()) return made.status();
  std::shared_ptr<Collection> collection = *std::move(made);
  *self = collection;
  return collection;
}

absl::StatusOr<Catalog::Created> Catalog::Create(std::string_view name,
                                                 const CollectionConfig& config) {
  if (absl::Status status = ValidateName("name", "a collection", name); !status.ok()) {
    return status;
  }
  if (absl::Status status = Collection::Validate(config); !status.ok()) return status;
  std::lock_guard changing(change_mutex_);
  {
    std::shared_lock lock(mutex_);
    const auto found = Find(name);
    if (found.ok()) {
      if (absl::Status status = CheckSame(**found, config); !status.ok()) return status;
      return Created{*found, false};
    }
    if (!absl::IsNotFound(found.status())) return found.status();
  }
  StoredIn stored{.store = store_};
  if (store_ != nullptr) {
    const auto number = store_->Create(name, config);
    if (!number.ok()) return number.status();
    stored.collection = *number;
  }
  auto created = MakeEmpty(name, config, stored);
  if (!created.ok()) return created.status();
  std::unique_lock lock(mutex_);
  collections_.emplace(name, *created);
  return Created{*std::move(created), true};
}

absl::StatusOr<std::shared_ptr<Collection>> Catalog::MakeEmpty(std::string_view name,
                                                               const CollectionConfig& config,
                                                               const StoredIn& stored) const {
  return Maintained([&](std::function<void()> on_work) {
    return std::make_unique<Collection>(std::string(name), config, workers_, std::move(on_work),
                                        CollectionTuning(), stored);
  });
}

absl::Status Catalog::CheckNew(std::string_view name) const {
  if (absl::Status status = ValidateName("name", "a collection", name); !status.ok()) {
    return status;
  }
  std::shared_lock lock(mutex_);
  if (absl::IsNotFound(Find(name).status())) return absl::OkStatus();
  return absl::AlreadyExistsError(absl::StrFormat(
      "collection \"%s\" exists; restore under another name, or drop it first", name));
}

absl::StatusOr<std::shared_ptr<Collection>> Catalog::CreateUnnamed(std::string_view name,
                                                                   const CollectionConfig& config) {
  if (absl::Status status = CheckNew(name); !status.ok()) return status;
  if (absl::Status status = Collection::Validate(config); !status.ok()) return status;
  StoredIn stored{.store = store_};
  if (store_ != nullptr) {
    const auto number = store_->CreateUnnamed(config);
    if (!number.ok()) return number.status();
    stored.collection = *number;
  }
  return MakeEmpty(name, config, stored);
}

absl::Status Catalog::Publish(const std::shared_ptr<Collection>& collection) {
  std::lock_guard changing(change_mutex_);
  if (absl::Status status = CheckNew(collection->name()); !status.ok()) return status;
  if (absl::Status status = collection->Publish(); !status.ok()) return status;
  {
    std::unique_lock lock(mutex_);
    collections_.emplace(collection->name(), collection);
  }
  maintenance_->Add(collection);
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<Collection>> Catalog::Find(std::string_view name) const {
  if (const auto found = collections_.find(name); found != collections_.end()) {
    return found->second;
  }
  if (const auto found = damaged_.find(name); found != damaged_.end()) return found->second.status;
  return NotFound(name);
}

absl::StatusOr<std::shared_ptr<Collection>> Catalog::Get(std::string_view name) const {
  std::shared_lock lock(mutex_);
  return Find(name);
}

std::vector<std::shared_ptr<Collection>> Catalog::List() const {
  std::shared_lock lock(mutex_);
  std::vector<std::shared_ptr<Collection>> all;
  all.reserve(collections_.size());
  for (const auto& [name, collection] : collections_) all.push_back(collection);
  return all;
}

std::map<std::string, absl::Status, std::less<>> Catalog::damaged() const {
  std::shared_lock lock(mutex_);
  std::map<std::string, absl::Status, std::less<>> all;
  for (const auto& [name, damage] : damaged_) all.emplace(name, damage.status);
  return all;
}

absl::StatusOr<uint64_t> Catalog::Drop(std::string_view name) {
  std::lock_guard changing(change_mutex_);
  std::optional<CollectionNumber> damaged;
  std::shared_ptr<Collection> collection;
  {
    std::shared_lock lock(mutex_);
    if (const auto found = damaged_.find(name); found != damaged_.end()) {
      damaged = found->second.number;
    } else {
      auto held = Find(name);
      if (!held.ok()) return held.status();
      collection = *std::move(held);
    }
  }
  if (damaged) {
    if (absl::Status status = store_->Drop(*damaged); !status.ok()) return status;
    CodesFolder::RemoveAt(CodesPath(store_->directory(), *damaged));
  } else if (absl::Status status = collection->Drop(); !status.ok()) {
    return status;
  }
  std::unique_lock lock(mutex_);
  damaged_.erase(std::string(name));
  collections_.erase(std::string(name));
  return collection == nullptr ? 0 : collection->info().rows;
}

absl::Status Catalog::NotFound(std::string_view name) const {
  constexpr size_t kShown = 10;
  std::string names;
  size_t listed = 0;
  for (const auto& [existing, collection] : collections_) {
    if (listed == kShown) break;
    names += (listed++ == 0 ? "" : ", ") + existing;
  }
  if (collections_.empty()) {
    names = "There are no collections.";
  } else if (collections_.size() > listed) {
    names = absl::StrFormat("There are %s and %d more.", names, collections_.size() - listed);
  } else {
    names = absl::StrFormat("There %s: %s.", listed == 1 ? "is" : "are", names);
  }
  const std::string shown = absl::CHexEscape(std::string(name.substr(0, kMaxNameLength)));
  absl::Status status = absl::NotFoundError(absl::StrFormat("no collection \"%s\".", shown));
  status.SetPayload(kCollectionNamesPayload, absl::Cord(names));
  return status;
}

}  // namespace vexact

#include "core/catalog.h"

#include <algorithm>
#include <mutex>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_format.h"

namespace vexact {
namespace {

absl::Status ValidateName(std::string_view name) {
  const auto allowed = [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-';
  };
  if (name.empty()) return absl::InvalidArgumentError("name is empty; a collection needs a name");
  if (name.size() > kMaxNameLength) {
    return absl::InvalidArgumentError(
        absl::StrFormat("name has %d characters; the limit is %d", name.size(), kMaxNameLength));
  }
  if (!absl::ascii_isalnum(static_cast<unsigned char>(name.front())) ||
      !std::all_of(name.begin(), name.end(), allowed)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("name \"%s\" is not allowed; it must be a letter or digit, then letters, "
                        "digits, '.', '_' or '-'",
                        absl::CHexEscape(std::string(name))));
  }
  return absl::OkStatus();
}

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

Catalog::Catalog(Workers& workers, MaintenanceReport report)
    : workers_(workers), maintenance_(std::make_shared<Maintenance>(std::move(report))) {}
Catalog::~Catalog() = default;

absl::StatusOr<Catalog::Created> Catalog::Create(std::string_view name,
                                                 const CollectionConfig& config) {
  if (absl::Status status = ValidateName(name); !status.ok()) return status;
  if (absl::Status status = Collection::Validate(config); !status.ok()) return status;
  std::unique_lock lock(mutex_);
  if (const auto found = collections_.find(name); found != collections_.end()) {
    if (absl::Status status = CheckSame(*found->second, config); !status.ok()) return status;
    return Created{found->second, false};
  }
  // Weak on both sides: a collection may outlive the catalog, and its memory must not wait for its
  // turn to be maintained.
  const auto self = std::make_shared<std::weak_ptr<Collection>>();
  auto collection = std::make_shared<Collection>(std::string(name), config, workers_,
                                                 [self, maintenance = std::weak_ptr(maintenance_)] {
                                                   if (const auto alive = maintenance.lock())
                                                     alive->Add(*self);
                                                 });
  *self = collection;
  collections_.emplace(name, collection);
  return Created{std::move(collection), true};
}

absl::StatusOr<std::shared_ptr<Collection>> Catalog::Get(std::string_view name) const {
  std::shared_lock lock(mutex_);
  if (const auto found = collections_.find(name); found != collections_.end()) {
    return found->second;
  }
  return NotFound(name);
}

std::vector<std::shared_ptr<Collection>> Catalog::List() const {
  std::shared_lock lock(mutex_);
  std::vector<std::shared_ptr<Collection>> all;
  all.reserve(collections_.size());
  for (const auto& [name, collection] : collections_) all.push_back(collection);
  return all;
}

absl::StatusOr<std::shared_ptr<Collection>> Catalog::Drop(std::string_view name) {
  std::unique_lock lock(mutex_);
  const auto found = collections_.find(name);
  if (found == collections_.end()) return NotFound(name);
  std::shared_ptr<Collection> dropped = std::move(found->second);
  collections_.erase(found);
  return dropped;
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
  return absl::NotFoundError(absl::StrFormat("no collection \"%s\". %s", shown, names));
}

}  // namespace vexact

// The collections of one server, by name.
#pragma once

#include <map>
#include <memory>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "core/collection.h"
#include "core/maintenance.h"

namespace vexact {

inline constexpr size_t kMaxNameLength = 128;

// Thread safety: every method may be called from any thread. A collection that is dropped lives on
// until the last caller lets go of it.
class Catalog {
 public:
  // `workers` must outlive the catalog and its collections. `report` is told what the background
  // maintenance of collections does.
  explicit Catalog(Workers& workers, MaintenanceReport report = nullptr);
  ~Catalog();

  struct Created {
    std::shared_ptr<Collection> collection;
    bool created;  // false when it existed, with the same configuration
  };
  // INVALID_ARGUMENT: a bad name (1 to kMaxNameLength characters: a letter or digit, then letters,
  // digits, '.', '_', '-') or configuration. ALREADY_EXISTS: it exists with another configuration;
  // the message says which field differs.
  absl::StatusOr<Created> Create(std::string_view name, const CollectionConfig& config);

  // NOT_FOUND, with the names there are.
  absl::StatusOr<std::shared_ptr<Collection>> Get(std::string_view name) const;

  // By name.
  std::vector<std::shared_ptr<Collection>> List() const;

  // The dropped collection. NOT_FOUND.
  absl::StatusOr<std::shared_ptr<Collection>> Drop(std::string_view name);

 private:
  // REQUIRES: mutex_ is held.
  absl::Status NotFound(std::string_view name) const;

  Workers& workers_;
  const std::shared_ptr<Maintenance> maintenance_;
  mutable std::shared_mutex mutex_;
  std::map<std::string, std::shared_ptr<Collection>, std::less<>> collections_;
};

}  // namespace vexact

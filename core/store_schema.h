// What a database must have before a store can use it.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/store.h"
#include "core/store_database.h"

namespace vexact {

// All of these: DATA_LOSS when what should be there is not, or is unreadable. `directory` is for
// messages.

// 0 when the database has been made and no more. FAILED_PRECONDITION when it is newer than
// `schema`.
absl::StatusOr<uint32_t> ReadVersion(const Database& database, const StoreSchema& schema,
                                     const std::string& directory);

// Brings a database of that version up to the schema's; on the disk on return.
absl::Status BringUp(Database& database, uint32_t version, const StoreSchema& schema,
                     const std::string& directory);

absl::StatusOr<CollectionNumber> ReadNextCollection(const Database& database,
                                                    const std::string& directory);

}  // namespace vexact

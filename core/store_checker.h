// What verifying a store and repairing it share.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "core/store_check.h"
#include "core/store_scan.h"

namespace vexact {

using Report = std::function<void(std::string_view line)>;

// VerifyStore for who has locked the directory.
absl::StatusOr<StoreCheckResult> VerifyLocked(const StoreCheckOptions& options);

// Whether the version can be read, and is this program's; FAILED_PRECONDITION if it is another.
absl::StatusOr<bool> CheckSchema(const Database& database, const std::string& directory,
                                 const Report& report);

// Compares the checksums of all tables, also where no key leads to.
void CheckTables(const Database& database, const Report& report);

}  // namespace vexact

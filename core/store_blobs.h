// Finds vectors in the files that hold them, when the tables that lead to them are damaged.
#pragma once

#include <rocksdb/env.h>

#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "core/store_database.h"

namespace vexact {

// Reads every blob file of a database and calls `visit` with the records whose checksum is right,
// in the order of the files' making: of several of one row, the last is the youngest. A row's
// vector never changes; but what was written and undone, without ever being visible, may be there.
absl::Status VisitBlobs(rocksdb::Env& env, const std::string& database,
                        const std::function<absl::Status(RowName, std::string_view value)>& visit);

}  // namespace vexact

// Whether the codes on disk are those of the rows.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/store.h"
#include "core/workers.h"

namespace vexact {

struct CodesProblem {
  std::string file;  // may be removed: codes that are not there are made anew at the next start
  std::string line;  // names the file and says what is wrong with it
};

struct CodesCheck {
  uint64_t files = 0;  // of segments
  uint64_t rows = 0;   // whose codes were made anew and compared
  std::vector<CodesProblem> problems;
};

// Calls visit for the rows that are there in [begin, end), in ascending order, as Store::VisitRows
// does.
using RowVisitor =
    std::function<absl::Status(uint64_t begin, uint64_t end, const Store::VisitRow& visit)>;

// Reads every file of a collection's codes (codes_folder.h) and every row that they say they are
// of, codes the rows anew under the file's layout, and compares: codes and the numbers that certify
// what they hide, bit for bit. Changes nothing. Holds one segment's rows and two times its codes.
//
// Errors are those of `rows`, and RESOURCE_EXHAUSTED without memory; damage to codes is a problem,
// not an error.
absl::StatusOr<CodesCheck> CheckCodes(const std::string& folder, uint32_t dimension,
                                      const RowVisitor& rows, Workers& workers);

struct CheckedCodes {
  std::string collection;
  // DATA_LOSS when its rows cannot be read; then there is nothing to compare with.
  absl::StatusOr<CodesCheck> check;
};

// The same for all collections of a data directory that no server has open, by number. Changes
// nothing. `progress` is told of each collection before it is checked.
//
// FAILED_PRECONDITION when the directory is in use, NOT_FOUND when it is missing, DATA_LOSS when
// the store cannot be read at all, UNAVAILABLE, RESOURCE_EXHAUSTED.
absl::StatusOr<std::vector<CheckedCodes>> CheckAllCodes(
    const std::string& data_directory, Workers& workers,
    const std::function<void(std::string_view collection)>& progress = nullptr);

}  // namespace vexact

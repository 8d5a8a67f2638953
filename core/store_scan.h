// Reads the rows of a collection from a database that may be damaged, around the damage.
#pragma once

#include <rocksdb/iterator.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "core/store_database.h"

namespace vexact {

// One family's values of one collection, in ascending order of rows, but for those in gaps: ranges
// of rows in which the keys cannot be listed. A single one may still be there to Get.
class RowReader {
 public:
  struct Gap {
    uint64_t begin, end;
    std::string reason;
  };

  RowReader(const Database& database, Family family, CollectionNumber collection);

  bool valid() const { return valid_; }
  // REQUIRES: valid().
  uint64_t row() const { return row_; }
  rocksdb::Slice value() const { return iterator_->value(); }
  void Next();

  const std::vector<Gap>& gaps() const { return gaps_; }
  bool InGap(uint64_t row) const;

  rocksdb::Status Get(uint64_t row, std::string& value) const;

 private:
  // Takes the iterator's place, or the next one after a gap that begins at `begin`.
  void Settle(uint64_t begin);

  const Database& database_;
  const Family family_;
  const CollectionNumber collection_;
  const std::string upper_key_;
  const rocksdb::Slice upper_;
  std::unique_ptr<rocksdb::Iterator> iterator_;
  bool valid_ = false;
  uint64_t row_ = 0;
  std::vector<Gap> gaps_;
};

// A row as far as it can be read.
struct ScannedRow {
  uint64_t row = 0;
  // What the families have; an error but NOT_FOUND when that cannot be read.
  absl::Status id_status = {}, vector_status = {};
  rocksdb::Slice id = {}, vector = {};  // while the row is visited
};

// Visits each row of a collection that either family has, or may have, once, save CutOffRows; in
// ascending order but for those that neither can list. Rows of which there is no trace but a gap in
// both families are looked for below `next_row`, and not visited when they cannot be read in
// either: `unreadable` is told their range, if it is not beyond all measure.
absl::Status ScanRows(const Database& database, CollectionNumber collection, uint64_t next_row,
                      const std::function<absl::Status(const ScannedRow&)>& visit,
                      const std::function<void(const RowReader::Gap&)>& unreadable);

struct FoundCollection {
  CollectionNumber number = 0;
  // What cannot be read, or is not there although rows of the collection are, is absent.
  std::optional<CollectionEntry> entry = std::nullopt;
  std::optional<StoredState> state = std::nullopt;
};

// The collections of a database by number, but for those that are unnamed or dropped; `report` is
// told what is wrong with them.
struct FoundCollections {
  std::vector<FoundCollection> collections;
  CollectionNumber next = 1;  // at least one more than any number given out
};
FoundCollections ScanCollections(const Database& database,
                                 const std::function<void(std::string_view)>& report);

// What is wrong with a row of a collection.
struct RowProblem {
  std::string text;  // "its vector cannot be read: ..."
  // Whether its id is good, and all would be well with another vector.
  bool vector_only = false;
};
std::optional<RowProblem> CheckRow(const ScannedRow& row, const CollectionConfig& config);

// For messages: collection "docs".
std::string DescribeCollection(const FoundCollection& collection);
// collection "docs", row 17, id "seventeen"; without the id where it is not known.
std::string DescribeRow(const FoundCollection& collection, const ScannedRow& row);

// Finds ids that two rows of a collection have.
class IdCheck {
 public:
  IdCheck(const Database& database, CollectionNumber collection);
  // The earlier row with the same id, if there is one; the later one takes its place.
  std::optional<uint64_t> Add(uint64_t row, IdView id);

 private:
  const Database& database_;
  const CollectionNumber collection_;
  // By a hash of the id; that the ids are the same is then looked up.
  absl::flat_hash_map<uint64_t, uint64_t> rows_;
};

}  // namespace vexact

// The files of one collection's codes: which there are, and when they are written and removed.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/codes_file.h"
#include "core/layout_care.h"
#include "core/snapshot.h"
#include "core/store.h"
#include "core/workers.h"

namespace vexact {

// The folders of all collections of a data directory, and that of one.
std::string CodesPath(const std::string& data_directory);
std::string CodesPath(const std::string& data_directory, CollectionNumber collection);

// A folder holds NUMBER.codes for segments and HASH.layout for the layouts that they are coded
// under. Each segment's codes are written once they are final: when it is full and coded under the
// layout of new rows. A file whose segment is gone or coded anew is removed after the new ones are
// written, so that a crash leaves at worst both: then the one with the greater number counts.
//
// Thread safety: every method may be called from any thread; Load before all others.
class CodesFolder {
 public:
  // Nothing is made before there is something to write.
  CodesFolder(std::string path, uint32_t dimension);

  // What the files hold.
  struct Loaded {
    struct File {
      uint64_t number;
      StoredCodes stored;
    };
    struct Place {
      uint64_t row;  // its number in the store
      uint32_t file, position;
    };
    std::vector<File> files;                             // by number
    std::vector<Place> places;                           // by row; no row has two
    std::optional<LayoutRecord> layout;                  // that of new rows
    std::vector<std::shared_ptr<const Layout>> layouts;  // all there are
    std::vector<std::string> faults;                     // what was damaged, and is removed
  };
  // Reads what there is and removes what is of no use. UNAVAILABLE, RESOURCE_EXHAUSTED.
  absl::StatusOr<Loaded> Load(Workers& workers);

  // After Load, for each of its files: whose codes it holds, or that it holds nobody's.
  void Keep(uint64_t number, const std::shared_ptr<SegmentCodes>& codes);
  void Discard(uint64_t number);

  // Whether Save would find something to do.
  bool IsSaveDue(const CollectionState& state, const LayoutRecord& layout) const;

  // Writes what is missing, and removes what is stale. REQUIRES: the rows of `state` are on the
  // disk. CANCELLED by `stop`, between two files.
  absl::Status Save(const CollectionState& state, const LayoutRecord& layout,
                    const std::stop_token& stop);

  // Removes the folder; nothing is written from here on.
  void Remove();

  // Removes a folder that nobody has open.
  static void RemoveAt(const std::string& path);

 private:
  using Part = CollectionState::Part;

  struct Names {
    std::vector<uint64_t> codes, layouts;
  };
  // Removes what is temporary on the way.
  absl::StatusOr<Names> ReadNames() const;
  void LoadLayouts(const std::vector<uint64_t>& hashes, Loaded& loaded);
  absl::Status LoadCodes(const std::vector<uint64_t>& numbers, Workers& workers, Loaded& loaded);
  // Sorts the places; of two files that share a row, drops the older.
  void SortPlaces(Loaded& loaded);

  std::string CodesPath(uint64_t number) const;
  std::string LayoutPath(uint64_t hash) const;
  std::shared_ptr<const Layout> FindLayout(uint64_t hash) const;
  // REQUIRES, all of them: mutex_ is held.
  // The parts whose codes are final and in no file.
  std::vector<const Part*> Unsaved(const CollectionState& state, const Layout* layout) const;
  // The files whose codes are nobody's.
  std::vector<uint64_t> StaleFiles(const CollectionState& state) const;
  absl::Status SaveLayout(const LayoutRecord& layout);
  absl::Status SaveCodes(const Part& part);
  void RemoveStale(const CollectionState& state);

  const std::string path_;
  const uint32_t dimension_;
  mutable std::mutex mutex_;  // guards what follows; held while one file is written
  bool removed_ = false;
  uint64_t next_number_ = 0;
  // The codes of each file, by its number.
  std::map<uint64_t, std::weak_ptr<const SegmentCodes>> files_;
  // The layouts on the disk, by their hash.
  std::map<uint64_t, std::weak_ptr<const Layout>> layouts_;
  // That of new rows as the disk has it.
  uint64_t saved_layout_ = 0;
  std::optional<uint64_t> saved_generation_;
};

}  // namespace vexact

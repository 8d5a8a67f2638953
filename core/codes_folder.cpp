#include "core/codes_folder.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_format.h"
#include "core/checked_file.h"

namespace vexact {
namespace {

constexpr std::string_view kCodesSuffix = ".codes";
constexpr std::string_view kLayoutSuffix = ".layout";

// The number in a file's name, or nothing when the name is none of ours.
std::optional<uint64_t> ParseName(std::string_view name, std::string_view suffix, int base) {
  if (!name.ends_with(suffix)) return std::nullopt;
  name.remove_suffix(suffix.size());
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number, base);
  if (error != std::errc() || end != name.data() + name.size()) return std::nullopt;
  return number;
}

void RemoveFile(const std::string& path) {
  // What cannot be removed is found again at the next start.
  std::error_code ignored;
  std::filesystem::remove(path, ignored);
}

// Whether what could not be read is made anew instead: without memory that would fail as well.
bool IsFault(const absl::Status& status) { return !absl::IsResourceExhausted(status); }

}  // namespace

std::string CodesPath(const std::string& data_directory) { return data_directory + "/codes"; }

std::string CodesPath(const std::string& data_directory, CollectionNumber collection) {
  return absl::StrFormat("%s/%d", CodesPath(data_directory), collection);
}

CodesFolder::CodesFolder(std::string path, uint32_t dimension)
    : path_(std::move(path)), dimension_(dimension) {}

std::string CodesFolder::CodesPath(uint64_t number) const {
  return absl::StrFormat("%s/%d%s", path_, number, kCodesSuffix.data());
}

std::string CodesFolder::LayoutPath(uint64_t hash) const {
  return absl::StrFormat("%s/%016x%s", path_, hash, kLayoutSuffix.data());
}

// ------------------------------------------------------------------------------------------- start

absl::StatusOr<CodesFolder::Loaded> CodesFolder::Load(Workers& workers) {
  std::lock_guard lock(mutex_);
  auto names = ReadNames();
  if (!names.ok()) return names.status();
  Loaded loaded;
  LoadLayouts(names->layouts, loaded);
  std::sort(names->codes.begin(), names->codes.end());
  if (!names->codes.empty()) next_number_ = names->codes.back() + 1;
  if (absl::Status status = LoadCodes(names->codes, workers, loaded); !status.ok()) return status;
  SortPlaces(loaded);
  return loaded;
}

absl::StatusOr<CodesFolder::Names> CodesFolder::ReadNames() const {
  Names names;
  std::error_code error;
  for (std::filesystem::directory_iterator at(path_, error), end; !error && at != end;
       at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (const auto number = ParseName(name, kCodesSuffix, 10)) names.codes.push_back(*number);
    if (const auto hash = ParseName(name, kLayoutSuffix, 16)) names.layouts.push_back(*hash);
    if (name.ends_with(kTemporarySuffix)) RemoveFile(at->path().string());
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    return absl::UnavailableError(absl::StrFormat("cannot read %s: %s", path_, error.message()));
  }
  return names;
}

void CodesFolder::LoadLayouts(const std::vector<uint64_t>& hashes, Loaded& loaded) {
  for (const uint64_t hash : hashes) {
    auto record = ReadLayoutFile(LayoutPath(hash), dimension_);
    if (record.ok() && HashLayout(*record->trained.layout) != hash) {
      record = absl::DataLossError(LayoutPath(hash) + " is damaged: it has another layout's name");
    }
    if (!record.ok()) {
      loaded.faults.emplace_back(record.status().message());
      RemoveFile(LayoutPath(hash));
      continue;
    }
    const std::shared_ptr<const Layout> layout = record->trained.layout;
    if (!loaded.layout || loaded.layout->generation < record->generation) {
      saved_layout_ = hash;
      saved_generation_ = record->generation;
      loaded.layout = *std::move(record);
    }
    layouts_[hash] = layout;
    loaded.layouts.push_back(layout);
  }
}

absl::Status CodesFolder::LoadCodes(const std::vector<uint64_t>& numbers, Workers& workers,
                                    Loaded& loaded) {
  std::vector<absl::StatusOr<StoredCodes>> read(numbers.size());
  workers.ForEach(numbers.size(), [&](int, size_t i) {
    read[i] = ReadCodesFile(CodesPath(numbers[i]), dimension_,
                            [this](uint64_t hash) { return FindLayout(hash); });
  });
  for (size_t i = 0; i < numbers.size(); ++i) {
    if (read[i].ok()) {
      loaded.files.push_back({numbers[i], *std::move(read[i])});
      continue;
    }
    if (!IsFault(read[i].status())) return read[i].status();
    loaded.faults.emplace_back(read[i].status().message());
    RemoveFile(CodesPath(numbers[i]));
  }
  return absl::OkStatus();
}

void CodesFolder::SortPlaces(Loaded& loaded) {
  using Place = Loaded::Place;
  for (uint32_t file = 0; file < loaded.files.size(); ++file) {
    const std::vector<uint64_t>& rows = loaded.files[file].stored.numbers;
    for (uint32_t i = 0; i < rows.size(); ++i) loaded.places.push_back({rows[i], file, i});
  }
  const auto before = [](const Place& a, const Place& b) {
    return a.row < b.row || (a.row == b.row && a.file < b.file);
  };
  if (!std::is_sorted(loaded.places.begin(), loaded.places.end(), before)) {
    std::sort(loaded.places.begin(), loaded.places.end(), before);
  }
  std::vector<bool> superseded(loaded.files.size());
  for (size_t i = 1; i < loaded.places.size(); ++i) {
    if (loaded.places[i - 1].row == loaded.places[i].row) {
      superseded[loaded.places[i - 1].file] = true;
    }
  }
  for (size_t file = 0; file < superseded.size(); ++file) {
    if (!superseded[file]) continue;
    RemoveFile(CodesPath(loaded.files[file].number));
    loaded.files[file].stored = {};
  }
  std::erase_if(loaded.places, [&](const Place& place) { return superseded[place.file]; });
}

std::shared_ptr<const Layout> CodesFolder::FindLayout(uint64_t hash) const {
  const auto found = layouts_.find(hash);
  return found == layouts_.end() ? nullptr : found->second.lock();
}

void CodesFolder::Keep(uint64_t number, const std::shared_ptr<SegmentCodes>& codes) {
  std::lock_guard lock(mutex_);
  files_[number] = codes;
}

void CodesFolder::Discard(uint64_t number) {
  std::lock_guard lock(mutex_);
  RemoveFile(CodesPath(number));
}

// --------------------------------------------------------------------------------------------
// later

std::vector<const CollectionState::Part*> CodesFolder::Unsaved(const CollectionState& state,
                                                               const Layout* layout) const {
  absl::flat_hash_set<const SegmentCodes*> saved;
  for (const auto& [number, file] : files_) saved.insert(file.lock().get());
  std::vector<const Part*> unsaved;
  for (size_t p = 0; p < state.parts.size(); ++p) {
    const Part& part = state.parts[p];
    if (state.IsFull(p) && part.codes->layout().get() == layout &&
        !saved.contains(part.codes.get())) {
      unsaved.push_back(&part);
    }
  }
  return unsaved;
}

std::vector<uint64_t> CodesFolder::StaleFiles(const CollectionState& state) const {
  absl::flat_hash_set<const SegmentCodes*> used;
  for (const Part& part : state.parts) used.insert(part.codes.get());
  std::vector<uint64_t> stale;
  for (const auto& [number, file] : files_) {
    if (!used.contains(file.lock().get())) stale.push_back(number);
  }
  return stale;
}

bool CodesFolder::IsSaveDue(const CollectionState& state, const LayoutRecord& layout) const {
  std::lock_guard lock(mutex_);
  if (removed_) return false;
  // A layout that was never trained is not worth a file of its own.
  return layout.generation != saved_generation_.value_or(0) ||
         !Unsaved(state, layout.trained.layout.get()).empty() || !StaleFiles(state).empty();
}

absl::Status CodesFolder::Save(const CollectionState& state, const LayoutRecord& layout,
                               const std::stop_token& stop) {
  std::vector<const Part*> unsaved;
  {
    std::lock_guard lock(mutex_);
    if (removed_) return absl::OkStatus();
    if (absl::Status status = SaveLayout(layout); !status.ok()) return status;
    unsaved = Unsaved(state, layout.trained.layout.get());
  }
  for (const Part* part : unsaved) {
    if (stop.stop_requested()) return absl::CancelledError("the server is stopping");
    std::lock_guard lock(mutex_);
    if (removed_) return absl::OkStatus();
    if (absl::Status status = SaveCodes(*part); !status.ok()) return status;
  }
  std::lock_guard lock(mutex_);
  if (!removed_) RemoveStale(state);
  return absl::OkStatus();
}

absl::Status CodesFolder::SaveLayout(const LayoutRecord& layout) {
  if (saved_generation_ == layout.generation) return absl::OkStatus();
  std::error_code error;
  std::filesystem::create_directories(path_, error);
  if (error) return SystemError("make", path_, error.value());
  const uint64_t hash = HashLayout(*layout.trained.layout);
  if (absl::Status status = WriteLayoutFile(LayoutPath(hash), layout); !status.ok()) return status;
  layouts_[hash] = layout.trained.layout;
  saved_layout_ = hash;
  saved_generation_ = layout.generation;
  return absl::OkStatus();
}

absl::Status CodesFolder::SaveCodes(const Part& part) {
  absl::Status status =
      WriteCodesFile(CodesPath(next_number_), *part.segment, *part.codes, part.rows, saved_layout_);
  if (status.ok()) files_[next_number_++] = part.codes;
  return status;
}

void CodesFolder::RemoveStale(const CollectionState& state) {
  for (const uint64_t number : StaleFiles(state)) {
    RemoveFile(CodesPath(number));
    files_.erase(number);
  }
  std::erase_if(layouts_, [&](const auto& stored) {
    if (stored.first == saved_layout_) return false;
    const std::shared_ptr<const Layout> layout = stored.second.lock();
    for (const auto& [number, file] : files_) {
      const std::shared_ptr<const SegmentCodes> codes = file.lock();
      if (codes != nullptr && codes->layout() == layout) return false;
    }
    RemoveFile(LayoutPath(stored.first));
    return true;
  });
}

void CodesFolder::Remove() {
  std::lock_guard lock(mutex_);
  removed_ = true;
  RemoveAt(path_);
}

void CodesFolder::RemoveAt(const std::string& path) {
  std::error_code ignored;
  std::filesystem::remove_all(path, ignored);
}

}  // namespace vexact

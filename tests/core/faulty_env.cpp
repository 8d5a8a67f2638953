#include "tests/core/faulty_env.h"

#include <rocksdb/file_system.h>
#include <rocksdb/system_clock.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "tests/support/files.h"

namespace vexact {
namespace {

namespace fs = std::filesystem;
using rocksdb::FileOptions;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;
using Operation = FaultyEnv::Operation;
using Verdict = FaultyEnv::Verdict;

constexpr uint64_t kSectorBytes = 512;

struct Region {
  uint64_t begin, end;
};

struct Unsynced {
  uint64_t synced = 0, written = 0;
  std::vector<Region> lost;
};

// How to take a change of a directory back.
struct Change {
  fs::path directory;
  std::function<void()> undo;
};

}  // namespace

class FaultyFiles : public rocksdb::FileSystemWrapper {
 public:
  FaultyFiles() : FileSystemWrapper(rocksdb::FileSystem::Default()) {}

  static const char* kClassName() { return "FaultyFiles"; }
  const char* Name() const override { return kClassName(); }

  IOStatus NewWritableFile(const std::string& path, const FileOptions& options,
                           std::unique_ptr<rocksdb::FSWritableFile>* file,
                           IODebugContext* debug) override;
  IOStatus ReopenWritableFile(const std::string& path, const FileOptions& options,
                              std::unique_ptr<rocksdb::FSWritableFile>* file,
                              IODebugContext* debug) override;
  IOStatus NewDirectory(const std::string& path, const IOOptions& options,
                        std::unique_ptr<rocksdb::FSDirectory>* directory,
                        IODebugContext* debug) override;
  IOStatus DeleteFile(const std::string& path, const IOOptions& options,
                      IODebugContext* debug) override;
  IOStatus LinkFile(const std::string& from, const std::string& to, const IOOptions& options,
                    IODebugContext* debug) override;
  IOStatus RenameFile(const std::string& from, const std::string& to, const IOOptions& options,
                      IODebugContext* debug) override;

  Verdict Ask(Operation operation, const std::string& path, size_t bytes = 0);
  void Appended(const std::string& path, size_t bytes);
  void Truncated(const std::string& path, uint64_t bytes);
  void Synced(const std::string& path, bool done);
  void SyncedDirectory(const std::string& path);

  void SetJudge(FaultyEnv::Judge judge);
  void Stop();
  bool stopped();
  void LosePower(std::mt19937_64& random);
  void Restart();

 private:
  // A copy: a link would change with the file. Empty if the file is not there, or no more.
  fs::path Keep(const std::string& path);

  testing::TempDir kept_;  // what was deleted or replaced and may come back
  std::mutex mutex_;       // guards what follows
  std::shared_ptr<const FaultyEnv::Judge> judge_;
  bool stopped_ = false;
  uint64_t kept_files_ = 0;
  std::map<std::string, Unsynced> files_;
  std::vector<Change> changes_;  // in their order
};

namespace {

class FaultyFile : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  FaultyFile(std::unique_ptr<rocksdb::FSWritableFile> file, std::string path, FaultyFiles& files)
      : FSWritableFileOwnerWrapper(std::move(file)), path_(std::move(path)), files_(files) {}

  IOStatus Append(const Slice& data, const IOOptions& options, IODebugContext* debug) override {
    const Verdict verdict = files_.Ask(Operation::kAppend, path_, data.size());
    const size_t bytes = verdict.status.ok() ? data.size() : std::min(verdict.written, data.size());
    if (bytes > 0) {
      IOStatus status = target()->Append({data.data(), bytes}, options, debug);
      if (!status.ok()) return status;
      files_.Appended(path_, bytes);
    }
    return verdict.status;
  }
  IOStatus Append(const Slice& data, const IOOptions& options, const rocksdb::DataVerificationInfo&,
                  IODebugContext* debug) override {
    return Append(data, options, debug);
  }
  IOStatus Truncate(uint64_t size, const IOOptions& options, IODebugContext* debug) override {
    IOStatus status = target()->Truncate(size, options, debug);
    if (status.ok()) files_.Truncated(path_, size);
    return status;
  }
  IOStatus Sync(const IOOptions& options, IODebugContext* debug) override {
    const Verdict verdict = files_.Ask(Operation::kSync, path_);
    files_.Synced(path_, verdict.status.ok());
    // What a power cut takes is played by the files' owner: nothing need really be synced.
    return verdict.status.ok() ? target()->Flush(options, debug) : verdict.status;
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    return Sync(options, debug);
  }
  IOStatus RangeSync(uint64_t, uint64_t, const IOOptions&, IODebugContext*) override {
    return IOStatus::OK();
  }

 private:
  const std::string path_;
  FaultyFiles& files_;
};

class FaultyDirectory : public rocksdb::FSDirectory {
 public:
  FaultyDirectory(std::string path, FaultyFiles& files) : path_(std::move(path)), files_(files) {}

  IOStatus Fsync(const IOOptions&, IODebugContext*) override {
    const Verdict verdict = files_.Ask(Operation::kSyncDirectory, path_);
    if (verdict.status.ok()) files_.SyncedDirectory(path_);
    return verdict.status;
  }
  IOStatus Close(const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }

 private:
  const std::string path_;
  FaultyFiles& files_;
};

// RocksDB waits a second after each failure in the background; nobody waits that long here.
class ImpatientClock : public rocksdb::SystemClockWrapper {
 public:
  ImpatientClock() : SystemClockWrapper(rocksdb::SystemClock::Default()) {}
  const char* Name() const override { return "ImpatientClock"; }
  void SleepForMicroseconds(int micros) override {
    constexpr int kLongest = 1'000;
    target_->SleepForMicroseconds(std::min(micros, kLongest));
  }
};

class ImpatientEnv : public rocksdb::EnvWrapper {
 public:
  explicit ImpatientEnv(const std::shared_ptr<rocksdb::FileSystem>& files)
      : EnvWrapper(rocksdb::NewCompositeEnv(files)) {
    system_clock_ = std::make_shared<ImpatientClock>();
  }
};

void Zero(const std::string& path, Region region) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(region.begin));
  const std::string zeros(region.end - region.begin, '\0');
  file.write(zeros.data(), static_cast<std::streamsize>(zeros.size()));
}

// Zeroes some of the sectors, each of its part in the region.
void ZeroSectors(const std::string& path, Region region, double share, std::mt19937_64& random) {
  std::bernoulli_distribution missing(share);
  for (uint64_t at = region.begin; at < region.end;) {
    const uint64_t end = std::min(region.end, (at / kSectorBytes + 1) * kSectorBytes);
    if (missing(random)) Zero(path, {at, end});
    at = end;
  }
}

}  // namespace

IOStatus FaultyFiles::NewWritableFile(const std::string& path, const FileOptions& options,
                                      std::unique_ptr<rocksdb::FSWritableFile>* file,
                                      IODebugContext* debug) {
  const Verdict verdict = Ask(Operation::kCreate, path);
  if (!verdict.status.ok()) return verdict.status;
  const fs::path before = Keep(path);
  IOStatus status = target()->NewWritableFile(path, options, file, debug);
  if (!status.ok()) return status;
  *file = std::make_unique<FaultyFile>(std::move(*file), path, *this);
  const std::lock_guard lock(mutex_);
  files_[path] = {};
  changes_.push_back({fs::path(path).parent_path(), [path, before] {
                        fs::remove(path);
                        if (!before.empty()) fs::copy_file(before, path);
                      }});
  return status;
}

IOStatus FaultyFiles::ReopenWritableFile(const std::string& path, const FileOptions& options,
                                         std::unique_ptr<rocksdb::FSWritableFile>* file,
                                         IODebugContext* debug) {
  const bool there = fs::exists(path);
  const Verdict verdict = Ask(there ? Operation::kReopen : Operation::kCreate, path);
  if (!verdict.status.ok()) return verdict.status;
  const uint64_t bytes = there ? fs::file_size(path) : 0;
  IOStatus status = target()->ReopenWritableFile(path, options, file, debug);
  if (!status.ok()) return status;
  *file = std::make_unique<FaultyFile>(std::move(*file), path, *this);
  const std::lock_guard lock(mutex_);
  files_.try_emplace(path, Unsynced{bytes, bytes, {}});
  return status;
}

IOStatus FaultyFiles::NewDirectory(const std::string& path, const IOOptions&,
                                   std::unique_ptr<rocksdb::FSDirectory>* directory,
                                   IODebugContext*) {
  if (!fs::is_directory(path)) return IOStatus::PathNotFound(path);
  *directory = std::make_unique<FaultyDirectory>(path, *this);
  return IOStatus::OK();
}

IOStatus FaultyFiles::DeleteFile(const std::string& path, const IOOptions& options,
                                 IODebugContext* debug) {
  const Verdict verdict = Ask(Operation::kDelete, path);
  if (!verdict.status.ok()) return verdict.status;
  const fs::path before = Keep(path);
  IOStatus status = target()->DeleteFile(path, options, debug);
  if (!status.ok()) return status;
  const std::lock_guard lock(mutex_);
  files_.erase(path);
  changes_.push_back({fs::path(path).parent_path(), [path, before] {
                        if (!before.empty()) fs::copy_file(before, path);
                      }});
  return status;
}

IOStatus FaultyFiles::LinkFile(const std::string& from, const std::string& to,
                               const IOOptions& options, IODebugContext* debug) {
  const Verdict verdict = Ask(Operation::kLink, to);
  if (!verdict.status.ok()) return verdict.status;
  IOStatus status = target()->LinkFile(from, to, options, debug);
  if (!status.ok()) return status;
  const std::lock_guard lock(mutex_);
  files_[to] = files_[from];
  changes_.push_back({fs::path(to).parent_path(), [to] { fs::remove(to); }});
  return status;
}

IOStatus FaultyFiles::RenameFile(const std::string& from, const std::string& to,
                                 const IOOptions& options, IODebugContext* debug) {
  const Verdict verdict = Ask(Operation::kRename, to);
  if (!verdict.status.ok()) return verdict.status;
  const fs::path before = Keep(to);
  IOStatus status = target()->RenameFile(from, to, options, debug);
  if (!status.ok()) return status;
  const std::lock_guard lock(mutex_);
  if (auto node = files_.extract(from)) {
    files_.erase(to);
    node.key() = to;
    files_.insert(std::move(node));
  }
  changes_.push_back({fs::path(to).parent_path(), [from, to, before] {
                        fs::rename(to, from);
                        if (!before.empty()) fs::copy_file(before, to);
                      }});
  return status;
}

fs::path FaultyFiles::Keep(const std::string& path) {
  uint64_t number;
  {
    const std::lock_guard lock(mutex_);
    number = kept_files_++;
  }
  const fs::path kept = kept_.path() / std::to_string(number);
  std::error_code missing;
  fs::copy_file(path, kept, missing);
  return missing ? fs::path() : kept;
}

Verdict FaultyFiles::Ask(Operation operation, const std::string& path, size_t bytes) {
  std::shared_ptr<const FaultyEnv::Judge> judge;
  {
    const std::lock_guard lock(mutex_);
    if (stopped_) return {IOStatus::IOError("the power is off"), 0};
    judge = judge_;
  }
  // Without the lock: it may take its time.
  return judge != nullptr ? (*judge)({operation, path, bytes}) : Verdict();
}

void FaultyFiles::Appended(const std::string& path, size_t bytes) {
  const std::lock_guard lock(mutex_);
  files_[path].written += bytes;
}

void FaultyFiles::Truncated(const std::string& path, uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  Unsynced& file = files_[path];
  file.written = std::min(file.written, bytes);
  file.synced = std::min(file.synced, bytes);
  for (Region& lost : file.lost) {
    lost = {std::min(lost.begin, bytes), std::min(lost.end, bytes)};
  }
}

void FaultyFiles::Synced(const std::string& path, bool done) {
  const std::lock_guard lock(mutex_);
  if (stopped_) return;
  Unsynced& file = files_[path];
  if (!done && file.synced < file.written) file.lost.push_back({file.synced, file.written});
  file.synced = file.written;
}

void FaultyFiles::SyncedDirectory(const std::string& path) {
  const std::lock_guard lock(mutex_);
  std::erase_if(changes_, [&](const Change& change) {
    return change.directory.lexically_normal() / "" == fs::path(path).lexically_normal() / "";
  });
}

void FaultyFiles::SetJudge(FaultyEnv::Judge judge) {
  const std::lock_guard lock(mutex_);
  judge_ = judge ? std::make_shared<const FaultyEnv::Judge>(std::move(judge)) : nullptr;
}

void FaultyFiles::Stop() {
  const std::lock_guard lock(mutex_);
  stopped_ = true;
}

bool FaultyFiles::stopped() {
  const std::lock_guard lock(mutex_);
  return stopped_;
}

void FaultyFiles::LosePower(std::mt19937_64& random) {
  const std::lock_guard lock(mutex_);
  std::uniform_int_distribution<int> choose(0, 3);
  for (const auto& [path, file] : files_) {
    if (!fs::exists(path)) continue;
    const Region unsynced = {file.synced, file.written};
    for (const Region& lost : file.lost) ZeroSectors(path, lost, 0.5, random);
    if (unsynced.begin == unsynced.end) continue;
    std::uniform_int_distribution<uint64_t> cut(unsynced.begin, unsynced.end);
    const int choice = choose(random);
    if (choice == 0) fs::resize_file(path, unsynced.begin);
    if (choice == 1) fs::resize_file(path, cut(random));
    if (choice == 2) ZeroSectors(path, unsynced, 0.5, random);
  }
  // File systems keep the order of such changes: what is lost is the newest.
  const size_t kept = std::uniform_int_distribution<size_t>(0, changes_.size())(random);
  for (size_t i = changes_.size(); i-- > kept;) changes_[i].undo();
  files_.clear();
  changes_.clear();
  judge_ = nullptr;
  stopped_ = false;
}

void FaultyFiles::Restart() {
  const std::lock_guard lock(mutex_);
  judge_ = nullptr;
  stopped_ = false;
}

FaultyEnv::FaultyEnv()
    : files_(std::make_shared<FaultyFiles>()), env_(std::make_unique<ImpatientEnv>(files_)) {}
FaultyEnv::~FaultyEnv() = default;

void FaultyEnv::SetJudge(Judge judge) { files_->SetJudge(std::move(judge)); }
void FaultyEnv::Stop() { files_->Stop(); }
bool FaultyEnv::stopped() const { return files_->stopped(); }
void FaultyEnv::LosePower(std::mt19937_64& random) { files_->LosePower(random); }
void FaultyEnv::Restart() { files_->Restart(); }

}  // namespace vexact

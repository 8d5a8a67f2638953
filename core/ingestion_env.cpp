#include "core/ingestion_env.h"

#include <rocksdb/file_system.h>

#include <memory>

namespace vexact {
namespace {

// Of this thread; null when it deletes what it is told to.
thread_local std::vector<std::string>* kept_by_thread = nullptr;

class IngestionFiles : public rocksdb::FileSystemWrapper {
 public:
  using FileSystemWrapper::FileSystemWrapper;

  static const char* kClassName() { return "IngestionFiles"; }
  const char* Name() const override { return kClassName(); }

  rocksdb::IOStatus DeleteFile(const std::string& path, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override {
    if (kept_by_thread == nullptr || !path.ends_with(".sst")) {
      return target()->DeleteFile(path, options, debug);
    }
    kept_by_thread->push_back(path);
    return rocksdb::IOStatus::OK();
  }

  // Asked for only to sync once more what BulkTables has synced; RocksDB does without where a file
  // system cannot.
  rocksdb::IOStatus ReopenWritableFile(const std::string& path, const rocksdb::FileOptions& file,
                                       std::unique_ptr<rocksdb::FSWritableFile>* result,
                                       rocksdb::IODebugContext* debug) override {
    if (kept_by_thread == nullptr) return target()->ReopenWritableFile(path, file, result, debug);
    return rocksdb::IOStatus::NotSupported();
  }
};

}  // namespace

IngestionEnv::IngestionEnv(rocksdb::Env* below) : EnvWrapper(below) {
  file_system_ = std::make_shared<IngestionFiles>(below->GetFileSystem());
}

IngestionEnv::Keeping::Keeping() { kept_by_thread = &kept_; }
IngestionEnv::Keeping::~Keeping() { kept_by_thread = nullptr; }

}  // namespace vexact

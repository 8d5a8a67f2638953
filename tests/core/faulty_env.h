// A file system that fails, and that forgets at a crash what was not synced.
#pragma once

#include <rocksdb/env.h>
#include <rocksdb/io_status.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <random>
#include <string>

namespace vexact {

class FaultyFiles;

// An Env over the machine's own files, below which faults can be made.
//
// It knows what a power cut may take: bytes written to a file since it was last synced, bytes whose
// sync failed (even if a later sync succeeds: the system reports a lost page once), and files made,
// renamed and deleted since their directory was last synced.
//
// Thread safety: every method may be called from any thread.
class FaultyEnv {
 public:
  enum class Operation {
    kCreate,
    kReopen,
    kAppend,
    kSync,
    kLink,
    kRename,
    kDelete,
    kSyncDirectory
  };

  struct Call {
    Operation operation;
    std::string path;
    size_t bytes = 0;  // of an append
  };

  // Asked before each operation: it fails with what is returned, unless that is OK. Of a failed
  // append, the first `written` bytes are written all the same. Of any other failed operation,
  // nothing happens, but a sync that fails loses its bytes.
  struct Verdict {
    rocksdb::IOStatus status = rocksdb::IOStatus::OK();
    size_t written = 0;
  };
  using Judge = std::function<Verdict(const Call& call)>;

  FaultyEnv();
  ~FaultyEnv();
  FaultyEnv(const FaultyEnv&) = delete;
  FaultyEnv& operator=(const FaultyEnv&) = delete;

  rocksdb::Env* env() const { return env_.get(); }

  // None, if empty.
  void SetJudge(Judge judge);

  // From now on every operation fails, as if the process were dead.
  void Stop();
  bool stopped() const;

  // Takes from the files a choice of what a power cut may take, and works again.
  //
  // REQUIRES: no file is open.
  void LosePower(std::mt19937_64& random);

  // As after the end of the process only: the system still has all that was written. REQUIRES: as
  // above.
  void Restart();

 private:
  std::shared_ptr<FaultyFiles> files_;
  std::unique_ptr<rocksdb::Env> env_;
};

}  // namespace vexact

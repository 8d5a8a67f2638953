#include "server/snapshot_streams.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/restoration.h"
#include "core/snapshot_source.h"
#include "server/call.h"
#include "server/convert.h"
#include "server/snapshots_service.h"

namespace vexact::server {
namespace {

constexpr std::string_view kDownload = "Snapshots/DownloadSnapshot";
constexpr std::string_view kRestore = "Snapshots/RestoreSnapshot";

constexpr uint64_t kChunkBytes = uint64_t{1} << 20;
// What a message has beside its chunk, at most.
constexpr int64_t kChunkFrame = 128;

size_t ChunkBytes(const Config& config) {
  return std::clamp<int64_t>(config.max_message_bytes - kChunkFrame, 1, kChunkBytes);
}

// Where the bytes of a download come from.
class Download {
 public:
  virtual ~Download() = default;
  // Fills in the next message; whether it is the last.
  virtual absl::StatusOr<bool> Next(size_t chunk_bytes, v1::DownloadSnapshotResponse& message) = 0;
};

class StoredDownload final : public Download {
 public:
  static absl::StatusOr<std::unique_ptr<Download>> Open(const std::string& path, uint64_t offset) {
    const auto summary = snapshot::ReadSummary(path);
    if (!summary.ok()) return summary.status();
    if (offset > summary->footer.bytes) {
      return absl::OutOfRangeError(absl::StrFormat("offset is %d; the snapshot has %d bytes",
                                                   offset, summary->footer.bytes));
    }
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return Failed(path);
    return std::unique_ptr<Download>(new StoredDownload(fd, path, offset, summary->footer));
  }
  ~StoredDownload() override { close(fd_); }

  absl::StatusOr<bool> Next(size_t chunk_bytes, v1::DownloadSnapshotResponse& message) override {
    std::string& data = *message.mutable_data();
    data.resize(std::min<uint64_t>(chunk_bytes, footer_.bytes - offset_));
    for (size_t done = 0; done < data.size();) {
      const ssize_t count =
          pread(fd_, data.data() + done, data.size() - done, static_cast<off_t>(offset_ + done));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return Failed(path_);
      if (count == 0) {
        return absl::DataLossError(
            absl::StrFormat("%s has become shorter than %d bytes", path_, footer_.bytes));
      }
      done += static_cast<size_t>(count);
    }
    message.set_offset(offset_);
    message.set_total_bytes(footer_.bytes);
    offset_ += data.size();
    if (offset_ < footer_.bytes) return false;
    message.set_checksum(footer_.checksum);
    return true;
  }

 private:
  StoredDownload(int fd, std::string path, uint64_t offset, snapshot::Footer footer)
      : fd_(fd), path_(std::move(path)), footer_(std::move(footer)), offset_(offset) {}
  static absl::Status Failed(const std::string& path) {
    return absl::UnavailableError(
        absl::StrFormat("cannot read %s: %s", path, std::strerror(errno)));
  }

  const int fd_;
  const std::string path_;
  const snapshot::Footer footer_;
  uint64_t offset_;
};

// Of a snapshot that is made as it goes.
class LiveDownload final : public Download {
 public:
  explicit LiveDownload(const Collection& collection) : source_(collection) {}

  absl::StatusOr<bool> Next(size_t chunk_bytes, v1::DownloadSnapshotResponse& message) override {
    while (waiting_.size() - sent_ < chunk_bytes && !ended_) {
      waiting_.erase(0, std::exchange(sent_, 0));
      ended_ = !source_.Next(waiting_);
    }
    const auto chunk = std::string_view(waiting_).substr(sent_, chunk_bytes);
    message.set_offset(offset_);
    message.set_data(chunk.data(), chunk.size());
    sent_ += chunk.size();
    offset_ += chunk.size();
    if (!ended_ || sent_ < waiting_.size()) return false;
    message.set_checksum(source_.footer().checksum);
    return true;
  }

 private:
  SnapshotSource source_;
  std::string waiting_;
  size_t sent_ = 0;  // of waiting_
  uint64_t offset_ = 0;
  bool ended_ = false;
};

absl::StatusOr<std::unique_ptr<Download>> OpenDownload(ServiceContext& context,
                                                       const Caller& caller,
                                                       const grpc::ByteBuffer& bytes) {
  v1::DownloadSnapshotRequest request;
  if (absl::Status status = Parse(caller, bytes, request); !status.ok()) return status;
  if (!request.name().empty()) {
    const auto folder = Snapshots(context);
    if (!folder.ok()) return folder.status();
    const auto path = (*folder)->Find(request.collection(), request.name());
    if (!path.ok()) return path.status();
    return StoredDownload::Open(*path, request.offset());
  }
  if (request.offset() > 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "offset is %d; a snapshot of now, which is another one each time, begins at 0",
        request.offset()));
  }
  const auto collection = context.catalog().Get(request.collection());
  if (!collection.ok()) return collection.status();
  return std::make_unique<LiveDownload>(**collection);
}

// What the two kinds of stream have in common. At any moment one thing is under way: work on a
// request thread, a read, a write, or the end. So its members need no lock. Owns itself.
template <typename Reactor>
class Stream : public Reactor {
 protected:
  Stream(ServiceContext& context, grpc::CallbackServerContext& call, std::string_view method)
      : context_(context), call_(call), trace_(context, call, method), interrupt_(call) {}

  // Lets the call in, until its end.
  absl::Status Enter(Role role, std::string_view method) {
    std::lock_guard step(step_);
    absl::StatusOr<Caller> caller = context_.access.Admit(call_, role, method);
    if (!caller.ok()) return caller.status();
    caller_ = *std::move(caller);
    absl::StatusOr<Admission::Ticket> ticket = context_.admission.Enter(/*bytes=*/0);
    if (!ticket.ok()) {
      context_.metrics.CountRefusal(Refusal::kNotServing);
      return ticket.status();
    }
    ticket_ = *std::move(ticket);
    return absl::OkStatus();
  }

  // REQUIRES: it was let in.
  const Caller& caller() const { return *caller_; }

  // Runs `work` on a request thread; `then` follows when it succeeds.
  void Run(std::function<absl::Status()> work, std::function<void()> then) {
    context_.threads.Run([this, work = std::move(work), then = std::move(then)] {
      absl::Status status;
      {
        std::lock_guard step(step_);
        status = RunGuarded(work);
        storage_fails_ = context_.storage.Watch();
      }
      if (!status.ok()) return End(status);
      then();
    });
  }

  absl::Status CheckInterrupt() const {
    const absl::Status status = interrupt_->Check();
    // A read that ends by the cancellation may come before the news of it.
    if (absl::IsCancelled(status) || (status.ok() && call_.IsCancelled())) {
      return absl::CancelledError("the caller cancelled the stream");
    }
    if (status.ok()) return status;
    return absl::DeadlineExceededError("the deadline passed before the snapshot was through");
  }

  // The last act: gRPC may have destroyed this when Finish returns.
  void End(const absl::Status& status) {
    {
      std::lock_guard step(step_);
      trace_.Answered();
      trace_.End(status, storage_fails_);
      Discard();
      ticket_.reset();
    }
    this->Finish(ToGrpc(status, caller_));
  }

  // Gives up what the call has in hand.
  virtual void Discard() = 0;

  ServiceContext& context_;

 private:
  void OnCancel() override { interrupt_.Cancel(); }
  void OnDone() override { delete this; }

  const grpc::CallbackServerContext& call_;
  RequestTrace trace_;
  CallInterrupt interrupt_;
  std::optional<Caller> caller_;
  Admission::Ticket ticket_;
  // Never waited for. It says of each step that it is after the one before, in words that
  // ThreadSanitizer understands: it does not see how gRPC hands the stream from thread to thread.
  std::mutex step_;
  bool storage_fails_ = false;
};

class DownloadStream final : public Stream<grpc::ServerWriteReactor<grpc::ByteBuffer>> {
 public:
  DownloadStream(ServiceContext& context, grpc::CallbackServerContext& call,
                 const grpc::ByteBuffer& request)
      : Stream(context, call, kDownload), request_(request) {}

  void Start() {
    constexpr Role kRole = Permission<v1::DownloadSnapshotRequest>::kRole;
    if (absl::Status status = Enter(kRole, kDownload); !status.ok()) return End(status);
    Run([this] { return Open(); }, [this] { StartWrite(&outgoing_); });
  }

 private:
  absl::Status Open() {
    auto download = OpenDownload(context_, caller(), request_);
    if (!download.ok()) return download.status();
    download_ = *std::move(download);
    return Next();
  }

  absl::Status Next() {
    if (absl::Status status = CheckInterrupt(); !status.ok()) return status;
    v1::DownloadSnapshotResponse message;
    const auto last = download_->Next(ChunkBytes(context_.config), message);
    if (!last.ok()) return last.status();
    last_ = *last;
    return Serialize(context_.config, message, outgoing_);
  }

  void OnWriteDone(bool ok) override {
    if (ok && last_) return End(absl::OkStatus());
    Run([this, ok] { return ok ? Next() : absl::CancelledError("the stream broke"); },
        [this] { StartWrite(&outgoing_); });
  }

  void Discard() override { download_.reset(); }

  const grpc::ByteBuffer request_;
  grpc::ByteBuffer outgoing_;
  std::unique_ptr<Download> download_;
  bool last_ = false;
};

class RestoreStream final : public Stream<grpc::ServerReadReactor<grpc::ByteBuffer>> {
 public:
  RestoreStream(ServiceContext& context, grpc::CallbackServerContext& call,
                grpc::ByteBuffer& response)
      : Stream(context, call, kRestore), response_(response) {}

  void Start() {
    constexpr Role kRole = Permission<v1::RestoreSnapshotRequest>::kRole;
    if (absl::Status status = Enter(kRole, kRestore); !status.ok()) return End(status);
    StartRead(&incoming_);
  }

 private:
  void OnReadDone(bool ok) override {
    if (!ok) {
      return Run([this] { return FinishUpload(); }, [this] { End(absl::OkStatus()); });
    }
    Run([this] { return Take(); },
        [this] { done_ ? End(absl::OkStatus()) : StartRead(&incoming_); });
  }

  // The message in hand.
  absl::Status Take() {
    if (absl::Status status = CheckInterrupt(); !status.ok()) return status;
    v1::RestoreSnapshotRequest request;
    if (absl::Status status = Parse(caller(), incoming_, request); !status.ok()) return status;
    incoming_.Clear();
    if (request.has_target() == (restoration_ != nullptr)) {
      return absl::InvalidArgumentError(
          restoration_ == nullptr ? "the first message has no target; it must say what is restored"
                                  : "a later message has a target; only the first may");
    }
    if (request.has_target()) return Begin(request.target());
    return Sent(restoration_->decoder().Add(request.data()));
  }

  absl::Status Begin(const v1::RestoreTarget& target) {
    restoration_ = std::make_unique<Restoration>(
        context_.catalog(), target.collection(),
        [this](const snapshot::Header& header) { return Reserve(header); });
    if (absl::Status status = restoration_->CheckName(); !status.ok()) return status;
    if (!target.has_snapshot()) return absl::OkStatus();
    const auto folder = Snapshots(context_);
    if (!folder.ok()) return folder.status();
    const auto path = (*folder)->Find(target.snapshot().collection(), target.snapshot().name());
    if (!path.ok()) return path.status();
    const auto read = snapshot::ReadFile(*path, restoration_->decoder(),
                                         [this](uint64_t, uint64_t) { return CheckInterrupt(); });
    if (!read.ok()) return Kept(read.status(), target.snapshot());
    done_ = true;
    return Kept(FinishRestore(), target.snapshot());
  }

  absl::Status Reserve(const snapshot::Header& header) {
    auto reservation =
        context_.memory_quota.Reserve(context_.catalog(), header.rows, header.dimension);
    if (!reservation.ok()) {
      context_.metrics.CountRefusal(Refusal::kMemory);
      return Prefixed("nothing was restored", reservation.status());
    }
    reservation_ = *std::move(reservation);
    return absl::OkStatus();
  }

  absl::Status FinishUpload() {
    if (absl::Status status = CheckInterrupt(); !status.ok()) return status;
    if (restoration_ == nullptr) {
      return absl::InvalidArgumentError(
          "the stream ended before its first message, which must say what is restored");
    }
    return Sent(FinishRestore());
  }

  absl::Status FinishRestore() {
    const auto restored = restoration_->Finish();
    if (!restored.ok()) return restored.status();
    const snapshot::Header& header = restored->header;
    v1::RestoreSnapshotResponse response;
    response.set_collection(restored->collection->name());
    response.set_dimension(header.dimension);
    response.set_metric(static_cast<v1::Metric>(header.metric));
    response.set_normalization(static_cast<v1::Normalization>(header.normalization));
    response.set_rows(header.rows);
    response.set_sequence(header.sequence);
    response.set_snapshot_collection(header.collection);
    response.set_snapshot_created_us(header.created_us);
    response.set_checksum(restored->footer.checksum);
    return Serialize(context_.config, response, response_);
  }

  // What was sent is the caller's; what is kept here is not.
  static absl::Status Sent(const absl::Status& status) {
    if (!absl::IsDataLoss(status)) return status;
    return absl::InvalidArgumentError(
        absl::StrCat("the snapshot sent is damaged; nothing was restored: ", status.message()));
  }
  static absl::Status Kept(const absl::Status& status, const v1::StoredSnapshot& snapshot) {
    if (!absl::IsDataLoss(status)) return status;
    return absl::DataLossError(
        absl::StrFormat("snapshot \"%s\" of collection \"%s\" is damaged; nothing was restored: %s",
                        snapshot.name(), snapshot.collection(), std::string(status.message())));
  }

  void Discard() override {
    restoration_.reset();
    reservation_.reset();
  }

  grpc::ByteBuffer& response_;
  grpc::ByteBuffer incoming_;
  MemoryQuota::Reservation reservation_;
  std::unique_ptr<Restoration> restoration_;
  bool done_ = false;  // before all messages were read
};

}  // namespace

grpc::ServerWriteReactor<grpc::ByteBuffer>* StartDownload(ServiceContext& context,
                                                          grpc::CallbackServerContext* call,
                                                          const grpc::ByteBuffer& request) {
  auto* reactor = new DownloadStream(context, *call, request);
  reactor->Start();
  return reactor;
}

grpc::ServerReadReactor<grpc::ByteBuffer>* StartRestore(ServiceContext& context,
                                                        grpc::CallbackServerContext* call,
                                                        grpc::ByteBuffer& response) {
  auto* reactor = new RestoreStream(context, *call, response);
  reactor->Start();
  return reactor;
}

}  // namespace vexact::server

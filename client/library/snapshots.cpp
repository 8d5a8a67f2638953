#include "vexact/snapshots.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/library/call.h"
#include "client/library/connection.h"
#include "client/library/convert.h"
#include "vexact/client.h"

namespace vexact::client {
namespace {

constexpr uint64_t kChunkBytes = uint64_t{1} << 20;
// What a message has beside its chunk, at most.
constexpr uint64_t kChunkFrame = 128;
constexpr absl::Duration kReconnectDelay = absl::Milliseconds(200);

Snapshot SnapshotFrom(const v1::Snapshot& message) {
  return {.name = message.name(),
          .collection = message.collection(),
          .dimension = message.dimension(),
          .metric = FromProto(message.metric()),
          .normalization = FromProto(message.normalization()),
          .rows = message.rows(),
          .sequence = message.sequence(),
          .bytes = message.bytes(),
          .created = absl::FromUnixMicros(message.created_us()),
          .checksum = message.checksum(),
          .error = message.error()};
}

Restored RestoredFrom(const v1::RestoreSnapshotResponse& message) {
  return {.collection = message.collection(),
          .dimension = message.dimension(),
          .metric = FromProto(message.metric()),
          .normalization = FromProto(message.normalization()),
          .rows = message.rows(),
          .sequence = message.sequence(),
          .snapshot_collection = message.snapshot_collection(),
          .snapshot_created = absl::FromUnixMicros(message.snapshot_created_us()),
          .checksum = message.checksum()};
}

// One stream of a download, from `done.bytes` on, which it moves on.
absl::Status ReadStream(Connection& connection, v1::DownloadSnapshotRequest request,
                        absl::Time deadline, const TakeBytes& take, Downloaded& done) {
  grpc::ClientContext context;
  connection.Prepare(deadline, &context);
  request.set_offset(done.bytes);
  const auto stream = connection.stub<v1::Snapshots>().DownloadSnapshot(&context, request);
  v1::DownloadSnapshotResponse message;
  absl::Status taken;
  while (taken.ok() && stream->Read(&message)) {
    if (message.offset() != done.bytes) {
      taken = absl::InternalError(absl::StrCat("the server sent byte ", message.offset(), " where ",
                                               done.bytes, " was expected"));
      break;
    }
    taken = take(message.data(), message.total_bytes());
    done.bytes += message.data().size();
    done.checksum = message.checksum();
  }
  if (!taken.ok()) context.TryCancel();
  const grpc::Status ended = stream->Finish();
  if (!taken.ok()) return taken;
  if (!ended.ok()) return connection.ToAbsl(ended, context);
  if (!done.checksum.empty()) return absl::OkStatus();
  return absl::InternalError("the server ended the download before its last message");
}

}  // namespace

absl::StatusOr<Snapshot> Client::CreateSnapshot(std::string_view collection, std::string_view name,
                                                const CallOptions& call) const {
  v1::CreateSnapshotRequest request;
  request.set_collection(std::string(collection));
  request.set_name(std::string(name));
  const auto response =
      Call<v1::Snapshots>(*connection_, call, request, &v1::Snapshots::Stub::CreateSnapshot);
  if (!response.ok()) return response.status();
  return SnapshotFrom(response->snapshot());
}

absl::StatusOr<std::vector<Snapshot>> Client::ListSnapshots(std::string_view collection,
                                                            const CallOptions& call) const {
  v1::ListSnapshotsRequest request;
  request.set_collection(std::string(collection));
  const auto response =
      Call<v1::Snapshots>(*connection_, call, request, &v1::Snapshots::Stub::ListSnapshots);
  if (!response.ok()) return response.status();
  std::vector<Snapshot> snapshots;
  for (const v1::Snapshot& snapshot : response->snapshots()) {
    snapshots.push_back(SnapshotFrom(snapshot));
  }
  return snapshots;
}

absl::StatusOr<uint64_t> Client::DeleteSnapshot(std::string_view collection, std::string_view name,
                                                const CallOptions& call) const {
  v1::DeleteSnapshotRequest request;
  request.set_collection(std::string(collection));
  request.set_name(std::string(name));
  const auto response =
      Call<v1::Snapshots>(*connection_, call, request, &v1::Snapshots::Stub::DeleteSnapshot);
  if (!response.ok()) return response.status();
  return response->bytes();
}

absl::StatusOr<Downloaded> Client::DownloadSnapshot(std::string_view collection,
                                                    const TakeBytes& take,
                                                    const DownloadOptions& options,
                                                    const CallOptions& call) const {
  v1::DownloadSnapshotRequest request;
  request.set_collection(std::string(collection));
  request.set_name(options.name);
  const absl::Time deadline = DeadlineAfter(call.timeout);
  Downloaded done{.bytes = options.offset, .checksum = {}};
  for (int attempts = 0;;) {
    const uint64_t before = done.bytes;
    const absl::Status status = ReadStream(*connection_, request, deadline, take, done);
    if (status.ok()) return done;
    if (done.bytes > before) attempts = 0;
    const bool again = absl::IsUnavailable(status) && !options.name.empty() && done.bytes > 0 &&
                       attempts < options.reconnects;
    if (!again) return status;
    absl::SleepFor(
        std::min(kReconnectDelay * (1 << std::min(attempts, 4)), deadline - absl::Now()));
    ++attempts;
  }
}

absl::StatusOr<Restored> Client::RestoreSnapshot(std::string_view collection, const GiveBytes& give,
                                                 const CallOptions& call) const {
  const auto info = GetInfo(call);
  if (!info.ok()) return info.status();
  const uint64_t limit = std::max(info->limits.max_message_bytes, kChunkFrame + 1) - kChunkFrame;
  grpc::ClientContext context;
  connection_->Prepare(DeadlineAfter(call.timeout), &context);
  v1::RestoreSnapshotResponse response;
  const auto stream = connection_->stub<v1::Snapshots>().RestoreSnapshot(&context, &response);
  v1::RestoreSnapshotRequest request;
  request.mutable_target()->set_collection(std::string(collection));
  absl::Status given;
  // A write that fails means that the server has ended the call: its status says why.
  for (bool open = stream->Write(request); open; open = stream->Write(request)) {
    absl::StatusOr<std::string> bytes = give(std::min(kChunkBytes, limit));
    given = bytes.status();
    if (!given.ok() || bytes->empty()) break;
    request.set_data(*std::move(bytes));
  }
  if (given.ok()) {
    stream->WritesDone();
  } else {
    context.TryCancel();
  }
  const grpc::Status ended = stream->Finish();
  if (!given.ok()) return given;
  if (!ended.ok()) return connection_->ToAbsl(ended, context);
  return RestoredFrom(response);
}

absl::StatusOr<Restored> Client::RestoreStoredSnapshot(std::string_view collection,
                                                       std::string_view snapshot_collection,
                                                       std::string_view snapshot,
                                                       const CallOptions& call) const {
  grpc::ClientContext context;
  connection_->Prepare(DeadlineAfter(call.timeout), &context);
  v1::RestoreSnapshotResponse response;
  const auto stream = connection_->stub<v1::Snapshots>().RestoreSnapshot(&context, &response);
  v1::RestoreSnapshotRequest request;
  v1::RestoreTarget& target = *request.mutable_target();
  target.set_collection(std::string(collection));
  target.mutable_snapshot()->set_collection(std::string(snapshot_collection));
  target.mutable_snapshot()->set_name(std::string(snapshot));
  stream->Write(request);
  stream->WritesDone();
  if (const grpc::Status ended = stream->Finish(); !ended.ok())
    return connection_->ToAbsl(ended, context);
  return RestoredFrom(response);
}

}  // namespace vexact::client

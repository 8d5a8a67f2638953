#include "vexact/bulk_writer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/library/convert.h"
#include "client/library/stream.h"

namespace vexact::client {
namespace {

constexpr absl::Duration kLongestDelay = absl::Seconds(5);
// How long one attempt waits for a connection.
constexpr absl::Duration kConnectTime = absl::Seconds(2);

}  // namespace

BulkWriter::Stream::Stream(std::shared_ptr<Connection> connection, std::string collection,
                           BulkOptions options)
    : connection_(std::move(connection)),
      collection_(std::move(collection)),
      options_(options),
      deadline_(DeadlineAfter(options.timeout)) {}

BulkWriter::Stream::~Stream() {
  if (stream_ == nullptr) return;
  context_->TryCancel();
  (void)Close();
}

bool BulkWriter::Stream::Open() {
  stream_acknowledged_ = 0;
  context_ = std::make_unique<grpc::ClientContext>();
  connection_->Prepare(deadline_, context_.get());
  stream_ = connection_->stub<v1::Points>().BulkUpsert(context_.get());
  for (const Pending& pending : pending_) {
    if (!stream_->Write(pending.request)) return false;
  }
  return true;
}

absl::Status BulkWriter::Stream::Take(const v1::BulkUpsertResponse& response) {
  ++stream_acknowledged_;
  if (pending_.empty() || response.acknowledged() != stream_acknowledged_) {
    return absl::InternalError(absl::StrCat("the server acknowledged request ",
                                            response.acknowledged(), " where ",
                                            stream_acknowledged_, " was expected"));
  }
  ++acknowledged_.requests;
  acknowledged_.rows += pending_.front().rows;
  acknowledged_.added += response.result().added();
  acknowledged_.replaced += response.result().replaced();
  acknowledged_.sequence = response.result().sequence();
  pending_.pop_front();
  attempts_ = 0;
  return absl::OkStatus();
}

absl::Status BulkWriter::Stream::Close() {
  v1::BulkUpsertResponse response;
  absl::Status taken;
  while (stream_->Read(&response)) {
    if (taken.ok()) taken = Take(response);
  }
  const grpc::Status ended = stream_->Finish();
  if (taken.ok()) taken = connection_->ToAbsl(ended, *context_);
  stream_.reset();
  context_.reset();
  return taken;
}

absl::Status BulkWriter::Stream::Recover(absl::Status why) {
  while (absl::IsUnavailable(why) && attempts_ < options_.reconnects) {
    const absl::Duration delay =
        std::min(options_.reconnect_delay * (int64_t{1} << std::min(attempts_, 20)), kLongestDelay);
    ++attempts_;
    absl::SleepFor(std::min(delay, deadline_ - absl::Now()));
    const absl::Time until = std::min(deadline_, absl::Now() + kConnectTime);
    if (!connection_->channel()->WaitForConnected(absl::ToChronoTime(until))) continue;
    ++acknowledged_.reconnects;
    if (Open()) return absl::OkStatus();
    why = Close();
  }
  if (absl::IsUnavailable(why) && options_.reconnects > 0) {
    why = absl::UnavailableError(absl::StrCat(std::string(why.message()), "; ", options_.reconnects,
                                              " attempts to go on failed"));
  }
  if (why.ok()) why = absl::InternalError("the server ended the stream before its last request");
  status_ = std::move(why);
  return status_;
}

absl::Status BulkWriter::Stream::Await() {
  v1::BulkUpsertResponse response;
  if (!stream_->Read(&response)) return Recover(Close());
  if (absl::Status taken = Take(response); !taken.ok()) {
    context_->TryCancel();
    (void)Close();
    status_ = std::move(taken);
  }
  return status_;
}

absl::Status BulkWriter::Stream::Write(const PointBlock& block) {
  const size_t window = std::max<size_t>(options_.window, 1);
  while (status_.ok() && pending_.size() >= window) (void)Await();
  if (!status_.ok()) return status_;
  Pending& pending = pending_.emplace_back();
  pending.request.set_collection(collection_);
  pending.rows = block.ids.size();
  ToProto(block, &pending.request);
  const bool sent = stream_ == nullptr ? Open() : stream_->Write(pending.request);
  return sent ? absl::OkStatus() : Recover(Close());
}

absl::StatusOr<BulkProgress> BulkWriter::Stream::Finish() {
  while (status_.ok() && !pending_.empty()) (void)Await();
  if (!status_.ok()) return status_;
  if (stream_ != nullptr) {
    stream_->WritesDone();
    // Everything is acknowledged: however the stream ends, nothing is lost.
    (void)Close();
  }
  return acknowledged_;
}

BulkWriter::BulkWriter(std::unique_ptr<Stream> stream) : stream_(std::move(stream)) {}
BulkWriter::~BulkWriter() = default;
BulkWriter::BulkWriter(BulkWriter&&) noexcept = default;
BulkWriter& BulkWriter::operator=(BulkWriter&&) noexcept = default;

absl::Status BulkWriter::Write(const PointBlock& block) { return stream_->Write(block); }
absl::StatusOr<BulkProgress> BulkWriter::Finish() { return stream_->Finish(); }
const BulkProgress& BulkWriter::acknowledged() const { return stream_->acknowledged(); }

}  // namespace vexact::client

// The state of a BulkWriter: the open stream and the requests it may have to send again.
#pragma once

#include <deque>
#include <memory>
#include <string>

#include "client/library/connection.h"
#include "vexact/bulk_writer.h"

namespace vexact::client {

class BulkWriter::Stream {
 public:
  Stream(std::shared_ptr<Connection> connection, std::string collection, BulkOptions options);
  ~Stream();

  absl::Status Write(const PointBlock& block);
  absl::StatusOr<BulkProgress> Finish();
  const BulkProgress& acknowledged() const { return acknowledged_; }

 private:
  struct Pending {
    v1::UpsertRequest request;
    uint64_t rows = 0;
  };

  // Opens a stream and sends every pending request on it. False when it broke at once.
  bool Open();
  // Reads one acknowledgement, making the stream again where it broke.
  absl::Status Await();
  // Takes the acknowledgement of the first pending request.
  absl::Status Take(const v1::BulkUpsertResponse& response);
  // Reads what is still to be read of a stream that takes no more writes, and gives its status.
  absl::Status Close();
  // After the stream ended with `why`: makes it again where that can help, and otherwise gives the
  // final error.
  absl::Status Recover(absl::Status why);

  const std::shared_ptr<Connection> connection_;
  const std::string collection_;
  const BulkOptions options_;
  const absl::Time deadline_;

  std::unique_ptr<grpc::ClientContext> context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::UpsertRequest, v1::BulkUpsertResponse>> stream_;
  std::deque<Pending> pending_;       // sent or to be sent, oldest first
  uint64_t stream_acknowledged_ = 0;  // on the open stream
  int attempts_ = 0;                  // to reconnect, since the last acknowledgement
  absl::Status status_;               // the first error; final
  BulkProgress acknowledged_;
};

}  // namespace vexact::client

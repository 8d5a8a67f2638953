// The server as a whole: the engine, the services and the port.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/config.h"

namespace vexact::server {

class Server {
 public:
  // Listens and serves from here on. UNAVAILABLE when it cannot listen, saying why and what to do.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const Config& config);

  // Ends what still runs.
  ~Server();

  // HOST:PORT, with the port that was taken when 0 was asked for.
  std::string address() const;

  // Turns new requests away from here on, and says NOT_SERVING to who asks for health. Returns how
  // many requests run.
  uint64_t Close();

  // After Close(): waits for the requests that run, for the configured time, and cancels what is
  // left. Returns how many that were. Call once.
  uint64_t Drain();

 private:
  struct Parts;
  explicit Server(std::unique_ptr<Parts> parts);

  const std::unique_ptr<Parts> parts_;
};

}  // namespace vexact::server

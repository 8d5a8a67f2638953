// The server as a whole: the storage, the services and the port.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/config.h"
#include "server/security.h"

namespace vexact::server {

class Server {
 public:
  // What there is once the storage is open.
  struct Opened {
    uint64_t collections = 0;  // that serve
    uint64_t damaged = 0;      // that do not
    uint64_t rows = 0;
    absl::Duration time;
  };
  // Listens from here on, and opens the storage meanwhile: until that is done, requests are turned
  // away and health says NOT_SERVING. `opened` is called once, from another thread: when requests
  // are let in, or when that will not be, with why and what to do.
  //
  // UNAVAILABLE when it cannot listen, saying why and what to do; the storage is untouched then.
  static absl::StatusOr<std::unique_ptr<Server>> Start(
      const Config& config, Security security, std::function<void(absl::StatusOr<Opened>)> opened);

  // Ends what still runs.
  ~Server();

  // HOST:PORT, with the port that was taken when 0 was asked for.
  std::string address() const;

  // Turns new requests away from here on, and says NOT_SERVING to who asks for health; a start that
  // is still under way is given up. Returns how many requests run.
  uint64_t Close();

  // Takes over what may change while the server runs: the options marked live (server/options.h),
  // the keys and the certificates. REQUIRES: `security` has TLS, and asks clients for
  // certificates, as at the start.
  void Apply(const Config& config, Security security);

  // To be called every second or so: looks whether the files of certificates have changed, and logs
  // what was refused meanwhile because there is too much to do.
  void Poll();

  // After Close(): waits for the requests that run, for the configured time, and cancels what is
  // left. Returns how many that were. Call once.
  uint64_t Drain();

 private:
  struct Parts;
  explicit Server(std::unique_ptr<Parts> parts);

  const std::unique_ptr<Parts> parts_;
};

}  // namespace vexact::server

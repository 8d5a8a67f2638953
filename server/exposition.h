// The metrics as Prometheus reads them, over HTTP.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/service_context.h"

namespace prometheus {
class Exposer;
}  // namespace prometheus

namespace vexact::server {

// Serves GET /metrics to anybody who can reach the port, from its construction to its end.
// docs/operations.md lists the metrics.
class Exposition {
 public:
  // `address` is HOST:PORT; port 0 takes a free one. `context` must outlive it. UNAVAILABLE when it
  // cannot listen, saying why and what to do.
  static absl::StatusOr<std::unique_ptr<Exposition>> Start(const ServiceContext& context,
                                                           const std::string& address);
  ~Exposition();

  // HOST:PORT, with the port that was taken when 0 was asked for.
  const std::string& address() const { return address_; }

 private:
  class Metrics;
  Exposition();

  std::string address_;
  std::shared_ptr<Metrics> metrics_;
  std::unique_ptr<prometheus::Exposer> exposer_;  // last: it asks the metrics
};

}  // namespace vexact::server

// TLS: the server's certificate, who may connect, and how both are renewed while it runs.
#pragma once

#include <grpcpp/grpcpp.h>
#include <sys/types.h>

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <tuple>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/config.h"

namespace vexact::server {

// What the server shows and whom it trusts, as PEM.
struct TlsIdentity {
  std::string certificates;  // the server's own, then those that lead to its authority
  std::string key;
  // The authorities of the clients' certificates; empty: clients need none.
  std::string client_ca;
  // Of the server's certificate.
  std::string subject;
  absl::Time expires;
};

// Reads the files that the configuration names and checks them: PEM, and the key is the
// certificate's. Nothing when it names none. INVALID_ARGUMENT names the option, the file and what
// is wrong, and shows nothing of the key.
absl::StatusOr<std::optional<TlsIdentity>> ReadTls(const Config& config);

// "2026-01-31T12:00:00Z".
std::string UtcTime(absl::Time time);

// What an operator should know about a certificate's end: it is past, or near. Empty: nothing.
std::string ExpiryWarning(const TlsIdentity& identity, absl::Time now);

// The credentials of the port. Each connection is made with the identity of its moment, so that one
// may take another's place at any time.
//
// gRPC's own FileWatcherCertificateProvider would do the watching, but it drops an identity that
// works for files that do not.
//
// Thread safety: Replace() may be called from any thread.
class TlsCredentials final : public grpc::ServerCredentials {
 public:
  // Whether clients need a certificate is decided here, for all identities to come.
  explicit TlsCredentials(TlsIdentity identity);
  ~TlsCredentials() override;

  void Replace(TlsIdentity identity);

  void SetAuthMetadataProcessor(const std::shared_ptr<grpc::AuthMetadataProcessor>&) override {}

 private:
  int AddPortToServer(const std::string& address, grpc_server* server) override;
  static grpc_ssl_certificate_config_reload_status Fetch(
      void* self, grpc_ssl_server_certificate_config** config);

  std::mutex mutex_;
  TlsIdentity identity_;  // guarded by mutex_
  bool fetched_ = false;  // guarded by mutex_; gRPC has this identity
  grpc_server_credentials* credentials_ = nullptr;
};

// Looks now and then whether the files have changed, and gives the credentials what is in them.
// What cannot be used leaves the old identity in use; the log has both.
class TlsWatch {
 public:
  // `config` names the files; both outlive this.
  TlsWatch(const Config& config, TlsCredentials& credentials);

  // To be called every second or so, from one thread at a time. Files are read when they have not
  // changed since the last call, so that the certificate and the key of a renewal come together.
  void Poll();

 private:
  // By file: what a change would change.
  using Stamp = std::tuple<dev_t, ino_t, off_t, int64_t>;
  using Stamps = std::array<Stamp, 3>;
  Stamps Look() const;

  const Config& config_;
  TlsCredentials& credentials_;
  Stamps used_, seen_;
};

// Log lines: what is in use from now on, and what is wrong with it.
void LogTls(const TlsIdentity& identity);

}  // namespace vexact::server

#include "server/tls.h"

#include <grpc/grpc_security.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <ctime>
#include <string_view>
#include <utility>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "server/log.h"
#include "server/option_file.h"
#include "server/options.h"

namespace vexact::server {
namespace {

constexpr absl::Duration kWarnBefore = absl::Hours(7 * 24);

template <auto kFree>
struct Free {
  template <typename T>
  void operator()(T* object) const {
    kFree(object);
  }
};
using Bio = std::unique_ptr<BIO, Free<BIO_free_all>>;
using Certificate = std::unique_ptr<X509, Free<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>>;

Bio Open(const std::string& pem) {
  return Bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
}

// The first of the certificates in `pem`, or null.
Certificate FirstCertificate(const std::string& pem) {
  return Certificate(PEM_read_bio_X509(Open(pem).get(), nullptr, nullptr, nullptr));
}

// Null when there is none without a passphrase; nobody is asked for one.
Key ReadKey(const std::string& pem) {
  const auto no_passphrase = [](char*, int, int, void*) { return 0; };
  return Key(PEM_read_bio_PrivateKey(Open(pem).get(), nullptr, no_passphrase, nullptr));
}

std::string SubjectOf(const X509& certificate) {
  const Bio text(BIO_new(BIO_s_mem()));
  X509_NAME_print_ex(text.get(), X509_get_subject_name(&certificate), 0,
                     XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB);
  char* begin = nullptr;
  const long size = BIO_get_mem_data(text.get(), &begin);
  return std::string(begin, static_cast<size_t>(size));
}

absl::Time ExpiryOf(const X509& certificate) {
  std::tm time{};
  if (ASN1_TIME_to_tm(X509_get0_notAfter(&certificate), &time) != 1) return absl::InfiniteFuture();
  return absl::FromTM(time, absl::UTCTimeZone());
}

absl::Status Wrong(std::string_view option, const std::string& path, std::string_view what) {
  return absl::InvalidArgumentError(absl::StrFormat("%s: %s %s", option, path, what));
}

absl::Status CheckNames(const Config& config) {
  if (config.tls_cert.empty() != config.tls_key.empty()) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s is given without %s; TLS needs both", config.tls_cert.empty() ? kTlsKey : kTlsCert,
        config.tls_cert.empty() ? kTlsCert : kTlsKey));
  }
  if (config.tls_cert.empty() && !config.tls_client_ca.empty()) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s is given without %s and %s; clients are asked for certificates over TLS only",
        kTlsClientCa, kTlsCert, kTlsKey));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::optional<TlsIdentity>> ReadTls(const Config& config) {
  if (absl::Status status = CheckNames(config); !status.ok()) return status;
  if (config.tls_cert.empty()) return std::nullopt;
  const auto certificates = ReadOptionFile(kTlsCert, config.tls_cert);
  if (!certificates.ok()) return certificates.status();
  const Certificate certificate = FirstCertificate(*certificates);
  if (certificate == nullptr) {
    return Wrong(kTlsCert, config.tls_cert, "does not begin with a certificate in PEM");
  }
  const auto key_text = ReadOptionFile(kTlsKey, config.tls_key);
  if (!key_text.ok()) return key_text.status();
  const Key key = ReadKey(*key_text);
  if (key == nullptr) {
    return Wrong(kTlsKey, config.tls_key, "holds no private key in PEM without a passphrase");
  }
  if (X509_check_private_key(certificate.get(), key.get()) != 1) {
    return Wrong(kTlsKey, config.tls_key,
                 absl::StrFormat("is not the key of the certificate in %s", config.tls_cert));
  }
  TlsIdentity identity{.certificates = *certificates,
                       .key = *key_text,
                       .client_ca = {},
                       .subject = SubjectOf(*certificate),
                       .expires = ExpiryOf(*certificate)};
  if (config.tls_client_ca.empty()) return identity;
  auto client_ca = ReadOptionFile(kTlsClientCa, config.tls_client_ca);
  if (!client_ca.ok()) return client_ca.status();
  if (FirstCertificate(*client_ca) == nullptr) {
    return Wrong(kTlsClientCa, config.tls_client_ca, "holds no certificate in PEM");
  }
  identity.client_ca = *std::move(client_ca);
  return identity;
}

std::string UtcTime(absl::Time time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", time, absl::UTCTimeZone());
}

std::string ExpiryWarning(const TlsIdentity& identity, absl::Time now) {
  if (identity.expires > now + kWarnBefore) return "";
  return absl::StrFormat("the certificate of %s %s %s; renew it in the file of %s",
                         identity.subject, identity.expires > now ? "expires" : "expired",
                         UtcTime(identity.expires), kTlsCert);
}

TlsCredentials::TlsCredentials(TlsIdentity identity) : identity_(std::move(identity)) {
  const auto request = identity_.client_ca.empty()
                           ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                           : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY;
  credentials_ = grpc_ssl_server_credentials_create_with_options(
      grpc_ssl_server_credentials_create_options_using_config_fetcher(request, Fetch, this));
}

TlsCredentials::~TlsCredentials() { grpc_server_credentials_release(credentials_); }

void TlsCredentials::Replace(TlsIdentity identity) {
  const std::lock_guard lock(mutex_);
  identity_ = std::move(identity);
  fetched_ = false;
}

int TlsCredentials::AddPortToServer(const std::string& address, grpc_server* server) {
  return grpc_server_add_http2_port(server, address.c_str(), credentials_);
}

grpc_ssl_certificate_config_reload_status TlsCredentials::Fetch(
    void* self, grpc_ssl_server_certificate_config** config) {
  TlsCredentials& credentials = *static_cast<TlsCredentials*>(self);
  const std::lock_guard lock(credentials.mutex_);
  if (credentials.fetched_) return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
  const TlsIdentity& identity = credentials.identity_;
  const grpc_ssl_pem_key_cert_pair pair{identity.key.c_str(), identity.certificates.c_str()};
  // gRPC wants authorities also where it asks clients for nothing and verifies nothing with them.
  const std::string& authorities =
      identity.client_ca.empty() ? identity.certificates : identity.client_ca;
  *config = grpc_ssl_server_certificate_config_create(authorities.c_str(), &pair, 1);
  credentials.fetched_ = true;
  return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
}

TlsWatch::TlsWatch(const Config& config, TlsCredentials& credentials)
    : config_(config), credentials_(credentials), used_(Look()), seen_(used_) {}

TlsWatch::Stamps TlsWatch::Look() const {
  Stamps stamps{};
  size_t i = 0;
  for (const std::string* path : {&config_.tls_cert, &config_.tls_key, &config_.tls_client_ca}) {
    struct stat status {};
    if (stat(path->c_str(), &status) == 0) {
      const int64_t changed =
          int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec;
      stamps[i] = {status.st_dev, status.st_ino, status.st_size, changed};
    }
    ++i;
  }
  return stamps;
}

void TlsWatch::Poll() {
  const Stamps now = Look();
  const bool settled = now == std::exchange(seen_, now);
  if (!settled || now == used_) return;
  used_ = now;
  auto identity = ReadTls(config_);
  if (!identity.ok()) {
    spdlog::error("tls_unusable message={} remedy=\"the certificate of before is in use\"",
                  LogValue(identity.status()));
    return;
  }
  const TlsIdentity& renewed = **identity;
  credentials_.Replace(renewed);
  LogTls(renewed);  // last, because who reads it may rely on it
}

void LogTls(const TlsIdentity& identity) {
  const absl::Time now = absl::Now();
  spdlog::info("tls subject={} expires={} clients={}", LogValue(identity.subject),
               UtcTime(identity.expires), identity.client_ca.empty() ? "any" : "with_certificate");
  const std::string warning = ExpiryWarning(identity, now);
  if (!warning.empty()) spdlog::warn("tls_expires message={}", LogValue(warning));
}

}  // namespace vexact::server

// Authorities and certificates for tests, made with openssl.
#pragma once

#include <filesystem>
#include <string>

namespace vexact::testing {

// Makes the authority NAME.pem with its key NAME.key in `folder`. Throws std::runtime_error when it
// cannot, as below.
void MakeAuthority(const std::filesystem::path& folder, const std::string& name);

struct CertificateSpec {
  std::string name;  // also the subject's
  std::string authority = "ca";
  std::string alt_names = "DNS:localhost,IP:127.0.0.1";
  int days = 30;  // from now; -1: it ended yesterday
};

// Makes NAME.pem, signed by the authority in `folder`, with its key NAME.key.
void MakeCertificate(const std::filesystem::path& folder, const CertificateSpec& spec);

}  // namespace vexact::testing

#include "tests/support/certificates.h"

#include <fstream>
#include <stdexcept>
#include <vector>

#include "tests/support/server_process.h"

namespace vexact::testing {
namespace {

void OpenSsl(std::vector<std::string> args, const std::vector<std::string>& more) {
  args.insert(args.begin(), "openssl");
  args.insert(args.end(), more.begin(), more.end());
  const Finished made = Run(args);
  if (made.status != 0) throw std::runtime_error("openssl failed: " + made.err);
}

// Of `openssl req`: a new key.
std::vector<std::string> NewKey(const std::filesystem::path& file, const std::string& subject) {
  return {"-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
          "-keyout", file, "-subj",    "/CN=" + subject};
}

}  // namespace

void MakeAuthority(const std::filesystem::path& folder, const std::string& name) {
  OpenSsl({"req", "-x509", "-days", "30", "-out", folder / (name + ".pem")},
          NewKey(folder / (name + ".key"), name + " authority"));
}

void MakeCertificate(const std::filesystem::path& folder, const CertificateSpec& spec) {
  const std::string request = folder / (spec.name + ".csr");
  const std::string extensions = folder / (spec.name + ".ext");
  std::ofstream(extensions) << "subjectAltName=" << spec.alt_names << '\n';
  OpenSsl({"req", "-out", request}, NewKey(folder / (spec.name + ".key"), spec.name));
  OpenSsl({"x509", "-req", "-in", request, "-extfile", extensions, "-CAcreateserial"},
          {"-CA", folder / (spec.authority + ".pem"), "-CAkey", folder / (spec.authority + ".key"),
           "-days", std::to_string(spec.days), "-out", folder / (spec.name + ".pem")});
}

}  // namespace vexact::testing

// --tls, --ca, --client-cert, --client-key, --api-key-file.
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "client/command/command.h"

namespace vexact::client {
namespace {

constexpr const char* kApiKeyVariable = "VEXACT_API_KEY";

// Reads a file of PEM; the error, if any.
std::string ReadPem(const char* option, const std::string& path, std::string& text) {
  if (path.empty()) return "";
  std::ifstream file(path, std::ios::binary);
  std::string line;
  while (std::getline(file, line)) absl::StrAppend(&text, line, "\n");
  if (!file.is_open() || file.bad()) {
    return absl::StrCat(option, ": cannot read ", path, ": ", std::strerror(errno));
  }
  if (text.find("-----BEGIN ") != std::string::npos) return "";
  return absl::StrCat(option, ": ", path, " is not PEM: it has no line -----BEGIN ...-----");
}

std::string ReadApiKey(const std::string& path, std::string& key) {
  std::string from = path;
  if (path.empty()) {
    const char* value = std::getenv(kApiKeyVariable);
    key = value == nullptr ? "" : value;
    from = kApiKeyVariable;
  } else {
    std::ifstream file(path);
    if (!std::getline(file, key)) {
      return absl::StrCat("--api-key-file: cannot read a line of ", path,
                          file.is_open() ? "" : absl::StrCat(": ", std::strerror(errno)));
    }
  }
  key = std::string(absl::StripAsciiWhitespace(key));
  for (const char c : key) {
    if (c <= ' ' || c > '~') return absl::StrCat(from, ": a key has no spaces in it");
  }
  return "";
}

}  // namespace

void AddConnectOptions(CLI::App& app, Globals& globals) {
  app.add_flag("--tls", globals.tls,
               "Speak TLS, and trust the system's authorities or those of --ca")
      ->envname("VEXACT_TLS");
  app.add_option("--ca", globals.ca, "Speak TLS, and trust servers of these authorities (PEM)")
      ->type_name("FILE")
      ->envname("VEXACT_CA");
  app.add_option("--client-cert", globals.client_cert,
                 "This client's certificate (PEM), for servers that ask for one")
      ->type_name("FILE")
      ->envname("VEXACT_CLIENT_CERT");
  app.add_option("--client-key", globals.client_key, "The certificate's key (PEM)")
      ->type_name("FILE")
      ->envname("VEXACT_CLIENT_KEY");
  app.add_option("--api-key-file", globals.api_key_file,
                 "The API key is the first line of this file (default: VEXACT_API_KEY holds it)")
      ->type_name("FILE")
      ->envname("VEXACT_API_KEY_FILE");
}

std::string Globals::ReadConnectOptions() {
  if (client_cert.empty() != client_key.empty()) {
    return "--client-cert and --client-key go together; give both";
  }
  connect.tls = tls || !ca.empty() || !client_cert.empty();
  std::string error = ReadPem("--ca", ca, connect.ca);
  if (error.empty()) error = ReadPem("--client-cert", client_cert, connect.certificate);
  if (error.empty()) error = ReadPem("--client-key", client_key, connect.key);
  if (error.empty()) error = ReadApiKey(api_key_file, connect.api_key);
  return error;
}

}  // namespace vexact::client

#include "server/check_config.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <string>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "server/options.h"
#include "server/security.h"

namespace vexact::server {
namespace {

void Print(const std::string& line) { std::printf("%s\n", line.c_str()); }

void Warn(const std::string& message) {
  std::fflush(stdout);
  std::fprintf(stderr, "warning: %s\n", message.c_str());
}

void PrintOptions(const Config& config) {
  size_t longest = 0;
  for (const Option& option : Options()) {
    longest = std::max(longest, option.value.get(config).size());
  }
  const int width = static_cast<int>(std::min<size_t>(longest, 40));
  Print(absl::StrFormat("%-27s %-*s %s", "option", width, "value", "source"));
  for (const Option& option : Options()) {
    const std::string value = option.value.get(config);
    const auto source = config.sources.find(option.key);
    Print(absl::StrFormat("%-27s %-*s %s", option.key, width, value.empty() ? "-" : value,
                          source == config.sources.end() ? "default" : source->second));
  }
}

absl::Status CheckDataDir(const Config& config) {
  namespace fs = std::filesystem;
  if (config.in_memory) {
    Print("data        in memory alone");
    return absl::OkStatus();
  }
  std::error_code ignored;
  const bool there = fs::exists(config.data_dir, ignored);
  // It is made where it is missing, but not its parents.
  const fs::path folder =
      there ? fs::path(config.data_dir) : fs::path(config.data_dir).parent_path();
  const char* wrong = nullptr;
  if (!fs::is_directory(folder, ignored)) {
    wrong = there ? "it is not a directory" : "the directory above it is missing";
  } else if (access(folder.c_str(), R_OK | W_OK | X_OK) != 0) {
    wrong = "this user may not write there";
  }
  if (wrong == nullptr) {
    Print(absl::StrFormat("data        %s, %s", config.data_dir,
                          there ? "there and writable" : "will be made"));
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrFormat("data directory %s cannot be used: %s; choose another with --data-dir",
                      config.data_dir, wrong));
}

void PrintSecurity(const Config& config, const Security& security) {
  Print(security.keys.empty() ? "keys        none: everybody is let in"
                              : absl::StrFormat("keys        %d API keys", security.keys.size()));
  if (!security.tls) {
    Print("tls         off: connections are in plain text");
    return;
  }
  Print(absl::StrFormat("tls         %s, until %s; %s", security.tls->subject,
                        UtcTime(security.tls->expires),
                        security.tls->client_ca.empty() ? "clients need no certificate"
                                                        : "clients need a certificate"));
  if (const std::string warning = ExpiryWarning(*security.tls, absl::Now()); !warning.empty()) {
    Warn(warning);
  }
  struct stat status {};
  if (stat(config.tls_key.c_str(), &status) == 0 && (status.st_mode & S_IRWXO) != 0) {
    Warn(absl::StrFormat("%s may be read by every user of this machine; chmod o-rwx %s",
                         config.tls_key, config.tls_key));
  }
}

}  // namespace

absl::Status CheckConfig(const Config& config) {
  PrintOptions(config);
  Print("");
  const auto security = ReadSecurity(config);
  if (!security.ok()) return security.status();
  PrintSecurity(config, *security);
  return CheckDataDir(config);
}

}  // namespace vexact::server

// The options of vexactd: what each one is called, takes and means.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/config.h"

namespace vexact::server {

// What stands before the name of an option in the environment.
inline constexpr char kVariablePrefix[] = "VEXACT_";

// How the value of an option is written as text, and what kind of value it is in TOML.
struct OptionValue {
  enum Kind { kText, kNumber, kSwitch };
  Kind kind;
  // INVALID_ARGUMENT names the value and what is allowed.
  std::function<absl::Status(Config&, const std::string& value)> set;
  std::function<std::string(const Config&)> get;
};

// One option, under its three names: --max-message-bytes, VEXACT_MAX_MESSAGE_BYTES,
// max_message_bytes.
struct Option {
  // Whether a running server takes a new value on SIGHUP (Server::Apply), or the next one.
  enum Effect { kAtStart, kLive };

  std::string key;  // as in TOML
  std::string placeholder;
  Effect effect;
  std::string help;
  OptionValue value;

  std::string flag() const;
  std::string variable() const;
};

// In the order in which --help lists them.
const std::vector<Option>& Options();

// The text of an API key file, in the environment alone: no flag shows it to who lists processes.
inline constexpr char kApiKeysVariable[] = "VEXACT_API_KEYS";

inline constexpr char kApiKeysFile[] = "api_keys_file";
inline constexpr char kMaxKeyRequestsPerSecond[] = "max_key_requests_per_second";
inline constexpr char kMaxConnections[] = "max_connections";
inline constexpr char kTlsCert[] = "tls_cert";
inline constexpr char kTlsKey[] = "tls_key";
inline constexpr char kTlsClientCa[] = "tls_client_ca";
inline constexpr char kDataDir[] = "data_dir";
inline constexpr char kInMemory[] = "in_memory";

}  // namespace vexact::server

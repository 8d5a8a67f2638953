// How a server is reached, and who asks.
#pragma once

#include <string>

namespace vexact::client {

// A plain value. The texts of certificates and keys are PEM: their contents, not names of files.
struct ConnectOptions {
  // Speak TLS; otherwise plain text.
  bool tls = false;
  // The authorities whose servers are trusted; empty: those of the system.
  std::string ca = {};
  // The client's certificate and its key, for servers that ask for one.
  std::string certificate = {}, key = {};
  // Goes with every call; empty: none.
  std::string api_key = {};
};

}  // namespace vexact::client

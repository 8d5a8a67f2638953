#include "client/library/connection.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace vexact::client {
namespace {

// What gRPC itself says when it could not connect, before any server had a word.
bool NeverConnected(const std::string& message) {
  return absl::StartsWith(message, "failed to connect to all addresses") ||
         absl::StrContains(message, "DNS resolution failed") ||
         absl::StrContains(message, "name resolution failed") ||
         absl::StrContains(message, "empty address list");
}

// The same for a connection that broke under a call.
bool Broke(const std::string& message) {
  for (const char* sign :
       {"Socket closed", "Connection reset", "Broken pipe", "recvmsg:", "sendmsg:", "GOAWAY",
        "Endpoint read failed", "Stream removed", "Transport closed", "Connection aborted"}) {
    if (absl::StrContains(message, sign)) return true;
  }
  return false;
}

// gRPC puts its own history before the reason: "...; last error: UNKNOWN: ipv4:127.0.0.1:1: Failed
// to connect to remote host: Connection refused".
std::string Reason(const std::string& message) {
  const size_t at = message.rfind(": ");
  return at == std::string::npos ? message : message.substr(at + 2);
}

// Debian's, which gRPC does not look for.
constexpr char kSystemAuthorities[] = "/etc/ssl/certs/ca-certificates.crt";

std::shared_ptr<grpc::ChannelCredentials> CredentialsOf(const ConnectOptions& options) {
  if (!options.tls) return grpc::InsecureChannelCredentials();
  std::string ca = options.ca;
  if (ca.empty()) {
    std::ifstream file(kSystemAuthorities);
    ca.assign(std::istreambuf_iterator<char>(file), {});
  }
  return grpc::SslCredentials({.pem_root_certs = std::move(ca),
                               .pem_private_key = options.key,
                               .pem_cert_chain = options.certificate});
}

// Nothing else may be in metadata; a key that has something else is nobody's.
std::string PrintableAscii(std::string text) {
  std::ranges::replace_if(
      text, [](char c) { return c < ' ' || c > '~'; }, '?');
  return text;
}

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address,
                                           const ConnectOptions& options, Retries retries) {
  grpc::ChannelArguments arguments;
  // The server guards the size of what it takes and gives (max_message_bytes).
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetMaxSendMessageSize(-1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // A client must not inherit the back-off that another one of this process earned.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, retries == Retries::kOn ? 1 : 0);
  return grpc::CreateCustomChannel(address, CredentialsOf(options), arguments);
}

// Where a status keeps the request's id.
constexpr char kRequestIdPayload[] = "vexact/x-request-id";

}  // namespace

Connection::Connection(std::string address, ConnectOptions options, Retries retries)
    : address_(std::move(address)),
      options_(std::move(options)),
      channel_(MakeChannel(address_, options_, retries)),
      stubs_(channel_, channel_, channel_, channel_, channel_, channel_) {}

absl::Status Connection::ToAbsl(const grpc::Status& status) const {
  if (status.ok()) return absl::OkStatus();
  const std::string& message = status.error_message();
  if (status.error_code() == grpc::StatusCode::UNAVAILABLE) {
    if (NeverConnected(message)) {
      return absl::UnavailableError(absl::StrCat("cannot reach a Vexact server at ", address_, " (",
                                                 Reason(message), ")", Hint(message)));
    }
    if (Broke(message)) {
      return absl::UnavailableError(
          absl::StrCat("lost the connection to ", address_, " (", message, ")", Hint(message)));
    }
  }
  // Nobody here cancels a call whose status is looked at: the server reset it because it is
  // stopping.
  if (status.error_code() == grpc::StatusCode::CANCELLED && message == "CANCELLED") {
    return absl::UnavailableError(
        absl::StrCat("lost the connection to ", address_, " (the server stopped)"));
  }
  if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED &&
      message == "Deadline Exceeded") {
    return absl::DeadlineExceededError(absl::StrCat("no answer from ", address_, " in time"));
  }
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), message);
}

std::string Connection::Hint(const std::string& message) const {
  const auto says = [&message](const char* sign) {
    return absl::StrContains(absl::AsciiStrToLower(message), sign);
  };
  if (says("wrong version number")) {
    return "; it seems to speak no TLS: try without --tls and --ca";
  }
  if (says("certificate verify failed") || says("certificate_verify_failed")) {
    return "; its certificate is of no authority that is trusted here: name its own with --ca";
  }
  if (says("peer name") || says("hostname verification")) {
    const std::string host = address_.substr(0, address_.rfind(':'));
    return absl::StrCat("; its certificate is for other names than ", host,
                        ": call it by one of those");
  }
  if (NeverConnected(message) && Broke(message)) {
    if (!options_.tls) return "; it ends connections in plain text: try --tls or --ca";
    return options_.certificate.empty()
               ? "; it may ask clients for a certificate: give one with --client-cert"
               : "; it may not trust this client's certificate (--client-cert)";
  }
  return NeverConnected(message) ? "; is vexactd running, and is this its address?" : "";
}

absl::Status Connection::ToAbsl(const grpc::Status& status,
                                const grpc::ClientContext& context) const {
  absl::Status error = ToAbsl(status);
  if (error.ok()) return error;
  const auto& metadata = context.GetServerTrailingMetadata();
  const auto id = metadata.find("x-request-id");
  if (id != metadata.end()) {
    error.SetPayload(kRequestIdPayload,
                     absl::Cord(absl::string_view(id->second.data(), id->second.size())));
  }
  return error;
}

std::string RequestId(const absl::Status& status) {
  const auto id = status.GetPayload(kRequestIdPayload);
  return id ? std::string(*id) : "";
}

void Connection::Prepare(absl::Time deadline, grpc::ClientContext* context) const {
  if (deadline != absl::InfiniteFuture()) context->set_deadline(absl::ToChronoTime(deadline));
  if (options_.api_key.empty()) return;
  context->AddMetadata("authorization", PrintableAscii("Bearer " + options_.api_key));
}

absl::Time DeadlineAfter(absl::Duration timeout) {
  return timeout == absl::InfiniteDuration() ? absl::InfiniteFuture() : absl::Now() + timeout;
}

}  // namespace vexact::client

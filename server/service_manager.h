// What systemd is told about the state of the process.
#pragma once

#include <string_view>

namespace vexact::server {

// Sends a state, such as "READY=1", to the socket that the environment variable NOTIFY_SOCKET
// names, as sd_notify(3) describes. Without one, and when nobody listens there, it does nothing.
void TellServiceManager(std::string_view state);

}  // namespace vexact::server

// The command `vexact`.
#include "absl/synchronization/mutex.h"
#include "client/command/command.h"

int main(int argc, char** argv) {
  // Debian's Abseil looks for deadlocks at each of gRPC's locks; `vexact bench` would measure that.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  return vexact::client::RunProgram(argc, argv, VEXACT_VERSION);
}

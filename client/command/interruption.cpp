#include "client/command/interruption.h"

#include <csignal>
#include <initializer_list>

namespace vexact::client {
namespace {

volatile std::sig_atomic_t interrupted = 0;

void Remember(int) { interrupted = 1; }

void Handle(void (*handler)(int), unsigned flags) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = static_cast<int>(flags);
  sigemptyset(&action.sa_mask);
  for (int signal : {SIGINT, SIGTERM}) sigaction(signal, &action, nullptr);
}

}  // namespace

InterruptionGuard::InterruptionGuard() {
  interrupted = 0;
  Handle(Remember, SA_RESETHAND);
}

InterruptionGuard::~InterruptionGuard() { Handle(SIG_DFL, 0); }

bool Interrupted() { return interrupted != 0; }

}  // namespace vexact::client

#include "client/command/interruption.h"

#include <limits.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstring>
#include <initializer_list>

namespace vexact::client {
namespace {

volatile std::sig_atomic_t interrupted = 0;
// Written while no handler is set.
std::array<char, PATH_MAX> unfinished_path = {};

void Remember(int number) {
  if (interrupted == 0) {
    interrupted = 1;
    return;
  }
  if (unfinished_path[0] != '\0') (void)unlink(unfinished_path.data());
  signal(number, SIG_DFL);
  raise(number);  // which comes when this handler has returned
}

void Handle(void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  sigemptyset(&action.sa_mask);
  for (int number : {SIGINT, SIGTERM}) sigaction(number, &action, nullptr);
}

}  // namespace

InterruptionGuard::InterruptionGuard(const std::string& unfinished) {
  interrupted = 0;
  // A path that is too long names no file.
  const bool fits = unfinished.size() < unfinished_path.size();
  std::strcpy(unfinished_path.data(), fits ? unfinished.c_str() : "");
  Handle(Remember);
}

InterruptionGuard::~InterruptionGuard() { Handle(SIG_DFL); }

bool Interrupted() { return interrupted != 0; }

}  // namespace vexact::client

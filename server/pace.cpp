#include "server/pace.h"

#include <sched.h>

namespace vexact::server {

void SetPace(Pace pace) {
  // Whoever started the server may have chosen a policy for all of it.
  thread_local const bool may_choose = sched_getscheduler(0) == SCHED_OTHER;
  thread_local Pace current = Pace::kAtOnce;
  if (!may_choose || pace == current) return;
  const sched_param parameter{};
  sched_setscheduler(0, pace == Pace::kAtOnce ? SCHED_OTHER : SCHED_BATCH, &parameter);
  current = pace;
}

}  // namespace vexact::server

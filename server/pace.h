// How a thread gets its share of the processors.
#pragma once

namespace vexact::server {

enum class Pace {
  kAtOnce,  // as usual: what wakes it lets it run, in place of a thread that computes
  kInTurn,  // when that thread's turn is over, some milliseconds later
};

// Of the calling thread, from now on, where the system lets it choose.
void SetPace(Pace pace);

}  // namespace vexact::server

// The tables themselves, for select.cpp alone. A table may only be entered on a CPU that has its
// instructions.
#pragma once

#include "core/kernel/kernel.h"

namespace vexact {

extern const Kernel kPortableKernel;
extern const Kernel kAvx2Kernel;
extern const Kernel kAvx512VnniKernel;
extern const Kernel kNeonKernel;

}  // namespace vexact

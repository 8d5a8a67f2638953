// The command `vexact`.
#include "client/command/command.h"

int main(int argc, char** argv) { return vexact::client::RunProgram(argc, argv, VEXACT_VERSION); }

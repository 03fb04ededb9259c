// Signals as requests that long work looks at.
//
// SIGINT, SIGTERM and SIGHUP ask it to save and stop, SIGUSR1 to save and go on. They never end the program by
// themselves, however often they come, so that nothing kills a save; SIGQUIT and SIGKILL do.
#pragma once

#include "engine/requests.h"

namespace densetree::tools {

inline constexpr int kInterrupted = 130;  // exit status

// From its first call on, signals are requests; before, they end the program. SIGHUP stays ignored under nohup. A pipe
// that nobody reads any more is no signal either, but a failed write.
Requests& requests();
// Whether a command stopped before its end because it was asked to: set by the command, for the exit status.
void set_interrupted();
bool interrupted();

}  // namespace densetree::tools

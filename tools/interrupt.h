// SIGINT and SIGTERM as a flag that long work looks at: it saves what it has and returns.
#pragma once

#include <atomic>

namespace densetree::tools {

inline constexpr int kInterrupted = 130;

// Installs the handlers, once. A second signal ends the program at once.
std::atomic<bool>& stop_flag();
bool interrupted();  // a signal has come; false where stop_flag() was never called

}  // namespace densetree::tools

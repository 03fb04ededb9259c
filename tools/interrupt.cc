#include "tools/interrupt.h"

#include <csignal>

namespace densetree::tools {
namespace {

Requests asked;
bool stopped = false;

extern "C" void on_signal(int signal) {
  (signal == SIGUSR1 ? asked.save : asked.stop) = true;
}

void handle(int signal, void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigaction(signal, &action, nullptr);
}

bool is_ignored(int signal) {
  struct sigaction action {};
  return sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

}  // namespace

Requests& requests() {
  for (const int signal : {SIGINT, SIGTERM, SIGUSR1}) {
    handle(signal, on_signal);
  }
  if (!is_ignored(SIGHUP)) {
    handle(SIGHUP, on_signal);
  }
  handle(SIGPIPE, SIG_IGN);
  return asked;
}

void set_interrupted() {
  stopped = true;
}

bool interrupted() {
  return stopped;
}

}  // namespace densetree::tools

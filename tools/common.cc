#include <csignal>
#include <cstdlib>
#include <iostream>

#include "tools/commands.h"
#include "tools/interrupt.h"

namespace densetree::tools {
namespace {

std::atomic<bool> stop{false};
static_assert(std::atomic<bool>::is_always_lock_free);

extern "C" void on_signal(int) {
  if (stop.exchange(true)) {
    std::_Exit(kInterrupted);
  }
}

}  // namespace

std::atomic<bool>& stop_flag() {
  std::signal(SIGINT, on_signal);
  std::signal(SIGTERM, on_signal);
  return stop;
}

bool interrupted() {
  return stop;
}

std::unique_ptr<Device> Common::open_device() const {
  std::unique_ptr<Device> opened = make_device(device, threads);
  if (device == "auto") {
    const DeviceInfo info = opened->info();
    std::cerr << "device: " << info.name << " (" << info.hardware << ", " << info.threads << " threads)\n";
  }
  return opened;
}

void add_common(CLI::App& app, Common& common) {
  app.add_option("--device", common.device, "auto, cpu, cuda or cuda:N")->capture_default_str();
  app.add_option("--threads", common.threads, "CPU threads; 0: all cores")->check(CLI::NonNegativeNumber);
  app.add_option("--seed", common.seed, "for everything that is drawn")->capture_default_str();
  app.add_flag("--json", common.json, "machine-readable standard output");
}

}  // namespace densetree::tools

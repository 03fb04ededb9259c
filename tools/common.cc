#include <fmt/format.h>

#include <charconv>
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <limits>

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

CLI::Validator seed_range() {
  static constexpr std::int64_t kLargest = std::numeric_limits<std::int64_t>::max();
  return {[](std::string& text) -> std::string {
            std::int64_t seed = -1;  // CLI11 wraps and saturates
            const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), seed);
            return fault == std::errc() && end == text.data() + text.size() && seed >= 0
                       ? ""
                       : fmt::format("a seed is a whole number from 0 to {}, not {}", kLargest, text);
          },
          fmt::format("0 - {}", kLargest)};
}

void add_common(CLI::App& app, Common& common) {
  app.add_option("--device", common.device, "auto, cpu, cuda or cuda:N")->capture_default_str();
  app.add_option("--threads", common.threads, "CPU threads; 0: all cores")->check(CLI::NonNegativeNumber);
  app.add_option("--seed", common.seed, "for everything that is drawn")->check(seed_range())->capture_default_str();
  app.add_flag("--json", common.json, "machine-readable standard output");
}

}  // namespace densetree::tools

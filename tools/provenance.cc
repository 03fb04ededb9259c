#include "tools/provenance.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <ctime>

namespace densetree::tools {

namespace {

std::string& command_line() {
  static std::string text;
  return text;
}

}  // namespace

void remember_command_line(int argc, char** argv) {
  command_line() = fmt::format("densetree {}", fmt::join(argv + (argc > 0 ? 1 : 0), argv + argc, " "));
}

std::vector<std::pair<std::string, std::string>> provenance(const Common& common, const Device& device) {
  const DeviceInfo info = device.info();
  return {{"command", command_line()},
          {"version", "densetree " DENSETREE_VERSION},
          {"device", fmt::format("{} ({})", info.name, info.hardware)},
          {"seed", fmt::format("{}", common.seed)},
          {"date", fmt::format("{:%Y-%m-%d %H:%M} UTC", fmt::gmtime(std::time(nullptr)))}};
}

}  // namespace densetree::tools

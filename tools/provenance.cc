#include "tools/provenance.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <ctime>

namespace densetree::tools {

namespace {

std::string& command_line() {
  static std::string text;
  return text;
}

}  // namespace

std::string shell_quoted(const std::string& argument) {
  constexpr std::string_view kPlain = "_@%+=:,./-";
  const bool plain = !argument.empty() && std::all_of(argument.begin(), argument.end(), [&](unsigned char c) {
    return std::isalnum(c) != 0 || kPlain.find(static_cast<char>(c)) != std::string_view::npos;
  });
  if (plain) {
    return argument;
  }
  std::string quoted = "'";
  for (const char c : argument) {
    quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  }
  return quoted + "'";
}

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

#include <fmt/format.h>

#include <iostream>
#include <nlohmann/json.hpp>

#include "engine/io/json.h"
#include "tools/commands.h"

namespace densetree::tools {
namespace {

void run(const Common& common) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const DeviceStatus& status : list_devices()) {
    if (common.json) {
      list.push_back({{"name", status.name}, {"available", status.available}, {"detail", status.detail}});
    } else {
      std::cout << fmt::format("{:8} {:14} {}\n", status.name, status.available ? "available" : "not available",
                               status.detail);
    }
  }
  if (common.json) {
    std::cout << json_text(list, 2) << '\n';
  }
}

}  // namespace

void add_devices(CLI::App& app, const Common& common) {
  auto* command = app.add_subcommand("devices", "what it can run on, and why not on the rest");
  command->callback([&common] { run(common); });
}

}  // namespace densetree::tools

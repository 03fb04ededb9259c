// Settings (engine/io/settings.h) as options of a command.
#pragma once

#include <CLI/CLI.hpp>

#include <string>
#include <vector>

#include "engine/io/settings.h"
#include "kernels/core/error.h"

namespace densetree::tools {

// What --help shows for a value: "{fp32,tf32,bf16}", "NUMBER (0 to 1)".
std::string value_shown(const Limits& limits, const char* kind);
std::string value_shown(const std::vector<std::string>& names);

// An option --name that sets `value`, which must outlive the command.
template <class T>
CLI::Option* add_setting(CLI::App& command, T& value, const Setting& setting) {
  const auto set = [&value, setting](const std::string& text) {
    try {
      set_from_text(value, text, setting, std::string("--") + setting.name);
    } catch (const Error& e) {
      throw CLI::ValidationError(e.what());  // wrong usage
    }
  };
  CLI::Option* option = command.add_option_function<std::string>(std::string("--") + setting.name, set, setting.help);
  if constexpr (Named<T>) {
    option->type_name(value_shown(names_of<T>()));
  } else if constexpr (std::same_as<T, bool>) {
    option->type_name(value_shown({"true", "false"}));
  } else if constexpr (kIsNumber<T>) {
    option->type_name(value_shown(setting.limits, std::floating_point<T> ? "NUMBER" : "WHOLE NUMBER"));
  }
  return option->default_str(setting_text(value));
}

// An option for each setting, which sets its field of `options`; these must outlive the command.
template <class Options>
std::vector<CLI::Option*> add_settings(CLI::App& command, Options& options) {
  std::vector<CLI::Option*> added;
  Options::settings(
      options, [&](auto& value, const Setting& setting) { added.push_back(add_setting(command, value, setting)); });
  return added;
}

}  // namespace densetree::tools

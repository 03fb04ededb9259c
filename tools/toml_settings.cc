#include "tools/toml_settings.h"

#include "engine/io/nearest_name.h"
#include "engine/io/toml.h"
#include "kernels/core/error.h"
#include "tools/commands.h"

namespace densetree::tools {
namespace {

namespace fs = std::filesystem;

// "; did you mean 'lr'?", or nothing, for an option of the command: by its name, or because its help speaks of it
// ("learning rate").
std::string guess_option(const CLI::App& command, const std::string& name, const std::vector<std::string>& known) {
  if (const std::string by_name = did_you_mean(name, known); !by_name.empty()) {
    return by_name;
  }
  constexpr std::size_t kShortest = 4;  // shorter words stand in many texts
  std::string words = " " + name + " ";
  std::replace_if(
      words.begin(), words.end(), [](char c) { return c == '-' || c == '_'; }, ' ');
  for (const std::string& one : known) {
    const CLI::Option* option = command.get_option_no_throw("--" + one);
    const std::string help = option != nullptr ? " " + option->get_description() + " " : "";
    if (name.size() >= kShortest && help.find(words) != std::string::npos) {
      return fmt::format("; did you mean '{}'?", one);
    }
  }
  return "";
}

// The options of a command that a file may set, by name without dashes.
std::vector<std::string> settings_of(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options()) {
    if (option->get_configurable()) {  // not --help, nor --config itself
      names.push_back(option->get_lnames().empty() ? option->get_name() : option->get_lnames().front());
    }
  }
  return names;
}

bool holds(const std::vector<std::string>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

class Reader {
 public:
  Reader(CLI::App& app, const fs::path& file) : app_(app), source_(file.string()) {}

  std::vector<CLI::ConfigItem> read() {
    const toml::table table = read_toml(source_);
    for (const auto& [key, value] : table) {
      if (const toml::table* section = value.as_table()) {
        read_section(std::string(key.str()), *section);
      } else {
        read_setting(app_, "", std::string(key.str()), value);
      }
    }
    return std::move(items_);
  }

 private:
  void read_section(const std::string& name, const toml::table& section) {
    CLI::App* command = nullptr;
    std::vector<std::string> known;
    for (CLI::App* one : app_.get_subcommands([](CLI::App*) { return true; })) {
      known.push_back(one->get_name());
      command = one->get_name() == name ? one : command;
    }
    if (command == nullptr) {
      fail("{}: there is no section [{}]{}; there are {}", place_of(section, source_), name, did_you_mean(name, known),
           fmt::join(known, ", "));
    }
    for (const auto& [key, value] : section) {
      read_setting(*command, name, std::string(key.str()), value);
    }
  }

  void read_setting(CLI::App& command, const std::string& section, const std::string& key, const toml::node& value) {
    const std::string where = place_of(value, source_);
    if (const std::vector<std::string> known = settings_of(command); !holds(known, key)) {
      refuse(command, section, key, where, known);
    }
    CLI::Option* option = command.get_option_no_throw("--" + key);
    const toml::array* list = value.as_array();
    const bool takes_many = option == nullptr || option->get_expected_max() > 1;
    check(list == nullptr || takes_many, "{}: '{}' takes one value, not a list", where, key);
    CLI::ConfigItem item;
    if (!section.empty()) {
      item.parents = {section};
    }
    item.name = key;
    if (list != nullptr) {
      for (const toml::node& one : *list) {
        item.inputs.push_back(literal(text_of(one, source_, key)));
      }
    } else {
      item.inputs = {literal(text_of(value, source_, key))};
    }
    if (option != nullptr && option->count() == 0) {
      try_values(*option, item.inputs, where, key);
    }
    items_.push_back(std::move(item));
  }

  // Has the option take the values once, so that what is wrong with one is said with its line.
  static void try_values(CLI::Option& option, const std::vector<std::string>& values, const std::string& where,
                         const std::string& key) {
    if (option.get_items_expected_max() == 0) {
      check(values.front() == "true" || values.front() == "false", "{}: '{}' is {}; it must be true or false", where,
            key, values.front());
      return;
    }
    try {
      for (const std::string& value : values) {
        option.add_result(value);
      }
      option.run_callback();
    } catch (const CLI::Error& e) {
      option.clear();
      fail("{}: {}", where, e.what());
    }
    option.clear();
  }

  [[noreturn]] void refuse(const CLI::App& command, const std::string& section, const std::string& key,
                           const std::string& where, const std::vector<std::string>& known) const {
    if (!section.empty()) {
      const bool above = holds(settings_of(app_), key);
      fail("{}: [{}] has no setting '{}'{}", where, section, key,
           above ? "; it stands above all sections" : guess_option(command, key, known));
    }
    std::string sections;
    for (const CLI::App* one : app_.get_subcommands({})) {
      if (holds(settings_of(*one), key)) {
        sections += fmt::format("{}[{}]", sections.empty() ? "" : ", ", one->get_name());
      }
    }
    fail("{}: no setting '{}' stands outside of sections{}", where, key,
         sections.empty() ? did_you_mean(key, known) : "; it belongs to " + sections);
  }

  CLI::App& app_;
  std::string source_;
  std::vector<CLI::ConfigItem> items_;
};

}  // namespace

std::vector<CLI::ConfigItem> TomlSettings::from_config(std::istream&) const {
  return Reader(app_, app_.get_config_ptr()->as<std::string>()).read();
}

}  // namespace densetree::tools

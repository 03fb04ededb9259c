// --config: settings from a TOML file, checked against what the program knows.
#pragma once

#include <CLI/CLI.hpp>

#include <iosfwd>
#include <vector>

namespace densetree::tools {

// The settings of a file: those at its top are the program's, those of a section [train] the subcommand's. Throws Error
// naming file and line: what is no TOML, a section or key that the program does not have (with the nearest that it
// has), a date or a table as a value, a list where one value belongs, a value that the setting cannot have. Values
// that the command line overrides are not looked at.
//
// app.config_formatter(std::make_shared<TomlSettings>(app)).
class TomlSettings final : public CLI::ConfigTOML {
 public:
  explicit TomlSettings(CLI::App& app) : app_(app) {}
  std::vector<CLI::ConfigItem> from_config(std::istream&) const override;

 private:
  CLI::App& app_;
};

}  // namespace densetree::tools

// Refuses outputs that are inputs, and files that this command did not write, before work begins.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <map>
#include <utility>

#include "tools/commands.h"

namespace densetree::tools {

void add_replace_flag(CLI::App& command, bool& replace);

class Outputs {
 public:
  Outputs(const Common& common, bool replace);

  // Files that the command reads; --config's is one of every command's. Empty paths are passed over.
  void read(const std::filesystem::path& file);
  void read_run(const std::filesystem::path& run);
  void read_data(const std::filesystem::path& data);

  // Throws Error where `file` is one of these; or where it is there, made_here(file) is false and replace is off.
  void write(const std::filesystem::path& file,
             const std::function<bool(const std::filesystem::path&)>& made_here) const;

 private:
  bool replace_;
  std::map<std::pair<dev_t, ino_t>, std::filesystem::path> inputs_;  // by what they are, whatever they are called
};

}  // namespace densetree::tools

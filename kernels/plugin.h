// Plugins: what needs libraries that not every machine has is a shared object of its own, libdensetree_<name>.so, which
// is loaded when it is first asked for. A process that never asks needs none of those libraries.
//
// A plugin exports one symbol, densetree_plugin. It shares C++ classes with what loads it, so both are of one build.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace densetree {

struct Plugin {
  const char* build;      // the project's version, and a hash of the headers of kernels/, compiler, flags and libfmt
  const void* functions;  // a table, of a type that both sides know
};

// Folders that may hold plugins: the one that DENSETREE_PLUGINS names, where that is set, and no other. Else densetree/
// beside the library that this function is part of, or in ../lib beside a program; where this build is installed by
// default; and in /usr/lib. A program with rights that its caller lacks does not look at DENSETREE_PLUGINS.
std::vector<std::filesystem::path> plugin_folders();

// A plugin's file; empty, and why in *why_not, where it is in none of these folders.
std::filesystem::path find_plugin(const std::string& name, std::string* why_not);

// The table of the plugin in such a file, which stays loaded; null, and why in *why_not, where that fails.
const void* load_plugin(const std::filesystem::path& file, std::string* why_not);

}  // namespace densetree

// How a result was made: command line, version, device, date.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tools/commands.h"

namespace densetree::tools {

// Keeps the command line for provenance().
void remember_command_line(int argc, char** argv);

// An argument as a shell takes it, in quotes where it needs them.
std::string shell_quoted(const std::string& argument);

std::vector<std::pair<std::string, std::string>> provenance(const Common& common, const Device& device);

}  // namespace densetree::tools

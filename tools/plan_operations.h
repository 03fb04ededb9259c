// What `plan --operations` shows: each step of a program, what computes it, and why nothing faster does.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "engine/tape.h"

namespace densetree::tools {

// An array of {"phase", "layer", "operation", "shapes", "implementation", "refused": [{"implementation", "reason"}]}.
// The implementation is "own" where the device has only one.
nlohmann::ordered_json operations_of(const Tape& tape);
// The same, a line each.
std::string operations_table(const Tape& tape);

}  // namespace densetree::tools

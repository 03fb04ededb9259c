// A drawing of a memory plan: every buffer a rectangle, from the step that first uses it to the last, and from where it
// begins in memory to where it ends.
#pragma once

#include <cstddef>
#include <string>

#include "engine/planner.h"

namespace densetree::tools {

// An SVG file that stands by itself. `title` is text, not markup. Steps before `forward_steps` are forward.
std::string draw_plan(const Planner& planner, const std::string& title, std::size_t forward_steps);

}  // namespace densetree::tools

#include "tools/plan_operations.h"

#include <fmt/format.h>

namespace densetree::tools {
namespace {

std::string implementation_of(const Step& step) {
  const std::string name = step.kernel->implementation();
  return name.empty() ? "own" : name;
}

}  // namespace

nlohmann::ordered_json operations_of(const Tape& tape) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Step& step : tape.steps()) {
    nlohmann::ordered_json refused = nlohmann::ordered_json::array();
    for (const Refusal& refusal : step.refusals) {
      refused.push_back({{"implementation", refusal.implementation}, {"reason", refusal.reason}});
    }
    list.push_back({{"phase", name_of(step.phase)},
                    {"layer", step.name},
                    {"operation", name_of(step.operation)},
                    {"shapes", describe(step.operation)},
                    {"implementation", implementation_of(step)},
                    {"refused", refused}});
  }
  return list;
}

std::string operations_table(const Tape& tape) {
  std::string text = fmt::format("{:>5} {:9} {:44} {:27} {:48} {}\n", "step", "phase", "layer", "operation", "shapes",
                                 "implementation; refused before it");
  int index = 0;
  for (const Step& step : tape.steps()) {
    text += fmt::format("{:>5} {:9} {:44} {:27} {:48} {}", index++, name_of(step.phase), step.name,
                        name_of(step.operation), describe(step.operation), implementation_of(step));
    for (const Refusal& refusal : step.refusals) {
      text += fmt::format("; {}: {}", refusal.implementation, refusal.reason);
    }
    text += '\n';
  }
  return text;
}

}  // namespace densetree::tools

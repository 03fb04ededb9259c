#include "tools/setting_options.h"

#include <fmt/format.h>

namespace densetree::tools {

std::string value_shown(const Limits& limits, const char* kind) {
  const std::string text = limits.describe();
  return text.empty() ? kind : fmt::format("{} ({})", kind, text);
}

std::string value_shown(const std::vector<std::string>& names) {
  return fmt::format("{{{}}}", fmt::join(names, ","));
}

}  // namespace densetree::tools

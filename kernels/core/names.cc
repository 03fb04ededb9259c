#include "kernels/core/names.h"

#include "kernels/core/error.h"

namespace densetree {

void fail_unknown_name(std::string_view text, const char* of, const std::vector<std::string>& names,
                       const std::string& where) {
  fail("{}{}{} '{}' is unknown; use {}", where, where.empty() ? "" : ": ", of, text, listed(names));
}

void fail_nameless(int value, const char* of) {
  fail("{} {} has no name", of, value);
}

std::string listed(const std::vector<std::string>& names, const char* last) {
  std::string text;
  for (std::size_t i = 0; i < names.size(); ++i) {
    text += i == 0 ? "" : i + 1 < names.size() ? ", " : fmt::format(" {} ", last);
    text += names[i];
  }
  return text;
}

}  // namespace densetree

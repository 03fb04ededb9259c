#include "engine/io/toml.h"

#include "engine/io/file.h"
#include "engine/io/json.h"
#include "kernels/core/error.h"

namespace densetree {

toml::table parse_toml(std::string_view text, const std::string& source) {
  try {
    return toml::parse(text, source);
  } catch (const toml::parse_error& e) {
    fail("{}:{}: {}", source, e.source().begin.line, e.description());
  }
}

toml::table read_toml(const std::filesystem::path& file) {
  return parse_toml(read_file(file), file.string());
}

std::string place_of(const toml::node& value, const std::string& source) {
  return fmt::format("{}:{}", source, value.source().begin.line);
}

std::string text_of(const toml::node& value, const std::string& source, std::string_view key) {
  if (const auto text = value.value_exact<std::string>()) {
    return *text;
  }
  if (const auto number = value.value_exact<std::int64_t>()) {
    return fmt::format("{}", *number);
  }
  if (const auto number = value.value_exact<double>()) {
    const std::string text = fmt::format("{}", *number);
    return text.find_first_not_of("-0123456789") == std::string::npos ? text + ".0" : text;  // no whole number
  }
  if (const auto truth = value.value_exact<bool>()) {
    return *truth ? "true" : "false";
  }
  fail("{}: '{}' must be a text, a number, true or false, or a list of these", place_of(value, source), key);
}

// JSON quotes as TOML does, but for one character.
std::string toml_string(const std::string& text) {
  std::string quoted = json_text(text);
  for (std::size_t at = 0; (at = quoted.find('\x7F', at)) != std::string::npos;) {
    quoted.replace(at, 1, "\\u007F");
  }
  return quoted;
}

}  // namespace densetree

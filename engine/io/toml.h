// TOML (toml++) with errors that name file and line.
#pragma once

#include <toml++/toml.h>

#include <filesystem>
#include <string>
#include <string_view>

namespace densetree {

// Throws Error, "config.toml:3: …", where the text is no TOML.
toml::table parse_toml(std::string_view text, const std::string& source);
toml::table read_toml(const std::filesystem::path& file);

std::string place_of(const toml::node& value, const std::string& source);  // "config.toml:3"

// A text, number or truth as a flag takes it. Throws Error, opened by its place and naming the key, for other values.
std::string text_of(const toml::node& value, const std::string& source, std::string_view key);

// Text in quotes. Bytes that are no UTF-8 become U+FFFD: TOML cannot hold them.
std::string toml_string(const std::string& text);

}  // namespace densetree

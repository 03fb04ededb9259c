// Text from files that people and spreadsheets make: its encoding, blanks around what is meant, and numbers.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace densetree {

// A text file's contents as UTF-8 without a byte-order mark; UTF-16 is known by its mark. Throws Error, naming
// `source`, on UTF-16 that is cut or broken, on NUL bytes, and on gzip or zip archives, which are no text.
std::string utf8_text(std::string_view bytes, const std::string& source);

// Lines without their ends, which may be LF, CRLF or CR. The views are of `text`.
std::vector<std::string_view> lines_of(std::string_view text);

// Without the spaces and tabs around it.
std::string_view without_blanks(std::string_view text);

// A decimal number as 0.5, .5, +5E-1 with blanks around it, whatever the locale; nothing where there is anything else.
// What is too small for a double is 0, and 0 has no sign; what is too large is infinite.
std::optional<double> parse_number(std::string_view text);

}  // namespace densetree

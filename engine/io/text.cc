#include "engine/io/text.h"

#include <algorithm>
#include <charconv>
#include <clocale>
#include <cstdint>
#include <cstdlib>

#include "kernels/core/error.h"

namespace densetree {
namespace {

void append_utf8(std::uint32_t point, std::string& text) {
  const auto byte = [&](std::uint32_t value) { text += static_cast<char>(value); };
  const auto tail = [&](int shift) { byte(0x80 | (point >> shift & 0x3f)); };
  if (point < 0x80) {
    byte(point);
  } else if (point < 0x800) {
    byte(0xc0 | point >> 6), tail(0);
  } else if (point < 0x10000) {
    byte(0xe0 | point >> 12), tail(6), tail(0);
  } else {
    byte(0xf0 | point >> 18), tail(12), tail(6), tail(0);
  }
}

// bytes: behind the byte-order mark.
std::string from_utf16(std::string_view bytes, bool big_endian, const std::string& source) {
  check(bytes.size() % 2 == 0, "{}: is UTF-16 with half a character at its end; save it again, best as UTF-8", source);
  const auto unit = [&](std::size_t at) {
    const auto first = static_cast<unsigned char>(bytes[at]), second = static_cast<unsigned char>(bytes[at + 1]);
    return static_cast<std::uint32_t>(big_endian ? first << 8 | second : second << 8 | first);
  };
  std::string text;
  for (std::size_t at = 0; at < bytes.size(); at += 2) {
    std::uint32_t point = unit(at);
    if (point >= 0xd800 && point < 0xe000) {  // a pair stands for one character
      const std::uint32_t second = at + 2 < bytes.size() ? unit(at + 2) : 0;
      check(point < 0xdc00 && second >= 0xdc00 && second < 0xe000,
            "{}: is broken UTF-16: half a pair at byte {}; save it again, best as UTF-8", source, at + 2);
      point = 0x10000 + ((point - 0xd800) << 10) + (second - 0xdc00);
      at += 2;
    }
    append_utf8(point, text);
  }
  return text;
}

}  // namespace

std::string utf8_text(std::string_view bytes, const std::string& source) {
  check(!bytes.starts_with("\x1f\x8b"), "{}: is gzipped; its name must end in .gz", source);
  check(!bytes.starts_with("PK\x03\x04"), "{}: is a zip archive or a spreadsheet's own format; save it as CSV", source);
  std::string text;
  if (bytes.starts_with("\xff\xfe") || bytes.starts_with("\xfe\xff")) {
    text = from_utf16(bytes.substr(2), bytes.starts_with("\xfe"), source);
  } else {
    text = bytes.substr(bytes.starts_with("\xef\xbb\xbf") ? 3 : 0);
  }
  const std::size_t nul = text.find('\0');
  check(nul == std::string::npos, "{}:{}: has a NUL byte; it must be text in UTF-8, or in UTF-16 with its mark", source,
        1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(std::min(nul, text.size())), '\n'));
  return text;
}

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find_first_of("\r\n"), text.size());
    lines.push_back(text.substr(0, end));
    text.remove_prefix(end);
    text.remove_prefix(text.starts_with("\r\n") ? 2 : text.empty() ? 0 : 1);
  }
  return lines;
}

std::string_view without_blanks(std::string_view text) {
  constexpr std::string_view kBlanks = " \t";
  const std::size_t begin = text.find_first_not_of(kBlanks);
  return begin == std::string_view::npos ? "" : text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

std::optional<double> parse_number(std::string_view text) {
  text = without_blanks(text);
  if (text.starts_with('+') && !text.starts_with("+-")) {
    text.remove_prefix(1);
  }
  if (text.find_first_not_of("+-.0123456789eE") != std::string_view::npos) {  // from_chars takes nan and inf
    return std::nullopt;
  }
  double value = 0;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (end != text.data() + text.size() || fault == std::errc::invalid_argument) {
    return std::nullopt;
  }
  if (fault == std::errc::result_out_of_range) {                           // strtod tells too small from too large
    static const locale_t plain = ::newlocale(LC_ALL_MASK, "C", nullptr);  // a host program's may have decimal commas
    value = ::strtod_l(std::string(text).c_str(), nullptr, plain);
  }
  return value == 0 ? 0.0 : value;
}

}  // namespace densetree

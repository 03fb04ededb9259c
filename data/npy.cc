// The header is a Python dictionary literal of three keys, parsed as strictly as NumPy does.
#include "data/npy.h"

#include <cctype>
#include <charconv>
#include <optional>

#include "kernels/core/error.h"

namespace densetree::data {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";

// Reads the literal from the left; every fault names the source.
class Literal {
 public:
  Literal(std::string_view text, const std::string& source) : rest_(text), source_(source) {}

  bool take(char c) {
    skip_blanks();
    const bool found = !rest_.empty() && rest_.front() == c;
    if (found) {
      rest_.remove_prefix(1);
    }
    return found;
  }
  void expect(char c) { check(take(c), "{}: damaged NumPy header: '{}' is missing", source_, c); }

  std::string string() {
    expect('\'');
    const std::size_t end = rest_.find('\'');
    check(end != std::string_view::npos, "{}: damaged NumPy header: a string does not end", source_);
    std::string value(rest_.substr(0, end));
    rest_.remove_prefix(end + 1);
    return value;
  }
  bool boolean() {
    skip_blanks();
    for (const std::string_view word : {std::string_view("True"), std::string_view("False")}) {
      if (rest_.starts_with(word)) {
        rest_.remove_prefix(word.size());
        return word == "True";
      }
    }
    fail("{}: damaged NumPy header: fortran_order is neither True nor False", source_);
  }
  std::vector<std::int64_t> tuple() {
    std::vector<std::int64_t> values;
    expect('(');
    while (!take(')')) {
      skip_blanks();
      std::int64_t value = -1;
      const auto [end, fault] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), value);
      check(fault == std::errc() && value >= 0, "{}: damaged NumPy header: the shape holds no whole number", source_);
      rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
      values.push_back(value);
      if (!take(',')) {
        expect(')');
        break;
      }
    }
    return values;
  }
  bool at_end() {
    skip_blanks();
    return rest_.empty();
  }

 private:
  void skip_blanks() {
    while (!rest_.empty() && std::isspace(static_cast<unsigned char>(rest_.front()))) {
      rest_.remove_prefix(1);
    }
  }
  std::string_view rest_;
  const std::string& source_;
};

}  // namespace

NpyHeader parse_npy_header(std::span<const std::byte> file, const std::string& source) {
  const std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
  check(text.starts_with(kMagic) && text.size() >= 12, "{}: not a NumPy array file", source);
  const int major = static_cast<unsigned char>(text[6]);
  check(major >= 1 && major <= 3, "{}: NumPy format {} is not known; formats 1 to 3 are", source, major);
  const std::size_t length_bytes = major == 1 ? 2 : 4, begin = 8 + length_bytes;
  std::size_t length = 0;
  for (std::size_t i = 0; i < length_bytes; ++i) {
    length |= static_cast<std::size_t>(static_cast<unsigned char>(text[8 + i])) << (8 * i);
  }
  check(length <= text.size() - begin, "{}: cut short inside the NumPy header: {} bytes are there, {} should be",
        source, text.size(), begin + length);

  NpyHeader header{begin + length, {}, {}};
  std::optional<bool> fortran;
  bool descr = false, shape = false;
  Literal literal(text.substr(begin, length), source);
  literal.expect('{');
  while (!literal.take('}')) {
    const std::string key = literal.string();
    literal.expect(':');
    if (key == "descr" && !descr) {
      header.descr = literal.string(), descr = true;
    } else if (key == "fortran_order" && !fortran) {
      fortran = literal.boolean();
    } else if (key == "shape" && !shape) {
      header.shape = literal.tuple(), shape = true;
    } else {
      fail("{}: damaged NumPy header: key '{}' is unknown or repeated", source, key);
    }
    if (!literal.take(',')) {
      literal.expect('}');
      break;
    }
  }
  check(literal.at_end() && descr && shape && fortran.has_value(), "{}: damaged NumPy header", source);
  check(!*fortran, "{}: the array is in Fortran order; images are stored in C order", source);
  return header;
}

std::string npy_header(std::string_view descr, std::span<const std::size_t> shape) {
  std::string text = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}{}), }}", descr,
                                 fmt::join(shape, ", "), shape.size() == 1 ? "," : "");
  const std::size_t begin = 10;  // magic, version, length
  text.append(63 - (begin + text.size()) % 64, ' ');
  text += '\n';
  std::string header("\x93NUMPY\x01\x00", 8);
  header += static_cast<char>(text.size() & 0xFF);
  header += static_cast<char>(text.size() >> 8);
  return header + text;
}

}  // namespace densetree::data

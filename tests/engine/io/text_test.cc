#include "engine/io/text.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/error_of.h"

namespace densetree {
namespace {

using namespace std::string_literals;

// ASCII and characters of two, three and four bytes.
const std::string kText = "a,b\n\xc3\xa9\xe2\x82\xac\xf0\x9f\xab\x81\n";
const std::string kUnits = "\0a\0,\0b\0\n\0\xe9\x20\xac\xd8\x3e\xde\xc1\0\n"s;  // UTF-16, high byte first

std::string swapped(std::string units) {
  for (std::size_t at = 0; at + 1 < units.size(); at += 2) std::swap(units[at], units[at + 1]);
  return units;
}

TEST(Utf8Text, TakesMarksOff) {
  EXPECT_EQ(utf8_text(kText, "t"), kText);
  EXPECT_EQ(utf8_text("\xef\xbb\xbf" + kText, "t"), kText);
  EXPECT_EQ(utf8_text("\xfe\xff" + kUnits, "t"), kText);
  EXPECT_EQ(utf8_text("\xff\xfe" + swapped(kUnits), "t"), kText);
  EXPECT_EQ(utf8_text("", "t"), "");
  EXPECT_EQ(utf8_text("\xff\xfe", "t"), "");
}

TEST(Utf8Text, RefusesWhatIsNoText) {
  const auto message = [](const std::string& bytes) { return error_of([&] { utf8_text(bytes, "t.csv"); }); };
  EXPECT_EQ(message("\xfe\xff" + kUnits + "x"),
            "t.csv: is UTF-16 with half a character at its end; save it again, best as UTF-8");
  for (const std::string& half : {"\xd8\x3e"s, "\xd8\x3e\0a"s, "\xde\xc1\0a"s, "\xd8\x3e\xd8\x3e"s}) {
    EXPECT_EQ(message("\xfe\xff\0a"s + half),
              "t.csv: is broken UTF-16: half a pair at byte 4; save it again, best as UTF-8");
  }
  const std::string nul = "has a NUL byte; it must be text in UTF-8, or in UTF-16 with its mark";
  EXPECT_EQ(message("a,b\n1,\0002\n"s), "t.csv:2: " + nul);
  EXPECT_EQ(message(kUnits), "t.csv:1: " + nul);
  EXPECT_EQ(message("\xff\xfe\0\0a\0\0\0"s), "t.csv:1: " + nul);  // UTF-32
  EXPECT_EQ(message("\x1f\x8b\x08"), "t.csv: is gzipped; its name must end in .gz");
  EXPECT_EQ(message("PK\x03\x04\x14"), "t.csv: is a zip archive or a spreadsheet's own format; save it as CSV");
}

TEST(WithoutBlanks, LeavesBlanksWithin) {
  EXPECT_EQ(without_blanks(" \ta b\t "), "a b");
  EXPECT_EQ(without_blanks("ab"), "ab");
  EXPECT_EQ(without_blanks(" \t "), "");
  EXPECT_EQ(without_blanks(""), "");
}

TEST(ParseNumber, TakesWhatIsPlainlyANumber) {
  for (const char* half : {"0.5", " 0.5", "0.5\t ", "+0.5", ".5", "+.5", "5E-1", "5e-1", "0.05e+1", "00.50"}) {
    EXPECT_EQ(parse_number(half), 0.5) << half;
  }
  EXPECT_EQ(parse_number("1."), 1);
  EXPECT_EQ(parse_number("-2"), -2);
  EXPECT_EQ(parse_number("5e-324"), std::numeric_limits<double>::denorm_min());
  EXPECT_EQ(parse_number("1e400"), std::numeric_limits<double>::infinity());
  EXPECT_EQ(parse_number("-1e400"), -std::numeric_limits<double>::infinity());
  for (const std::string& zero : {"0"s, "-0"s, "-0.0"s, "1e-400"s, "-1e-400"s, "0." + std::string(400, '0') + "1"}) {
    const std::optional<double> value = parse_number(zero);
    ASSERT_TRUE(value) << zero;
    EXPECT_EQ(*value, 0) << zero;
    EXPECT_FALSE(std::signbit(*value)) << zero;
  }
}

TEST(ParseNumber, TakesNothingElse) {
  for (const char* text :
       {"",       " ",    "+",     "-",   ".",   "e5",  "0,5", "50%", "nan", "NaN",  "-nan", "inf",  "+inf",
        "0x1p-1", "0.5x", "0.5 0", "++1", "+-1", "--1", "1_0", "1e",  "1d5", "half", "0.5f", "1e5e5"}) {
    EXPECT_FALSE(parse_number(text)) << "'" << text << "'";
  }
}

TEST(Lines, EndInThreeWays) {
  using Lines = std::vector<std::string_view>;
  EXPECT_EQ(lines_of("a\nb\r\nc\rd"), (Lines{"a", "b", "c", "d"}));
  EXPECT_EQ(lines_of("a\n\n\r\n\rb\n"), (Lines{"a", "", "", "", "b"}));
  EXPECT_EQ(lines_of(""), Lines{});
  EXPECT_EQ(lines_of("\n"), Lines{""});
}

}  // namespace
}  // namespace densetree

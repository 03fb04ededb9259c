#include "engine/io/settings.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "kernels/core/error.h"
#include "tests/error_of.h"

namespace densetree {
namespace {

enum class Colour : std::uint8_t { kRed, kGreen, kBlue };
constexpr Names<Colour, 3> names(Colour) {
  return {"colour", {{Colour::kRed, "red"}, {Colour::kGreen, "green"}, {Colour::kBlue, "blue"}}};
}

struct Options {
  double rate = 0.1;
  float part = 0.25f;
  std::int64_t steps = 3;
  std::uint8_t small = 7;
  bool loud = false;
  Colour colour = Colour::kGreen;
  std::string file;

  static void settings(auto& o, auto&& f) {
    f(o.rate, Setting{"rate", "", above(0, 1)});
    f(o.part, Setting{"part", "", from_below(0, 1)});
    f(o.steps, Setting{"steps", "", at_least(1)});
    f(o.small, Setting{"small", ""});
    f(o.loud, Setting{"loud", ""});
    f(o.colour, Setting{"colour", "", {}, kMayChange});
    f(o.file, Setting{"file", ""});
  }
};

// Sets the settings named from texts.
Options options_of(const std::map<std::string, std::string>& texts) {
  Options options;
  Options::settings(options, [&](auto& value, const Setting& setting) {
    if (const auto found = texts.find(setting.name); found != texts.end()) {
      set_from_text(value, found->second, setting, setting.name);
    }
  });
  return options;
}

TEST(Settings, HaveOneTextInBothDirections) {
  const std::map<std::string, std::string> texts{{"rate", "0.001"}, {"part", "0.3"},  {"steps", "9223372036854775807"},
                                                 {"small", "255"},  {"loud", "true"}, {"colour", "blue"},
                                                 {"file", "a b"}};
  std::map<std::string, std::string> back;
  const Options options = options_of(texts);
  Options::settings(options,
                    [&](const auto& value, const Setting& setting) { back[setting.name] = setting_text(value); });
  EXPECT_EQ(back, texts);
  EXPECT_EQ(options.part, 0.3f);
  EXPECT_EQ(options_of({{"loud", "on"}}).loud, true);
  EXPECT_EQ(options_of({{"loud", "1"}}).loud, true);
  EXPECT_EQ(options_of({{"loud", "no"}}).loud, false);
  EXPECT_EQ(options_of({{"steps", "+5"}}).steps, 5);
  EXPECT_EQ(options_of({{"rate", "1"}}).rate, 1);
}

TEST(Settings, SayWhatTheyMayBe) {
  const auto fault = [](const char* name, const char* text) { return error_of([&] { options_of({{name, text}}); }); };
  EXPECT_EQ(fault("rate", "0"), "rate is 0; it must be more than 0 and at most 1");
  EXPECT_EQ(fault("rate", "nan"), "rate is 'nan'; it must be a number");
  EXPECT_EQ(fault("rate", "fast"), "rate is 'fast'; it must be a number");
  EXPECT_EQ(fault("part", "1"), "part is 1; it must be at least 0 and below 1");
  EXPECT_EQ(fault("steps", "0"), "steps is '0'; it must be a whole number, 1 or more");
  EXPECT_EQ(fault("steps", "1.5"), "steps is '1.5'; it must be a whole number, 1 or more");
  EXPECT_EQ(fault("steps", ""), "steps is ''; it must be a whole number, 1 or more");
  EXPECT_EQ(fault("steps", "9223372036854775808"),
            "steps is '9223372036854775808'; it must be a whole number, up to 9223372036854775807");
  EXPECT_EQ(fault("small", "256"), "small is '256'; it must be a whole number, 0 to 255");
  EXPECT_EQ(fault("small", "-1"), "small is '-1'; it must be a whole number, 0 to 255");
  EXPECT_EQ(fault("part", "0.99999999999"), "part is 1; it must be at least 0 and below 1");  // as a float
  EXPECT_EQ(fault("rate", "1e400"), "rate is inf; it must be more than 0 and at most 1, and finite");
  EXPECT_EQ(fault("steps", "+-5"), "steps is '+-5'; it must be a whole number, 1 or more");
  EXPECT_EQ(fault("loud", "2"), "loud is '2'; it must be true or false");
  EXPECT_EQ(fault("colour", "pink"), "colour is 'pink'; it must be red, green or blue");
}

TEST(Settings, AreCheckedWithoutText) {
  Options options;
  EXPECT_NO_THROW(check_settings(options));
  options.rate = NAN;
  EXPECT_EQ(error_of([&] { check_settings(options); }),
            "rate is nan; it must be more than 0 and at most 1, and finite");
  options.rate = 0.5, options.steps = -2;
  EXPECT_EQ(error_of([&] { check_settings(options); }), "steps is -2; it must be 1 or more");
}

TEST(Limits, AreDescribed) {
  EXPECT_EQ(Limits{}.describe(), "");
  EXPECT_EQ(between(1, 65536).describe(), "1 to 65536");
  EXPECT_EQ(at_least(0).describe(), "0 or more");
  EXPECT_EQ(above(0).describe(), "more than 0");
  EXPECT_FALSE(Limits{}.holds(INFINITY));
  EXPECT_FALSE(at_least(0).holds(INFINITY));
}

TEST(Names, AreATableInBothDirections) {
  EXPECT_STREQ(name_of(Colour::kBlue), "blue");
  EXPECT_EQ(parse_name<Colour>("red"), Colour::kRed);
  EXPECT_EQ(names_of<Colour>(), (std::vector<std::string>{"red", "green", "blue"}));
  EXPECT_EQ(error_of([] { parse_name<Colour>("Red", "file:3"); }),
            "file:3: colour 'Red' is unknown; use red, green or blue");
  EXPECT_EQ(error_of([] { name_of(static_cast<Colour>(7)); }), "colour 7 has no name");
}

}  // namespace
}  // namespace densetree

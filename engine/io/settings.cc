#include "engine/io/settings.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <optional>

#include "engine/io/text.h"
#include "kernels/core/error.h"

namespace densetree {

std::string Limits::describe() const {
  constexpr Limits kAny;
  if (least == kAny.least && most == kAny.most) {
    return "";
  }
  if (most == kAny.most) {
    return above ? fmt::format("more than {}", least) : fmt::format("{} or more", least);
  }
  if (!above && !below) {
    return fmt::format("{} to {}", least, most);
  }
  return fmt::format("{} {} and {} {}", above ? "more than" : "at least", least, below ? "below" : "at most", most);
}

std::string setting_text(bool value) {
  return value ? "true" : "false";
}

std::string setting_text(double value) {
  return fmt::format("{}", value);
}

std::string setting_text(float value) {
  return fmt::format("{}", value);
}

void fail_setting(const std::string& shown, const std::string& text, const std::string& wanted) {
  fail("{} is {}; it must be {}", shown, text, wanted);
}

void check_within(double value, const Limits& limits, const std::string& shown) {
  if (!limits.holds(value)) {
    const std::string allowed = limits.describe();
    fail_setting(shown, setting_text(value),
                 std::isfinite(value) ? allowed : allowed + (allowed.empty() ? "finite" : ", and finite"));
  }
}

std::int64_t whole_number(const std::string& text, const Limits& limits, const std::string& shown) {
  std::int64_t value = 0;
  const char *begin = text.data() + (text.starts_with('+') ? 1 : 0), *behind = text.data() + text.size();
  const auto [end, fault] = std::from_chars(begin, behind, value);
  if (fault != std::errc() || end != behind || (begin != text.data() && *begin == '-') ||
      !limits.holds(static_cast<double>(value))) {
    const std::string allowed = fault == std::errc::result_out_of_range
                                    ? fmt::format("up to {}", std::numeric_limits<std::int64_t>::max())
                                    : limits.describe();
    fail_setting(shown, "'" + text + "'", "a whole number" + (allowed.empty() ? "" : ", " + allowed));
  }
  return value;
}

double number(const std::string& text, const Limits& limits, const std::string& shown) {
  const std::optional<double> value = parse_number(text);
  if (!value) {
    fail_setting(shown, "'" + text + "'", "a number");
  }
  check_within(*value, limits, shown);
  return *value;
}

void set_from_text(bool& value, const std::string& text, const Setting&, const std::string& shown) {
  constexpr std::array<std::string_view, 4> kTrue{"true", "on", "yes", "1"}, kFalse{"false", "off", "no", "0"};
  value = std::find(kTrue.begin(), kTrue.end(), text) != kTrue.end();
  if (!value && std::find(kFalse.begin(), kFalse.end(), text) == kFalse.end()) {
    fail_setting(shown, "'" + text + "'", "true or false");
  }
}

}  // namespace densetree

// Settings, declared once beside their fields: name, help, limits, and whether a resumed run may have another value.
//
//   struct Options {
//     double lr = 1e-3;
//     static void settings(auto& o, auto&& f) {
//       f(o.lr, Setting{"lr", "Adam's learning rate", above(0, 1)});
//     }
//   };
//
// Command lines, settings files, checks and comparisons are walks over such declarations. A value has one text
// everywhere: numbers as 0.5, truths as true or false, enumerations by name (kernels/core/names.h). Another type can be
// a setting where its namespace has setting_text() and set_from_text() for it.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <limits>
#include <string>
#include <type_traits>

#include "kernels/core/names.h"

namespace densetree {

struct Limits {
  double least = -std::numeric_limits<double>::max(), most = std::numeric_limits<double>::max();
  bool above = false, below = false;  // `least` or `most` itself is outside

  bool holds(double value) const {
    return (above ? value > least : value >= least) && (below ? value < most : value <= most);
  }
  // "0 to 1", "0 or more", "more than 0 and at most 1", "at least 0 and below 1"; "" where there are no limits.
  std::string describe() const;
};
constexpr Limits between(double least, double most) {
  return {least, most};
}
constexpr Limits at_least(double least) {
  return {.least = least};
}
constexpr Limits above(double least, double most = std::numeric_limits<double>::max()) {
  return {least, most, true, false};
}
constexpr Limits from_below(double least, double most) {
  return {least, most, false, true};
}

struct Setting {
  const char* name;  // of the flag, without dashes, and of the key in files
  const char* help;
  Limits limits = {};       // of numbers
  bool may_change = false;  // in a run that is resumed
};
inline constexpr bool kMayChange = true;

// A seed is what TOML's signed integers can hold: 0 to 2^63 − 1.
inline constexpr Setting kSeedSetting{"seed", "for everything that is drawn", {.least = 0}};

// ---- The text of a value -------------------------------------------------------------------------
std::string setting_text(bool value);
std::string setting_text(double value);
std::string setting_text(float value);
inline std::string setting_text(const std::string& value) {
  return value;
}
std::string setting_text(std::integral auto value) {
  return std::to_string(value);
}
template <Named E>
std::string setting_text(E value) {
  return name_of(value);
}
template <class T>
inline constexpr bool kIsNumber = std::is_arithmetic_v<T> && !std::same_as<T, bool>;

// ---- From text to a value ------------------------------------------------------------------------
// Of numbers, texts, truths and enumerations. Throws Error: "lr is 2; it must be more than 0 and at most 1". `shown` is
// what the setting is called there: "lr",
// "--lr", "config.toml:3: lr".
[[noreturn]] void fail_setting(const std::string& shown, const std::string& text, const std::string& wanted);
void check_within(double value, const Limits& limits, const std::string& shown);
// A whole number or a number, in limits. Error as above.
std::int64_t whole_number(const std::string& text, const Limits& limits, const std::string& shown);
double number(const std::string& text, const Limits& limits, const std::string& shown);

inline void set_from_text(std::string& value, const std::string& text, const Setting&, const std::string&) {
  value = text;
}
// true, on, yes, 1; false, off, no, 0.
void set_from_text(bool& value, const std::string& text, const Setting&, const std::string& shown);
void set_from_text(std::floating_point auto& value, const std::string& text, const Setting& s,
                   const std::string& shown) {
  value = static_cast<std::remove_reference_t<decltype(value)>>(number(text, s.limits, shown));
  check_within(static_cast<double>(value), s.limits, shown);  // as it was rounded
}
template <std::integral T>
void set_from_text(T& value, const std::string& text, const Setting& s, const std::string& shown) {
  Limits limits = s.limits;
  if constexpr (sizeof(T) < sizeof(std::int64_t)) {
    limits.least = std::max<double>(limits.least, std::numeric_limits<T>::min());
    limits.most = std::min<double>(limits.most, std::numeric_limits<T>::max());
  }
  value = static_cast<T>(whole_number(text, limits, shown));
}
template <Named E>
void set_from_text(E& value, const std::string& text, const Setting&, const std::string& shown) {
  for (const Name<E>& name : names(E{}).all) {
    if (text == name.text) {
      value = name.value;
      return;
    }
  }
  fail_setting(shown, "'" + text + "'", listed(names_of<E>()));
}

// Throws Error where a number is out of its limits, of options that did not come from text.
template <class Options>
void check_settings(const Options& options) {
  Options::settings(options, []<class T>(const T& value, const Setting& s) {
    if constexpr (kIsNumber<T>) {
      check_within(static_cast<double>(value), s.limits, s.name);
    }
  });
}

}  // namespace densetree

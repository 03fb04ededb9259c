// The exception type of the libraries, and the two ways to throw it.
//
// A message says what is wrong, names the file or value, and says what would be right:
//   check(batch > 0, "batch size is {}; it must be at least 1", batch);
// Arguments are evaluated whether the message is needed or not. In code that runs every step, pass what is there
// already, such as an object with describe(), which is called only for the message.
#pragma once

#include <fmt/format.h>

#include <concepts>
#include <stdexcept>
#include <string>
#include <utility>

namespace densetree {

class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// A device has not as much memory as was asked for.
class OutOfMemory : public Error {
 public:
  using Error::Error;
};

template <class... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(fmt::format(format, std::forward<Args>(args)...));
}

template <class... Args>
void check(bool ok, fmt::format_string<Args...> format, Args&&... args) {
  if (!ok) [[unlikely]] {
    fail(format, std::forward<Args>(args)...);
  }
}

}  // namespace densetree

template <class T>
requires requires(const T& object) {
  { object.describe() } -> std::same_as<std::string>;
}
struct fmt::formatter<T, char> : fmt::formatter<std::string> {
  auto format(const T& object, auto& context) const {
    return fmt::formatter<std::string>::format(object.describe(), context);
  }
};

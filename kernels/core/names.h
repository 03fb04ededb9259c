// One table of names for each enumeration, which the command line, settings files and messages share.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace densetree {

template <class E>
struct Name {
  E value;
  const char* text;
};

// Returned by a function `names` beside each enumeration, whose argument only says which:
//   constexpr Names<Precision, 3> names(Precision) {
//     return {"precision", {{Precision::kFloat32, "fp32"}, …}};
//   }
template <class E, std::size_t N>
struct Names {
  const char* of;
  Name<E> all[N];
};

template <class E>
concept Named = requires {
  names(E{}).all;
};

// "fp32, tf32 or bf16", with `last` before the last one.
std::string listed(const std::vector<std::string>& names, const char* last = "or");

// Error: "config.toml:3: precision 'fp33' is unknown; use fp32, tf32 or bf16".
[[noreturn]] void fail_unknown_name(std::string_view text, const char* of, const std::vector<std::string>& names,
                                    const std::string& where);
// Error: "precision 7 has no name".
[[noreturn]] void fail_nameless(int value, const char* of);

template <Named E>
const char* name_of(E value) {
  constexpr auto kNames = names(E{});
  static_assert(std::end(kNames.all)[-1].text != nullptr, "the table is shorter than it says");
  for (const Name<E>& name : kNames.all) {
    if (name.value == value) {
      return name.text;
    }
  }
  fail_nameless(static_cast<int>(value), kNames.of);
}

// All names, in the order of the table.
template <Named E>
std::vector<std::string> names_of() {
  std::vector<std::string> texts;
  for (const Name<E>& name : names(E{}).all) {
    texts.emplace_back(name.text);
  }
  return texts;
}

// Throws Error that lists the names where the text is none of them, opened by `where` if that is given.
template <Named E>
E parse_name(std::string_view text, const std::string& where = "") {
  constexpr auto kNames = names(E{});
  for (const Name<E>& name : kNames.all) {
    if (text == name.text) {
      return name.value;
    }
  }
  fail_unknown_name(text, kNames.of, names_of<E>(), where);
}

}  // namespace densetree

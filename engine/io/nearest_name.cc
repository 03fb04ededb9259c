#include "engine/io/nearest_name.h"

#include <algorithm>
#include <cctype>
#include <numeric>

namespace densetree {
namespace {

std::string plain(std::string_view name) {
  std::string text;
  for (const unsigned char c : name) {
    text += c == '_' || c == ' ' ? '-' : static_cast<char>(std::tolower(c));
  }
  return text;
}

// The distance of Damerau and Levenshtein (optimal string alignment), row by row of its table.
std::size_t changes(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  std::iota(last.begin(), last.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j - 1] + (a[i - 1] != b[j - 1]), last[j] + 1, row[j - 1] + 1});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before[j - 2] + 1);
      }
    }
    std::swap(before, last);
    std::swap(last, row);
  }
  return last[b.size()];
}

}  // namespace

std::string nearest_name(std::string_view name, const std::vector<std::string>& candidates) {
  const std::string wanted = plain(name);
  std::string nearest;
  std::size_t fewest = wanted.size() / 3 + 1;  // as many are too many
  for (const std::string& candidate : candidates) {
    if (const std::size_t count = changes(wanted, plain(candidate)); count < fewest) {
      fewest = count, nearest = candidate;
    }
  }
  return nearest;
}

std::string did_you_mean(std::string_view name, const std::vector<std::string>& candidates) {
  const std::string nearest = nearest_name(name, candidates);
  return nearest.empty() ? "" : "; did you mean '" + nearest + "'?";
}

}  // namespace densetree

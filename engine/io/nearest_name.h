// For messages about a name that is not known: which known one was probably meant.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace densetree {

// The candidate that takes the fewest changes (a letter more, less or another, two neighbours exchanged), where
// capitals do not matter and blanks, '-' and '_' are alike; "" where more than a third of the letters would have to
// change.
std::string nearest_name(std::string_view name, const std::vector<std::string>& candidates);
// "; did you mean 'Effusion'?", or "" where there is none.
std::string did_you_mean(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace densetree

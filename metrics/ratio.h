// A part of a whole. What has no whole has no ratio.
#pragma once

#include <cstdint>
#include <optional>

namespace densetree::metrics {

// part / whole; nullopt where whole is 0.
inline std::optional<double> ratio(std::int64_t part, std::int64_t whole) {
  return whole > 0 ? std::optional(static_cast<double>(part) / static_cast<double>(whole)) : std::nullopt;
}

}  // namespace densetree::metrics

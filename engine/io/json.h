// JSON as text.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace densetree {

// Bytes that are no UTF-8, as a path may have, become U+FFFD: JSON cannot hold them.
inline std::string json_text(const nlohmann::ordered_json& value, int indent = -1) {
  return value.dump(indent, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace densetree

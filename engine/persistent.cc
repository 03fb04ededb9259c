#include "engine/persistent.h"

#include <algorithm>

#include "engine/planner.h"
#include "kernels/core/error.h"
#include "kernels/core/integer.h"

namespace densetree {

void Persistent::add(std::string name, std::size_t bytes) {
  const auto same = [&](const Entry& entry) { return entry.name == name; };
  check(std::none_of(entries_.begin(), entries_.end(), same), "persistent storage '{}' is listed twice", name);
  entries_.push_back({std::move(name), bytes_});
  bytes_ += rounded_up(bytes, Planner::kAlignment);
}

void* Persistent::at(const std::string& name) const {
  const auto same = [&](const Entry& entry) { return entry.name == name; };
  const auto found = std::find_if(entries_.begin(), entries_.end(), same);
  check(found != entries_.end(), "there is no persistent storage '{}'", name);
  check(base_ != nullptr, "persistent storage '{}' has no memory yet", name);
  return base_ + found->offset;
}

}  // namespace densetree

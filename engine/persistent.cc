#include "engine/persistent.h"

#include "engine/planner.h"
#include "kernels/core/error.h"
#include "kernels/core/integer.h"

namespace densetree {

void Persistent::add(std::string name, std::size_t bytes) {
  const auto [place, is_new] = entries_.try_emplace(std::move(name), Entry{bytes_, bytes});
  check(is_new, "persistent storage '{}' is listed twice", place->first);
  bytes_ += rounded_up(bytes, Planner::kAlignment);
}

void* Persistent::at(const std::string& name, std::size_t bytes) const {
  const auto found = entries_.find(name);
  check(found != entries_.end(), "there is no persistent storage '{}'", name);
  const Entry& entry = found->second;
  check(bytes <= entry.bytes, "persistent storage '{}' has {} bytes; {} are used", name, entry.bytes, bytes);
  check(base_ != nullptr, "persistent storage '{}' has no memory yet", name);
  return base_ + entry.offset;
}

}  // namespace densetree

#include "engine/parameters.h"

#include "kernels/core/error.h"
#include "kernels/core/integer.h"

namespace densetree {
namespace {
constexpr std::int64_t kAlignment = 16;  // floats: every tensor begins on 64 bytes
}

int Parameters::add(std::string name, std::vector<std::int64_t> shape, Kind kind) {
  std::int64_t elements = 1;
  for (const std::int64_t extent : shape) {
    elements *= extent;
  }
  check(elements > 0, "parameter '{}' is empty", name);
  check(index_.emplace(name, static_cast<int>(entries_.size())).second, "parameter '{}' is added twice", name);
  std::int64_t& size = size_[static_cast<int>(kind)];
  entries_.push_back({std::move(name), std::move(shape), kind, size, elements});
  size += rounded_up(elements, kAlignment);
  return static_cast<int>(entries_.size()) - 1;
}

std::vector<std::pair<std::int64_t, std::int64_t>> Parameters::gaps() const {
  std::vector<std::pair<std::int64_t, std::int64_t>> gaps;
  for (const Entry& entry : entries_) {
    const std::int64_t end = entry.offset + entry.elements, aligned = rounded_up(end, kAlignment);
    if (entry.kind == Kind::kWeight && aligned > end) {
      gaps.emplace_back(end, aligned);
    }
  }
  return gaps;
}

int Parameters::find(const std::string& name) const {
  const auto it = index_.find(name);
  return it == index_.end() ? -1 : it->second;
}

}  // namespace densetree

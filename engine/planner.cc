#include "engine/planner.h"

#include <algorithm>
#include <numeric>

#include "kernels/core/error.h"
#include "kernels/core/integer.h"

namespace densetree {
namespace {

bool meet(const Planner::Buffer& a, const Planner::Buffer& b) {
  return a.first <= b.last && b.first <= a.last;
}

}  // namespace

int Planner::book(std::string name, std::size_t bytes) {
  check(!frozen_, "planner: '{}' is booked after the plan was frozen", name);
  buffers_.push_back({std::move(name), rounded_up(bytes, kAlignment)});
  return static_cast<int>(buffers_.size()) - 1;
}

void Planner::use(int buffer, int step) {
  Buffer& b = buffers_.at(buffer);
  b.first = b.first < 0 ? step : std::min(b.first, step);
  b.last = std::max(b.last, step);
}

void Planner::freeze() {
  std::vector<int> order;
  for (int i = 0; i < static_cast<int>(buffers_.size()); ++i) {
    if (buffers_[i].first >= 0 && buffers_[i].bytes > 0) {
      order.push_back(i);
    }
  }
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return buffers_[a].bytes > buffers_[b].bytes; });
  std::vector<const Buffer*> placed;  // by offset
  for (const int index : order) {
    Buffer& buffer = buffers_[index];
    std::size_t offset = 0;
    for (const Buffer* other : placed) {
      if (meet(*other, buffer)) {
        if (offset + buffer.bytes <= other->offset) {
          break;  // the gap before `other` is wide enough
        }
        offset = std::max(offset, other->offset + other->bytes);
      }
    }
    buffer.offset = offset;
    bytes_ = std::max(bytes_, offset + buffer.bytes);
    const auto after = [](std::size_t value, const Buffer* b) { return value < b->offset; };
    placed.insert(std::upper_bound(placed.begin(), placed.end(), offset, after), &buffer);
  }
  frozen_ = true;
}

std::size_t Planner::lower_bound() const {
  int steps = 0;
  for (const Buffer& buffer : buffers_) {
    steps = std::max(steps, buffer.last + 1);
  }
  std::vector<std::size_t> alive(steps, 0);
  for (const Buffer& buffer : buffers_) {
    for (int step = std::max(buffer.first, 0); step <= buffer.last; ++step) {
      alive[step] += buffer.bytes;
    }
  }
  return alive.empty() ? 0 : *std::max_element(alive.begin(), alive.end());
}

}  // namespace densetree

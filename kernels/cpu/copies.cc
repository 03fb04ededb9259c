// Copies, sums and zeros: element by element, between any two layouts and types.
#include <cstring>

#include "kernels/cpu/lanes.h"
#include "kernels/cpu/lines.h"
#include "kernels/cpu/operations.h"

namespace densetree::cpu {
namespace {

// Channels that lie side by side in both layouts.
constexpr int common(int lanes_of_x, int lanes_of_y) {
  return lanes_of_x == lanes_of_y ? lanes_of_x : 1;
}

template <bool kAdds, class From, class To, int kLanes>
void copy_line(Line<From, kLanes> x, Line<To, kLanes> y, std::int64_t pixels) {
  using G = Group<kLanes>;
  for (std::int64_t p = 0; p < pixels; ++p) {
    for (int lane = 0; lane < kLanes; lane += G::kWidth) {
      auto value = G::load(x.at(p) + lane);
      if constexpr (kAdds) {
        value += G::load(y.at(p) + lane);
      }
      G::store(value, y.at(p) + lane);
    }
  }
}

// y = x, or y += x.
template <bool kAdds>
void copy(const Team& team, const View& x, const View& y) {
  with_lines({x}, [&]<class From, int kOfX>(Walk<From, kOfX>) {
    with_lines({y}, [&]<class To, int kOfY>(Walk<To, kOfY> walk) {
      constexpr int kLanes = common(kOfX, kOfY);
      for_each_line(team.threads, x.n, x.c, kLanes, [&](std::int64_t n, std::int64_t c) {
        copy_line<kAdds>(Walk<From, kLanes>::line(x, n, c), Walk<To, kLanes>::line(y, n, c), x.pixels());
      });
      if constexpr (!kAdds) {
        walk.clear_padding(y);
      }
    });
  });
}

}  // namespace

void compute(const Team& team, const op::Copy& o, void*) {
  copy<false>(team, o.x, o.y);
}

void compute(const Team& team, const op::Add& o, void*) {
  copy<true>(team, o.x, o.y);
}

void compute(const Team& team, const op::Clear& o, void*) {
  const View& y = o.y;
  if (o.y.present()) {
    with_lines({y}, [&]<class T, int kLanes>(Walk<T, kLanes> walk) {
      for_each_line(team.threads, y.n, y.c, kLanes, [&](std::int64_t n, std::int64_t c) {
        for (std::int64_t p = 0; p < y.pixels(); ++p) {
          std::fill_n(walk.line(y, n, c).at(p), kLanes, T{});
        }
      });
      walk.clear_padding(y);
    });
  }
  if (o.memory.present()) {
    std::memset(o.memory.data, 0, o.memory.bytes());
  }
}

}  // namespace densetree::cpu

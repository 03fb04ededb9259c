// Images as a network takes them.
#include "kernels/cpu/lines.h"
#include "kernels/cpu/operations.h"
#include "kernels/functors/image.h"

namespace densetree::cpu {

void compute(const Team& team, const op::ImagesToInput& o, void*) {
  const View& y = o.y;
  const ChannelNormalize normalize(o.normalization);
  with_lines({y}, [&]<class T, int kLanes>(Walk<T, kLanes> walk) {
#pragma omp parallel for collapse(2) schedule(static) num_threads(team.threads)
    for (std::int64_t n = 0; n < y.n; ++n) {
      for (std::int64_t row = 0; row < y.h; ++row) {
        const std::uint8_t* image = o.images.data + n * o.source * o.source;
        for (std::int64_t column = 0; column < y.w; ++column) {
          const float grey = sample(image, o.source, o.transforms[n], centered(column, y.w), centered(row, y.h));
          for (int c = 0; c < kInputChannels; ++c) {
            y.as<T>()[y.offset(n, c, row * y.w + column)] = rounded_to<T>(normalize(grey, c));
          }
        }
      }
    }
    walk.clear_padding(y);
  });
}

}  // namespace densetree::cpu

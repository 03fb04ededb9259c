// How the CPU walks a View: line by line. A line is all pixels of one image for a group of channels.
//
// Where every view of an operation has its channels in blocks of 16 (or 8) that start and end on a block, a group
// is one block and the inner loop runs over its lanes, which the compiler turns into vector instructions. Anything
// else (planar inputs, slices that begin inside a block, odd channel counts) runs with groups of one channel.
#pragma once

#include "kernels/core/view.h"

namespace densetree::cpu {

// Channels per group that all these views allow: 16, 8 or 1.
template <class... Views>
std::int64_t common_lanes(const Views&... views) {
  const auto all = [&](std::int64_t lanes) {
    return ((views.block == lanes && views.first % lanes == 0 && views.c % lanes == 0) && ...);
  };
  return all(16) ? 16 : all(8) ? 8 : 1;
}

// Pixel p, lane l of the line is at data[p·stride + l]; stride is kLanes when kLanes > 1.
template <class T>
struct Line {
  T* data;
  std::int64_t stride;
  template <int kLanes>
  T* at(std::int64_t pixel) const {
    return data + pixel * (kLanes > 1 ? kLanes : stride);
  }
};

template <class T = float>
Line<T> line_of(const View& view, std::int64_t image, std::int64_t channel) {
  return {view.as<T>() + view.offset(image, channel, 0), view.pixel_stride};
}

// Calls body(std::integral_constant<int, lanes>) with the lanes as a compile-time constant.
template <class Body>
void with_lanes(std::int64_t lanes, const Body& body) {
  if (lanes == 16) {
    body(std::integral_constant<int, 16>{});
  } else if (lanes == 8) {
    body(std::integral_constant<int, 8>{});
  } else {
    body(std::integral_constant<int, 1>{});
  }
}

// Calls body(image, first channel) for every line of n images and c channels, in parallel.
template <class Body>
void for_each_line(int threads, std::int64_t n, std::int64_t c, std::int64_t lanes, const Body& body) {
  const std::int64_t groups = c / lanes;
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads)
  for (std::int64_t group = 0; group < groups; ++group) {
    for (std::int64_t image = 0; image < n; ++image) {
      body(image, group * lanes);
    }
  }
}

// Writes zeros to the padding lanes of a whole view.
inline void clear_padding(const View& view) {
  for (std::int64_t channel = view.c; channel < view.padded_channels(); ++channel) {
    for (std::int64_t image = 0; image < view.n; ++image) {
      const Line<float> line = line_of(view, image, channel);
      for (std::int64_t pixel = 0; pixel < view.pixels(); ++pixel) {
        line.data[pixel * line.stride] = 0.0f;
      }
    }
  }
}

}  // namespace densetree::cpu

// How the CPU walks a View: line by line. A line is all pixels of one image for a group of channels.
//
// Where every view of an operation has its channels in blocks of kBlock that start and end on a block, a group is one
// block and the inner loop runs over its lanes, which the compiler turns into vector instructions. Anything else
// (planar inputs, other blocks, slices that begin inside a block, odd channel counts) runs with groups of one channel.
#pragma once

#include <algorithm>
#include <initializer_list>

#include "kernels/core/bfloat16.h"
#include "kernels/core/view.h"
#include "kernels/cpu/simd.h"

namespace densetree::cpu {

// Whether all these views are made of whole blocks.
inline bool in_blocks(std::initializer_list<View> views) {
  return std::ranges::all_of(
      views, [](const View& view) { return view.block == kBlock && view.first % kBlock == 0 && view.c % kBlock == 0; });
}

// Pixel p, lane l of the line is at data[p·stride + l]; stride is kLanes when kLanes > 1.
template <class T, int kLanes>
struct Line {
  T* data = nullptr;
  std::int64_t stride = kLanes;
  T* at(std::int64_t pixel) const { return data + pixel * (kLanes > 1 ? kLanes : stride); }
};

// What all lines of an operation are made of: an element type, and the lanes of a group.
template <class T, int kLanes_>
struct Walk {
  static constexpr int kLanes = kLanes_;

  static Line<T, kLanes> line(const View& view, std::int64_t image, std::int64_t channel) {
    return {view.as<T>() + view.offset(image, channel, 0), view.pixel_stride};
  }
  // Writes zeros to the padding lanes of a whole view.
  static void clear_padding(const View& view) {
    for (std::int64_t channel = view.c; channel < view.padded_channels(); ++channel) {
      for (std::int64_t image = 0; image < view.n; ++image) {
        T* data = line(view, image, channel).data;
        for (std::int64_t pixel = 0; pixel < view.pixels(); ++pixel) {
          data[pixel * view.pixel_stride] = T{};
        }
      }
    }
  }
};

// Calls body(Walk<T, kLanes>{}) with the element type that all views have and the lanes that they allow.
template <class Body>
void with_lines(std::initializer_list<View> views, const Body& body) {
  const bool blocks = in_blocks(views);
  const auto with_lanes = [&]<class T>(T) {
    if (blocks) {
      body(Walk<T, kBlock>{});
    } else {
      body(Walk<T, 1>{});
    }
  };
  if (views.begin()->dtype == DType::kBFloat16) {
    with_lanes(BFloat16{});
  } else {
    with_lanes(float{});
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

}  // namespace densetree::cpu

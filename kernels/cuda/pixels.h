// Interleaved views as kernels see them: rows of pixels, each with its channels side by side.
//
// Row p (image · H·W + pixel) of a view begins at data + p·stride and holds `channels` floats; a channel slice has the
// stride of the whole. A thread handles `kWidth` neighbouring channels: 4, moved as one 16-byte access, where every
// view of the operation allows it, else 1. Kernels are written once, for both.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <type_traits>

#include "kernels/core/host_device.h"
#include "kernels/core/view.h"

namespace densetree::cuda {

struct Pixels {
  float* data = nullptr;
  std::int64_t rows = 0, channels = 0, stride = 0;

  DT_HD float* at(std::int64_t row, std::int64_t channel) const { return data + row * stride + channel; }
};

// The rows of a view. Throws Error unless it is a non-empty interleaved fp32 view of fewer than 2^31 pixels.
Pixels pixels_of(const View& view, const char* operation);

// Whether rows begin and end on 16-byte boundaries in all of these.
bool allow_vectors(std::initializer_list<Pixels> views);

template <int kWidth>
struct alignas(kWidth * sizeof(float)) Floats {
  float v[kWidth];
};

template <int kWidth>
struct alignas(kWidth) Bytes {
  std::uint8_t v[kWidth];
};

template <int kWidth>
DT_HD inline Floats<kWidth> load(const Pixels& pixels, std::int64_t row, std::int64_t channel) {
  return *reinterpret_cast<const Floats<kWidth>*>(pixels.at(row, channel));
}

template <int kWidth>
DT_HD inline void store(const Pixels& pixels, std::int64_t row, std::int64_t channel, const Floats<kWidth>& value) {
  *reinterpret_cast<Floats<kWidth>*>(pixels.at(row, channel)) = value;
}

// Image, line and column of a row. Rows are below 2^31, so 32-bit divisions do.
struct Position {
  std::int32_t image, y, x;
};

DT_HD inline Position position_of(std::int64_t row, std::int32_t height, std::int32_t width) {
  const auto index = static_cast<std::uint32_t>(row);
  const std::uint32_t line = index / static_cast<std::uint32_t>(width);
  const std::uint32_t image = line / static_cast<std::uint32_t>(height);
  return {static_cast<std::int32_t>(image),
          static_cast<std::int32_t>(line - image * static_cast<std::uint32_t>(height)),
          static_cast<std::int32_t>(index - line * static_cast<std::uint32_t>(width))};
}

// Calls body(std::integral_constant<int, width>) with the width that all these views allow.
template <class Body>
void with_width(std::initializer_list<Pixels> views, const Body& body) {
  if (allow_vectors(views)) {
    body(std::integral_constant<int, 4>{});
  } else {
    body(std::integral_constant<int, 1>{});
  }
}

}  // namespace densetree::cuda

// Interleaved views as kernels see them: rows of pixels, each with its channels side by side.
//
// Row p (image · H·W + pixel) of a view begins at data + p·stride and holds `channels` elements; a channel slice has
// the stride of the whole. Elements are fp32 or bf16 and become fp32 when they are loaded: kernels compute in fp32 and
// are written once, for both. A thread handles `kWidth` neighbouring channels, moved as one 16-byte access where every
// view of the operation allows it, else 1.
#pragma once

#include <cuda_bf16.h>

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <string_view>
#include <type_traits>

#include "kernels/core/host_device.h"
#include "kernels/core/view.h"

namespace densetree::cuda {

using BFloat16 = __nv_bfloat16;

struct Pixels {
  void* data = nullptr;  // of the first channel
  DType type = DType::kFloat32;
  std::int64_t rows = 0, channels = 0, stride = 0;  // in elements

  template <class T>
  DT_HD T* at(std::int64_t row, std::int64_t channel) const {
    return static_cast<T*>(data) + row * stride + channel;
  }
};

// The rows of a view of fp32 or bf16. Throws Error unless it has memory and is interleaved.
Pixels pixels_of(const View& view, std::string_view operation);

// Whether rows begin and end on 16-byte boundaries in all of these.
bool allow_vectors(std::initializer_list<Pixels> views);

DT_HD inline float to_float(float value) {
  return value;
}
DT_HD inline float to_float(BFloat16 value) {
  return __bfloat162float(value);
}
DT_HD inline void from_float(float value, float& to) {
  to = value;
}
DT_HD inline void from_float(float value, BFloat16& to) {
  to = __float2bfloat16_rn(value);
}

template <int kWidth>
struct Floats {
  float v[kWidth];
};

// kWidth elements as they lie in memory, moved together.
template <class T, int kWidth>
struct alignas(kWidth * sizeof(T)) Packed {
  T v[kWidth];
};

template <class T, int kWidth>
DT_HD inline Floats<kWidth> load(const Pixels& pixels, std::int64_t row, std::int64_t channel) {
  const auto packed = *reinterpret_cast<const Packed<T, kWidth>*>(pixels.at<T>(row, channel));
  Floats<kWidth> value;
  for (int i = 0; i < kWidth; ++i) {
    value.v[i] = to_float(packed.v[i]);
  }
  return value;
}

template <class T, int kWidth>
DT_HD inline void store(const Pixels& pixels, std::int64_t row, std::int64_t channel, const Floats<kWidth>& value) {
  Packed<T, kWidth> packed;
  for (int i = 0; i < kWidth; ++i) {
    from_float(value.v[i], packed.v[i]);
  }
  *reinterpret_cast<Packed<T, kWidth>*>(pixels.at<T>(row, channel)) = packed;
}

// kWidth channels of the rows of one thread; `step` is the number of elements from one of its rows to the next. A
// kernel that loads several rows before it computes has several loads in flight per thread, which few resident blocks
// need to reach the memory's bandwidth.
template <class T, int kWidth>
struct Cursor {
  T* at;
  std::int64_t step;

  DT_HD Cursor(const Pixels& pixels, std::int64_t first_row, std::int64_t row_step, std::int64_t channel)
      : at(pixels.at<T>(first_row, channel)), step(row_step * pixels.stride) {}

  DT_HD Packed<T, kWidth> load(int row) const { return *reinterpret_cast<const Packed<T, kWidth>*>(at + row * step); }
  DT_HD void store(int row, const Packed<T, kWidth>& value) const {
    *reinterpret_cast<Packed<T, kWidth>*>(at + row * step) = value;
  }
  DT_HD void advance(int rows) { at += rows * step; }
};

// What max pooling chose, beside kWidth elements.
template <int kWidth>
using Choices = Packed<std::uint8_t, kWidth>;

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

// Names the element type of a kernel to a generic lambda.
template <class T>
struct Element {
  using Type = T;
};

// Calls body(Element<float or BFloat16>{}).
template <class Body>
void with_type(DType type, const Body& body) {
  if (type == DType::kBFloat16) {
    body(Element<BFloat16>{});
  } else {
    body(Element<float>{});
  }
}

// Calls body(Element<…>{}, std::integral_constant<int, width>) with the type these views share and the width that all
// of them allow: 16 bytes but no more than kMost elements, or one element.
template <int kMost = 16, class Body>
void with_type_and_width(std::initializer_list<Pixels> views, const Body& body) {
  with_type(views.begin()->type, [&](auto element) {
    constexpr int kWide = std::min<int>(16 / sizeof(typename decltype(element)::Type), kMost);
    if (allow_vectors(views)) {
      body(element, std::integral_constant<int, kWide>{});
    } else {
      body(element, std::integral_constant<int, 1>{});
    }
  });
}

}  // namespace densetree::cuda

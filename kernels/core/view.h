// A view of an activation tensor (N, C, H, W) somewhere in a device's memory.
//
// Every layout the engine uses is one addressing rule, "blocks of interleaved channels":
//   element (n, c, pixel) lies at  n·image_stride + b·block_stride + pixel·pixel_stride + (first + c) mod block
//   with b = (first + c) div block and pixel = h·W + w.
//
//   layout        block    order in memory            who wants it
//   kPlanar       1        [N][C][HW]                 network input on the CPU (NCHW)
//   kBlocked16    16       [N][C/16][HW][16]          spatial convolutions on AVX-512 (nChw16c)
//   kSlabs16      16       [C/16][N·HW][16]           stacks on AVX-512: a channel prefix is contiguous
//   kBlocked8, kSlabs8     the same with 8            narrower CPUs
//   kInterleaved  C        [N][HW][C]                 everything on CUDA (NHWC)
//
// A channel slice is the same memory with another `first`; it costs nothing. In a whole tensor whose
// channels do not fill the last block, the lanes past C are padding: whoever writes the tensor
// writes zeros there (`padded_channels`). A slice has neighbours instead of padding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "kernels/core/host_device.h"
#include "kernels/core/integer.h"
#include "kernels/core/names.h"

namespace densetree {

enum class DType : std::uint8_t { kFloat32, kBFloat16, kUInt8 };
std::size_t size_of(DType type);
inline bool is_float(DType type) {
  return type != DType::kUInt8;
}
constexpr Names<DType, 3> names(DType) {
  return {"data type", {{DType::kFloat32, "fp32"}, {DType::kBFloat16, "bf16"}, {DType::kUInt8, "uint8"}}};
}

enum class Layout : std::uint8_t { kPlanar, kBlocked8, kBlocked16, kSlabs8, kSlabs16, kInterleaved };
constexpr Names<Layout, 6> names(Layout) {
  return {"layout",
          {{Layout::kPlanar, "planar"},
           {Layout::kBlocked8, "blocked8"},
           {Layout::kBlocked16, "blocked16"},
           {Layout::kSlabs8, "slabs8"},
           {Layout::kSlabs16, "slabs16"},
           {Layout::kInterleaved, "interleaved"}}};
}

// (N, C, H, W)
struct Shape {
  std::int64_t n = 1, c = 1, h = 1, w = 1;
  std::int64_t pixels() const { return h * w; }
  std::int64_t elements() const { return n * c * h * w; }
  bool operator==(const Shape&) const = default;
  std::string describe() const;  // "(16, 64, 56, 56)"
};

struct View {
  void* data = nullptr;
  DType dtype = DType::kFloat32;
  Layout layout = Layout::kPlanar;
  bool whole = true;  // false for a slice: the lanes beside it belong to others
  std::int64_t n = 0, c = 0, h = 0, w = 0;
  std::int64_t block = 1, first = 0;
  std::int64_t image_stride = 0, block_stride = 0, pixel_stride = 0;  // in elements

  DT_HD std::int64_t pixels() const { return h * w; }
  DT_HD std::int64_t count() const { return n * h * w; }  // elements of one channel
  DT_HD std::int64_t offset(std::int64_t image, std::int64_t channel, std::int64_t pixel) const {
    const std::int64_t lane = first + channel;
    return image * image_stride + lane / block * block_stride + pixel * pixel_stride + lane % block;
  }
  template <class T>
  DT_HD T* as() const {
    return static_cast<T*>(data);
  }
  Shape shape() const { return {n, c, h, w}; }

  // Channels including the padding lanes that a writer of this view has to fill with zeros.
  std::int64_t padded_channels() const { return whole ? rounded_up(c, block) : c; }
  // The channels [begin, begin + count) of this view. Throws Error when they are not all in it.
  View slice(std::int64_t begin, std::int64_t count) const;
};

// Elements of memory that a whole tensor takes, padding included.
std::int64_t storage_elements(const Shape& shape, Layout layout);
// A view of a whole tensor at `data`.
View make_view(void* data, const Shape& shape, Layout layout, DType dtype = DType::kFloat32);

}  // namespace densetree

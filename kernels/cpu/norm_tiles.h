// What both passes of the fused batch norm, ReLU and convolution are made of: tiles.
//
// A tile is a few rows of pixels of one image (for 1×1 convolutions a stretch of pixels of the whole batch). What is
// done to a tile stays in cache. The sums of different tiles meet in parts, whose number depends on the shape only.
//
// T, float or BFloat16, is what activations are made of. P is what is multiplied: T, or float where T is BFloat16 and
// the processor has no products of those: the same numbers in tiles of twice the size. Sums, weights before they are
// packed, and ∂L/∂z are fp32.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "kernels/cpu/convolutions.h"
#include "kernels/cpu/feature_lines.h"
#include "kernels/cpu/product.h"

namespace densetree::cpu {

inline constexpr std::int64_t kGroup = std::max(kLanes, 1);  // channels in a vector

// How an image, or for 1×1 convolutions the batch, is cut into tiles; the planes of padded tiles.
struct Tiling {
  std::int64_t images, height, width;  // as the tiles see them
  std::int64_t tile_rows, tile_width;
  std::int64_t halo;  // rows and columns of neighbours around a tile

  std::int64_t down() const { return quotient_up(height, tile_rows); }
  std::int64_t across() const { return quotient_up(width, tile_width); }
  std::int64_t tiles() const { return images * down() * across(); }
  std::int64_t stride() const { return (tile_width + 2 * halo) * kGroup; }  // from row to row of a padded tile
  std::int64_t plane() const { return (tile_rows + 2 * halo) * stride(); }  // one vector of channels of a padded tile
  std::int64_t numbers() const { return tile_rows * tile_width * kGroup; }  // the same without neighbours
};

struct Tile {
  std::int64_t image, row, column, rows, width;
  std::int64_t pixels() const { return rows * width; }
};

inline Tile tile_at(const Tiling& t, std::int64_t index) {
  const std::int64_t row = index / t.across() % t.down() * t.tile_rows, column = index % t.across() * t.tile_width;
  return {index / (t.across() * t.down()), row, column, std::min(t.tile_rows, t.height - row),
          std::min(t.tile_width, t.width - column)};
}

// 1×1: pixels of the whole batch in a row. Else rows of one image, whole ones, because their neighbours are needed.
inline Tiling tiling_of(const ConvolutionShape& s, std::int64_t pixels) {
  if (s.kernel == 1) {
    const std::int64_t all = s.input.n * s.input.pixels();
    return {1, 1, all, 1, std::min(rounded_up(pixels, 2 * kRun), all), 0};
  }
  const std::int64_t rows = std::clamp<std::int64_t>(pixels / s.input.w, 1, s.input.h);
  return {s.input.n, s.input.h, s.input.w, rows, s.input.w, s.padding};
}

// The first number of a tile in one vector of channels of a view.
template <class T>
T* at(const View& view, const Tiling& tiling, const Tile& tile, std::int64_t channel) {
  const std::int64_t pixel = (tile.image * tiling.height + tile.row) * tiling.width + tile.column;
  return Walk<T, kLanes>::line(view, 0, channel).data + pixel * kGroup;
}

// One vector of channels of a tile and its neighbours into `to`: f of what is there, zeros outside the image.
template <class T, class P, class F>
void cut(const T* from, const Tiling& tiling, const Tile& tile, P* to, const F& f) {
  const std::int64_t halo = tiling.halo;
  for (std::int64_t r = -halo; r < tile.rows + halo; ++r, to += tiling.stride()) {
    const std::int64_t padded = (tile.width + 2 * halo) * kGroup;
    if (tile.row + r < 0 || tile.row + r >= tiling.height) {
      std::fill_n(to, padded, P{});
      continue;
    }
    std::fill_n(to, halo * kGroup, P{});
    const T* row = from + r * tiling.width * kGroup;
    P* inside = to + halo * kGroup;
    for (std::int64_t p = 0; p < tile.width * kGroup; p += kGroup) {
      V::store(as<T>(f(V::load(row + p))), inside + p);
    }
    std::fill_n(to + padded - halo * kGroup, halo * kGroup, P{});
  }
}

// Where in padded tiles of `vectors` vectors of channels the sums over kernel and channels go.
inline std::vector<std::int64_t> reach(const Tiling& tiling, std::int64_t kernel, std::int64_t vectors,
                                       std::int64_t plane) {
  std::vector<std::int64_t> offsets;
  for (std::int64_t tap = 0; tap < kernel * kernel; ++tap) {
    for (std::int64_t v = 0; v < vectors; ++v) {
      offsets.push_back(v * plane + tap / kernel * tiling.stride() + tap % kernel * kGroup);
    }
  }
  return offsets;
}

// body(std::integral_constant<int, 1 or 2>): pairs of vectors, and a single one where their number is odd.
template <class Body>
void with_vectors(std::int64_t count, const Body& body) {
  if (count == kPair) {
    body(std::integral_constant<int, kPair>{});
  } else {
    body(std::integral_constant<int, 1>{});
  }
}

// AffineOf's numbers, float[C] each.
struct Folded {
  const float *mean, *scale, *shift, *gamma;

  AffineOf<Vector> at(std::int64_t channel) const {
    return {V::load(mean + channel), V::load(scale + channel), V::load(shift + channel), V::load(gamma + channel)};
  }
};

// A pass, tile by tile.
template <class T, class P>
class TiledKernel : public Kernel {
 public:
  std::string implementation() const final {
    return fmt::format("tiles, vectors of {}{}", kGroup, std::is_same_v<P, BFloat16> ? ", pairs in bf16" : "");
  }

 protected:
  // In tiles of about so many pixels, with sums over kernel and `summed` channels.
  TiledKernel(const Team& team, const ConvolutionShape& shape, std::int64_t pixels, std::int64_t summed)
      : team_(team),
        shape_(shape),
        in_(shape.input.c / kGroup),
        out_(shape.out_channels / kGroup),
        taps_(shape.kernel * shape.kernel),
        tiling_(tiling_of(shape, pixels)),
        reach_(reach(tiling_, shape.kernel, summed / kGroup, tiling_.plane())) {}

  static constexpr int kDepth = Numbers<P>::kDepth;

  Folded fold(const op::Affine& affine, float* scale, float* shift) const {
    for (std::int64_t c = 0; c < shape_.input.c; ++c) {
      const ChannelAffine f{affine.mean[c], affine.rstd[c], affine.gamma[c], affine.beta[c]};
      scale[c] = f.scale;
      shift[c] = f.shift;
    }
    return {affine.mean.data, scale, shift, affine.gamma.data};
  }

  // A weight as activations would hold it.
  static P packed_weight(float w) { return rounded_to<P>(to_float(rounded_to<T>(w))); }

  Team team_;
  ConvolutionShape shape_;
  std::int64_t in_, out_, taps_;  // vectors of input and output channels, places of the kernel
  Tiling tiling_;
  std::vector<std::int64_t> reach_;
};

// Why there is no fused form of it; empty where there is one.
template <class Op>
std::string fused_refusal(const Team& team, const Op& o) {
  const ConvolutionShape& shape = o.shape;
  const std::int64_t lanes = team.lanes;
  std::int64_t odd = 0;
  for_each_operand(o, [&]<class T>(Access, const T& operand) {
    if constexpr (std::is_same_v<T, Tensor>) {
      odd = operand.first_channel() % lanes != 0 ? operand.first_channel() : odd;
    }
  });
  if (odd != 0) {
    return fmt::format("channels of a tensor begin at {}; the CPU's fused kernels need multiples of {}", odd, lanes);
  }
  if (kLanes == 0) {
    return "the CPU's fused kernels need AVX2";
  }
  if (shape.stride != 1 || (shape.kernel != 1 && shape.kernel != 3) || shape.padding != shape.kernel / 2) {
    return "the CPU's fused kernels are 1x1 and 3x3 with stride 1 and as much padding as keeps the size";
  }
  if (shape.input.c % kGroup != 0 || shape.out_channels % kGroup != 0) {
    return fmt::format("it has {} and {} channels; the CPU's fused kernels need multiples of {}", shape.input.c,
                       shape.out_channels, kGroup);
  }
  return "";
}

// A pass for the types that the shape's precision asks for; null and the reason where it has no fused form.
template <template <class T, class P> class Pass, class Op>
std::unique_ptr<Kernel> make_fused(const Team& team, const Op& o, std::string* why_not) {
  *why_not = fused_refusal(team, o);
  if (!why_not->empty()) {
    return nullptr;
  }
  if constexpr (kLanes > 0) {
    if (o.shape.precision == Precision::kFloat32) {
      return std::make_unique<Pass<float, float>>(team, o.shape);
    }
    return std::make_unique<Pass<BFloat16, std::conditional_t<kMultipliesBFloat16, BFloat16, float>>>(team, o.shape);
  }
  return nullptr;  // not reached
}

}  // namespace densetree::cpu

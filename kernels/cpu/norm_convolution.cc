// Batch norm, ReLU and a convolution in one pass over slabs, tile by tile.
//
// A tile is a few rows of pixels of one image (for 1×1 convolutions a stretch of pixels of the whole batch). Forward
// normalises the tile's input channels into memory that stays in cache, multiplies, and takes the statistics of what it
// wrote. Backward walks the tile two vectors of input channels at a time: it normalises them again, adds their part of
// the weights' gradient, makes ∂L/∂z in cache and at once turns it into S and the sums of batch norm. Neither z nor
// ∂L/∂z exists as a whole, unless the caller wants z kept.
//
// The sums of different tiles meet in parts, whose number depends on the shape only.
//
// T, float or BFloat16, is what activations are made of. P is what is multiplied: T, or float where T is BFloat16 and
// the processor has no products of those: the same numbers in tiles of twice the size. Sums, weights before they are
// packed, and ∂L/∂z are fp32.
#include <omp.h>

#include <algorithm>
#include <vector>

#include "kernels/core/error.h"
#include "kernels/core/pieces.h"
#include "kernels/cpu/cpu_device.h"
#include "kernels/cpu/feature_lines.h"
#include "kernels/cpu/partial_sums.h"
#include "kernels/cpu/product.h"

namespace densetree {
namespace {

using namespace cpu;

constexpr std::int64_t kGroup = std::max(kLanes, 1);          // channels in a vector
constexpr std::int64_t kForwardTile = std::int64_t{1} << 18;  // bytes in a tile of the input: what half an L2 holds
constexpr std::int64_t kBackwardPixels = 112;                 // two vectors of channels of so many stay in L1,
constexpr std::int64_t kBackwardPixels3x3 = 224;              // or, for the sake of the rows above and below, in L2
constexpr std::int64_t kForwardParts = 64, kBackwardParts = 16, kBackwardTasks = 16;
constexpr std::int64_t kPixelsOfAPart = 1568;  // fewer are not worth a copy of the weights' gradient

std::int64_t rounded_up(std::int64_t value, std::int64_t to) {
  return (value + to - 1) / to * to;
}

// How an image, or for 1×1 convolutions the batch, is cut into tiles; the planes of padded tiles.
struct Tiling {
  std::int64_t images, height, width;  // as the tiles see them
  std::int64_t tile_rows, tile_width;
  std::int64_t halo;  // rows and columns of neighbours around a tile

  std::int64_t down() const { return (height + tile_rows - 1) / tile_rows; }
  std::int64_t across() const { return (width + tile_width - 1) / tile_width; }
  std::int64_t tiles() const { return images * down() * across(); }
  std::int64_t stride() const { return (tile_width + 2 * halo) * kGroup; }  // from row to row of a padded tile
  std::int64_t plane() const { return (tile_rows + 2 * halo) * stride(); }  // one vector of channels of a padded tile
  std::int64_t numbers() const { return tile_rows * tile_width * kGroup; }  // the same without neighbours
};

struct Tile {
  std::int64_t image, row, column, rows, width;
  std::int64_t pixels() const { return rows * width; }
};

Tile tile_at(const Tiling& t, std::int64_t index) {
  const std::int64_t row = index / t.across() % t.down() * t.tile_rows, column = index % t.across() * t.tile_width;
  return {index / (t.across() * t.down()), row, column, std::min(t.tile_rows, t.height - row),
          std::min(t.tile_width, t.width - column)};
}

// 1×1: pixels of the whole batch in a row. Else rows of one image, whole ones, because their neighbours are needed.
Tiling tiling_of(const ConvolutionShape& s, std::int64_t pixels) {
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
      store(as<T>(f(load(row + p))), inside + p);
    }
    std::fill_n(to + padded - halo * kGroup, halo * kGroup, P{});
  }
}

// Where in padded tiles of `vectors` vectors of channels the sums over kernel and channels go.
std::vector<std::int64_t> reach(const Tiling& tiling, std::int64_t kernel, std::int64_t vectors, std::int64_t plane) {
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

template <class T, class P>
class CpuNormConvolution final : public NormConvolution {
 public:
  CpuNormConvolution(const ConvolutionShape& shape, Layout layout, int threads)
      : shape_(shape),
        layout_(layout),
        threads_(threads),
        in_(shape.input.c / kGroup),
        out_(shape.out_channels / kGroup),
        taps_(shape.kernel * shape.kernel),
        forward_(tiling_of(
            shape, std::max<std::int64_t>(1, kForwardTile / static_cast<std::int64_t>(sizeof(P)) / shape.input.c))),
        backward_(tiling_of(shape, shape.kernel == 1 ? kBackwardPixels : kBackwardPixels3x3)),
        forward_parts_(std::min(forward_.tiles(), kForwardParts)),
        backward_parts_(std::clamp<std::int64_t>(shape.input.n * shape.input.pixels() / kPixelsOfAPart, 1,
                                                 std::min(backward_.tiles(), kBackwardParts))),
        forward_reach_(reach(forward_, shape.kernel, in_, forward_.plane())),
        backward_reach_(reach(backward_, shape.kernel, out_, backward_.plane())) {}

  Implementation implementation() const override {
    return {fmt::format("tiles, vectors of {}{}", kGroup, std::is_same_v<P, BFloat16> ? ", pairs in bf16" : ""),
            shape_.training ? "the same" : ""};
  }
  std::size_t workspace_bytes() const override {
    return std::max(forward_memory(nullptr).bytes, shape_.training ? backward_memory(nullptr).bytes : 0);
  }

  void forward(const View& x, const Affine& affine, const float* w, const View& y, const Output& output,
               void* workspace) override {
    check_views(x, y);
    check_kept(output.z);
    const ForwardMemory m = forward_memory(workspace);
    const Folded folded = fold(affine, m.scale, m.shift);
    const PartialSums sums{m.sums, forward_parts_, shape_.out_channels};
#pragma omp parallel num_threads(threads_)
    {
      pack_forward(w, m.weights);
      P* z = m.tiles + omp_get_thread_num() * in_ * forward_.plane();
#pragma omp for schedule(dynamic)
      for (std::int64_t part = 0; part < forward_parts_; ++part) {
        std::fill_n(sums.at(part, 0, 0), 2 * shape_.out_channels, 0.0);
        for (std::int64_t i = part * forward_.tiles() / forward_parts_;
             i < (part + 1) * forward_.tiles() / forward_parts_; ++i) {
          const Tile tile = tile_at(forward_, i);
          normalize_tile(x, folded, tile, output.z, z);
          Ahead ahead = next_input(x, i + 1, tile);
          multiply_tile(z, m.weights, tile, y, ahead);
          for (std::int64_t v = 0; output.statistics.mean && v < out_; ++v) {
            sum_line<false>(Line<T, kGroup>{at<T>(y, forward_, tile, v * kGroup)}, {}, tile.pixels(),
                            sums.at(part, 0, v * kGroup), sums.at(part, 1, v * kGroup));
          }
        }
      }
    }
    if (output.statistics.mean != nullptr) {
      finish_statistics(sums, y.count(), output.eps, output.statistics);
    }
  }

  void backward(const View& x, const Affine& affine, const float* w, const View& dy, const View& z, GradMode mode,
                const View& s, const Gradients& gradients, void* workspace) override {
    check(shape_.training, "{}: prepared for inference, backward is not there", shape_);
    check_views(x, dy);
    check_views(s, dy);
    check_kept(z);
    const BackwardMemory m = backward_memory(workspace);
    const Folded folded = fold(affine, m.scale, m.shift);
    const bool accumulate = mode == GradMode::kAccumulate;
    const PartialSums sums{m.sums, backward_parts_, shape_.input.c};
    const std::int64_t groups = groups_of_pairs(), tasks = backward_parts_ * groups;
#pragma omp parallel num_threads(threads_)
    {
      pack_backward(w, m.weights);
      const Scratch scratch = take_scratch(m.scratch + omp_get_thread_num() * take_scratch(nullptr).second).first;
#pragma omp for schedule(dynamic)
      for (std::int64_t task = 0; task < tasks; ++task) {
        const std::int64_t part = task / groups, group = task % groups;
        const std::int64_t begin = group * pairs() / groups, end = (group + 1) * pairs() / groups;
        for (std::int64_t pair = begin; pair < end; ++pair) {
          const std::int64_t channel = pair * kPair * kGroup, count = vectors_of(pair) * kGroup;
          std::fill_n(weight_sums(m, part, pair), taps_ * shape_.out_channels * count, 0.0f);
          std::fill_n(sums.at(part, 0, channel), count, 0.0);
          std::fill_n(sums.at(part, 1, channel), count, 0.0);
        }
        for (std::int64_t i = part * backward_.tiles() / backward_parts_;
             i < (part + 1) * backward_.tiles() / backward_parts_; ++i) {
          const Tile tile = tile_at(backward_, i);
          const Source from = gradient_tile(dy, tile, scratch);
          for (std::int64_t pair = begin; pair < end; ++pair) {
            Wanted wanted = next_pair(x, z, s, dy, i, pair, begin, end);
            backward_pair(x, folded, z, m, tile, from, pair, part, accumulate, s, sums, scratch, wanted);
          }
        }
      }
      add_weight_sums(m, gradients.dw);
    }
    finish_affine_backward(sums, affine, accumulate, gradients.sums, gradients.dgamma, gradients.dbeta);
  }

 private:
  struct Folded {  // AffineOf's numbers, float[C] each
    const float *mean, *scale, *shift, *gamma;
  };
  static constexpr int kDepth = Numbers<P>::kDepth;
  static constexpr DType kType = std::is_same_v<T, float> ? DType::kFloat32 : DType::kBFloat16;

  struct ForwardMemory {
    P *weights, *tiles;
    float *scale, *shift;
    double* sums;
    std::size_t bytes;
  };
  struct Scratch {  // of one thread, for a tile
    P *z, *dy;      // with neighbours
    float* dz;
    P *z_pairs, *dy_pairs;  // for products of bf16: the same, pixels in pairs
  };
  struct BackwardMemory {
    P* weights;
    float *scale, *shift, *weight_sums;
    double* sums;
    std::byte* scratch;
    std::size_t bytes;
  };
  // A tile as products over pixels read it: kDepth pixels side by side for each channel.
  struct ByPixels {
    const P* data;
    std::int64_t stride, plane;  // from row to row, from vector to vector of channels
  };
  struct Source {  // ∂L/∂y of a tile
    const P* padded;
    ByPixels pixels;
  };

  struct Wanted {
    Ahead x, s, dy;
  };

  std::int64_t pairs() const {
    return (in_ + kPair - 1) / kPair;
  }
  std::int64_t vectors_of(std::int64_t pair) const {
    return std::min<std::int64_t>(kPair, in_ - pair * kPair);
  }
  // Pairs are shared out where parts alone would not keep every thread busy. Every group reads ∂L/∂y once.
  std::int64_t groups_of_pairs() const {
    const std::int64_t least = (pairs() + 3) / 4;  // at most four pairs in one
    return std::min(pairs(), std::max(least, kBackwardTasks / backward_parts_));
  }
  // Groups of kDepth pixels in a row of a tile, and what a tap further right reaches beyond.
  std::int64_t pixel_groups(std::int64_t width) const {
    return (width + kDepth - 1) / kDepth + backward_.halo;
  }
  std::int64_t paired_stride() const {
    return pixel_groups(backward_.tile_width) * kDepth * kGroup;
  }
  std::int64_t paired_plane() const {
    return (backward_.tile_rows + 2 * backward_.halo) * paired_stride();
  }
  std::int64_t parities() const {  // taps begin at even columns of a tile, and some at odd ones
    return 1 + backward_.halo;
  }

  ForwardMemory forward_memory(void* workspace) const {
    Pieces p(workspace);
    ForwardMemory m{};
    m.weights = p.take<P>(shape_.weights());
    m.scale = p.take<float>(shape_.input.c);
    m.shift = p.take<float>(shape_.input.c);
    m.sums = p.take<double>(forward_parts_ * 2 * shape_.out_channels);
    m.tiles = p.take<P>(threads_ * in_ * forward_.plane());
    m.bytes = p.bytes();
    return m;
  }
  BackwardMemory backward_memory(void* workspace) const {
    Pieces p(workspace);
    BackwardMemory m{};
    m.weights = p.take<P>(shape_.weights());
    m.scale = p.take<float>(shape_.input.c);
    m.shift = p.take<float>(shape_.input.c);
    m.sums = p.take<double>(backward_parts_ * 2 * shape_.input.c);
    m.weight_sums = p.take<float>(backward_parts_ * shape_.weights());
    m.scratch = p.take<std::byte>(threads_ * take_scratch(nullptr).second);
    m.bytes = p.bytes();
    return m;
  }
  // One thread's, and its bytes.
  std::pair<Scratch, std::size_t> take_scratch(void* base) const {
    Pieces p(base);
    Scratch s{};
    s.z = p.take<P>(kPair * backward_.plane());
    s.dz = p.take<float>(kPair * backward_.numbers());
    s.dy = p.take<P>(out_ * backward_.plane());
    if (kDepth > 1) {
      s.z_pairs = p.take<P>(kPair * parities() * paired_plane());
      s.dy_pairs = p.take<P>(out_ * paired_plane());
    }
    return {s, p.bytes()};
  }

  bool fits(const View& view, const Shape& shape) const {
    return view.shape() == shape && view.layout == layout_ && view.first % kGroup == 0 && view.dtype == kType;
  }
  void check_kept(const View& z) const {
    check(z.data == nullptr || fits(z, shape_.input),
          "{} after batch norm: what is kept of its input is ({}, {}, {}, {}) {}", shape_, z.n, z.c, z.h, z.w,
          name_of(z.layout));
  }
  void check_views(const View& x, const View& y) const {
    check(fits(x, shape_.input), "{} after batch norm: its input is ({}, {}, {}, {}) {} from channel {} on", shape_,
          x.n, x.c, x.h, x.w, name_of(x.layout), x.first);
    check(fits(y, shape_.output()), "{} after batch norm: its output is ({}, {}, {}, {}) {} from channel {} on", shape_,
          y.n, y.c, y.h, y.w, name_of(y.layout), y.first);
  }

  Folded fold(const Affine& affine, float* scale, float* shift) const {
    for (std::int64_t c = 0; c < shape_.input.c; ++c) {
      const ChannelAffine f{affine.mean[c], affine.rstd[c], affine.gamma[c], affine.beta[c]};
      scale[c] = f.scale;
      shift[c] = f.shift;
    }
    return {affine.mean, scale, shift, affine.gamma};
  }

  // A weight as activations would hold it.
  static P packed_weight(float w) {
    return rounded_to<P>(to_float(rounded_to<T>(w)));
  }

  // Weights are packed by the threads of a team together, and ready after it.
  // (O, I, k, k) to [O / pair][tap][I / kDepth][pair][lanes][kDepth].
  void pack_forward(const float* w, P* packed) const {
    const std::int64_t inputs = shape_.input.c, outputs = (out_ + kPair - 1) / kPair;
#pragma omp for
    for (std::int64_t block = 0; block < outputs; ++block) {
      const std::int64_t first = block * kPair * kGroup;
      const std::int64_t lanes = std::min(kPair * kGroup, shape_.out_channels - first);
      P* to = packed + first * inputs * taps_;
      for (std::int64_t o = 0; o < lanes; ++o) {
        const float* from = w + (first + o) * inputs * taps_;
        for (std::int64_t i = 0; i < inputs; ++i) {
          for (std::int64_t tap = 0; tap < taps_; ++tap) {
            to[((tap * inputs + i) / kDepth * lanes + o) * kDepth + i % kDepth] = packed_weight(from[i * taps_ + tap]);
          }
        }
      }
    }
  }
  // (O, I, k, k) to [I / pair][tap turned round][O / kDepth][pair][lanes][kDepth].
  void pack_backward(const float* w, P* packed) const {
    const std::int64_t inputs = shape_.input.c, outputs = shape_.out_channels;
#pragma omp for
    for (std::int64_t pair = 0; pair < pairs(); ++pair) {
      const std::int64_t first = pair * kPair * kGroup, lanes = vectors_of(pair) * kGroup;
      P* to = packed + first * outputs * taps_;
      for (std::int64_t o = 0; o < outputs; ++o) {
        const float* from = w + (o * inputs + first) * taps_;
        for (std::int64_t tap = 0; tap < taps_; ++tap) {
          P* row = to + ((taps_ - 1 - tap) * outputs + o) / kDepth * lanes * kDepth + o % kDepth;
          for (std::int64_t i = 0; i < lanes; ++i) {
            row[i * kDepth] = packed_weight(from[i * taps_ + tap]);
          }
        }
      }
    }
  }

  static AffineOf<Vector> affine_at(const Folded& f, std::int64_t channel) {
    return {load(f.mean + channel), load(f.scale + channel), load(f.shift + channel), load(f.gamma + channel)};
  }

  // z of a tile and its neighbours, all input channels; kept, too, where the caller wants it.
  void normalize_tile(const View& x, const Folded& folded, const Tile& tile, const View& kept, P* z) const {
    for (std::int64_t v = 0; v < in_; ++v, z += forward_.plane()) {
      const AffineOf<Vector> f = affine_at(folded, v * kGroup);
      cut(at<T>(x, forward_, tile, v * kGroup), forward_, tile, z,
          [&](Vector value) { return f.forward(value, true); });
      if (kept.data != nullptr) {
        T* to = at<T>(kept, forward_, tile, v * kGroup);
        const P* inside = z + forward_.halo * (forward_.stride() + kGroup);
        for (std::int64_t r = 0; r < tile.rows; ++r, to += tile.width * kGroup, inside += forward_.stride()) {
          for (std::int64_t p = 0; p < tile.width * kGroup; p += kGroup) {
            store(load(inside + p), to + p);
          }
        }
      }
    }
  }

  // The next tile's input, while this one is multiplied.
  Ahead next_input(const View& x, std::int64_t next, const Tile& tile) const {
    if (next >= forward_.tiles()) {
      return {};
    }
    const Tile wanted = tile_at(forward_, next);
    const std::int64_t products = (tile.pixels() / (2 * kRun) + 1) * ((out_ + kPair - 1) / kPair);
    return {at<T>(x, forward_, wanted, 0), in_, x.block_stride, wanted.pixels(), products};
  }

  void multiply_tile(const P* z, const P* weights, const Tile& tile, const View& y, Ahead& ahead) const {
    const std::int64_t vector_stride = y.block_stride;
    for (std::int64_t v = 0; v < out_; v += kPair) {
      with_vectors(std::min<std::int64_t>(kPair, out_ - v), [&](auto vectors) {
        convolve_tile<vectors>(z, {tile.rows, tile.width, forward_.stride()}, {forward_reach_.data(), taps_ * in_},
                               weights + v * kGroup * shape_.input.c * taps_, at<T>(y, forward_, tile, v * kGroup),
                               vector_stride, ahead);
      });
    }
  }

  // What the pair after this one reads and writes, of this tile or the next, while this one is multiplied; with the
  // last pairs of a tile ∂L/∂y of the next.
  Wanted next_pair(const View& x, const View& z, const View& s, const View& dy, std::int64_t index, std::int64_t pair,
                   std::int64_t begin, std::int64_t end) const {
    const bool last = pair + 1 == end;
    if (last && index + 1 >= backward_.tiles()) {
      return {};
    }
    const Tile tile = tile_at(backward_, last ? index + 1 : index);
    const std::int64_t next = last ? begin : pair + 1, channel = next * kPair * kGroup, count = vectors_of(next);
    const std::int64_t products = taps_ * shape_.out_channels / kOutputs;
    const View& values = z.data != nullptr ? z : x;
    Wanted wanted{{at<T>(values, backward_, tile, channel), count, values.block_stride, tile.pixels(), products},
                  {at<T>(s, backward_, tile, channel), count, s.block_stride, tile.pixels(), products, true},
                  {}};
    if (index + 1 < backward_.tiles()) {
      const Tile following = tile_at(backward_, index + 1);
      const std::int64_t share = out_ * (pair - begin) / (end - begin),
                         until = out_ * (pair + 1 - begin) / (end - begin);
      if (until > share) {
        wanted.dy = {at<T>(dy, backward_, following, share * kGroup), until - share, dy.block_stride,
                     following.pixels(), following.pixels() / (2 * kRun) + 1};
      }
    }
    return wanted;
  }

  Source gradient_tile(const View& dy, const Tile& tile, const Scratch& scratch) const {
    const std::int64_t inside = backward_.halo * (backward_.stride() + kGroup);
    for (std::int64_t v = 0; v < out_; ++v) {
      P* to = scratch.dy + v * backward_.plane();
      cut(at<T>(dy, backward_, tile, v * kGroup), backward_, tile, to, [](Vector value) { return value; });
      if constexpr (kDepth > 1) {
        pair_pixels(to + inside, {tile.rows, tile.width, backward_.stride()}, 0, pixel_groups(tile.width),
                    scratch.dy_pairs + v * paired_plane(), paired_stride());
      }
    }
    return {scratch.dy, kDepth > 1 ? ByPixels{scratch.dy_pairs, paired_stride(), paired_plane()}
                                   : ByPixels{scratch.dy + inside, backward_.stride(), backward_.plane()}};
  }

  // z of the vector v of a pair, with neighbours.
  void activation_tile(const View& x, const Folded& folded, const View& z, const Tile& tile, std::int64_t channel,
                       std::int64_t v, const Scratch& scratch) const {
    P* to = scratch.z + v * backward_.plane();
    if (z.data != nullptr) {
      cut(at<T>(z, backward_, tile, channel), backward_, tile, to, [](Vector value) { return value; });
    } else {
      const AffineOf<Vector> f = affine_at(folded, channel);
      cut(at<T>(x, backward_, tile, channel), backward_, tile, to,
          [&](Vector value) { return f.forward(value, true); });
    }
    if constexpr (kDepth > 1) {
      const std::int64_t halo = backward_.halo;
      for (std::int64_t parity = 0; parity < parities(); ++parity) {
        pair_pixels(to, {tile.rows + 2 * halo, tile.width + 2 * halo, backward_.stride()}, parity,
                    pixel_groups(tile.width), scratch.z_pairs + (v * parities() + parity) * paired_plane(),
                    paired_stride());
      }
    }
  }
  // The same, as the products of a tap read it.
  ByPixels activation_at(std::int64_t tap, const Scratch& scratch) const {
    const std::int64_t row = tap / shape_.kernel, column = tap % shape_.kernel;
    if constexpr (kDepth > 1) {
      return {scratch.z_pairs + column % kDepth * paired_plane() + row * paired_stride() +
                  column / kDepth * kDepth * kGroup,
              paired_stride(), parities() * paired_plane()};
    } else {
      return {scratch.z + row * backward_.stride() + column * kGroup, backward_.stride(), backward_.plane()};
    }
  }

  float* weight_sums(const BackwardMemory& m, std::int64_t part, std::int64_t pair) const {
    return m.weight_sums + part * shape_.weights() + pair * kPair * kGroup * taps_ * shape_.out_channels;
  }

  void backward_pair(const View& x, const Folded& folded, const View& z, const BackwardMemory& m, const Tile& tile,
                     const Source& dy, std::int64_t pair, std::int64_t part, bool accumulate, const View& s,
                     const PartialSums& sums, const Scratch& scratch, Wanted& wanted) const {
    const std::int64_t first = pair * kPair * kGroup;
    with_vectors(vectors_of(pair), [&](auto vectors) {
      for (int v = 0; v < vectors; ++v) {
        activation_tile(x, folded, z, tile, first + v * kGroup, v, scratch);
      }
      const std::int64_t groups = (tile.width + kDepth - 1) / kDepth;
      for (std::int64_t tap = 0; tap < taps_; ++tap) {
        const ByPixels by = activation_at(tap, scratch), from = dy.pixels;
        float* to = weight_sums(m, part, pair) + tap * shape_.out_channels * vectors * kGroup;
        for (std::int64_t o = 0; o < shape_.out_channels; o += kOutputs, to += kOutputs * vectors * kGroup) {
          sum_over_pixels<vectors>(from.data + o / kGroup * from.plane + o % kGroup * kDepth, from.stride, by.data,
                                   {tile.rows, groups, by.stride}, by.plane, to);
          wanted.x.step();
          wanted.s.step();
        }
      }
      convolve_tile<vectors>(dy.padded, {tile.rows, tile.width, backward_.stride()},
                             {backward_reach_.data(), taps_ * out_}, m.weights + first * taps_ * shape_.out_channels,
                             scratch.dz, backward_.numbers(), wanted.dy);
      for (int v = 0; v < vectors; ++v) {
        const std::int64_t channel = first + v * kGroup;
        affine_backward_line(Line<T, kGroup>{at<T>(x, backward_, tile, channel)},
                             Line<float, kGroup>{scratch.dz + v * backward_.numbers()},
                             Line<T, kGroup>{at<T>(s, backward_, tile, channel)}, tile.pixels(),
                             group_at(folded, channel), true, accumulate, sums.at(part, 0, channel),
                             sums.at(part, 1, channel));
      }
    });
  }

  static AffineGroup<kGroup> group_at(const Folded& f, std::int64_t channel) {
    using G = Group<kGroup>;
    AffineGroup<kGroup> group;
    for (auto& part : group) {
      part = {G::load(f.mean + channel), G::load(f.scale + channel), G::load(f.shift + channel),
              G::load(f.gamma + channel)};
      channel += G::kWidth;
    }
    return group;
  }

  // [part][I / pair][tap][O][pair][lanes] to (O, I, k, k), the parts added up in order.
  void add_weight_sums(const BackwardMemory& m, float* dw) const {
#pragma omp for
    for (std::int64_t o = 0; o < shape_.out_channels; ++o) {
      for (std::int64_t pair = 0; pair < pairs(); ++pair) {
        const std::int64_t first = pair * kPair * kGroup, lanes = vectors_of(pair) * kGroup;
        for (std::int64_t tap = 0; tap < taps_; ++tap) {
          double totals[kPair * kGroup] = {};
          for (std::int64_t part = 0; part < backward_parts_; ++part) {
            const float* from = weight_sums(m, part, pair) + (tap * shape_.out_channels + o) * lanes;
            for (std::int64_t i = 0; i < lanes; ++i) {
              totals[i] += from[i];
            }
          }
          for (std::int64_t i = 0; i < lanes; ++i) {
            dw[(o * shape_.input.c + first + i) * taps_ + tap] = static_cast<float>(totals[i]);
          }
        }
      }
    }
  }

  ConvolutionShape shape_;
  Layout layout_;
  int threads_;
  std::int64_t in_, out_, taps_;  // vectors of input and output channels, places of the kernel
  Tiling forward_, backward_;
  std::int64_t forward_parts_, backward_parts_;
  std::vector<std::int64_t> forward_reach_, backward_reach_;
};

// Why there is no fused form of the shape; empty where there is one.
std::string refusal(const ConvolutionShape& shape, std::int64_t lanes) {
  if (kLanes != lanes) {
    return kLanes == 0
               ? "this build has no vector instructions"
               : fmt::format("this build multiplies vectors of {}, and the layout has blocks of {}", kLanes, lanes);
  }
  if (shape.precision == Precision::kTensorFloat32) {
    return "the CPU has no tf32";
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

}  // namespace

std::unique_ptr<NormConvolution> make_cpu_norm_convolution(const ConvolutionShape& shape, Layout layout,
                                                           std::int64_t lanes, int threads, bool pairs,
                                                           std::string* why_not) {
  shape.validate();
  *why_not = refusal(shape, lanes);
  if (!why_not->empty()) {
    return nullptr;
  }
  if (shape.precision == Precision::kFloat32) {
    return std::make_unique<CpuNormConvolution<float, float>>(shape, layout, threads);
  }
  if (pairs) {
    return std::make_unique<CpuNormConvolution<BFloat16, BFloat16>>(shape, layout, threads);
  }
  return std::make_unique<CpuNormConvolution<BFloat16, float>>(shape, layout, threads);
}

}  // namespace densetree

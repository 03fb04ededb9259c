// The gradient of batch norm, ReLU and a convolution in one, tile by tile (kernels/cpu/norm_tiles.h), two vectors of
// input channels at a time: they are normalised again, their part of the weights' gradient is added, and ∂L/∂z is made
// in cache and at once turned into S and the sums of batch norm. ∂L/∂z does not exist as a whole.
#include <omp.h>

#include "kernels/core/pieces.h"
#include "kernels/cpu/norm_tiles.h"
#include "kernels/cpu/partial_sums.h"

namespace densetree::cpu {
namespace {

constexpr std::int64_t kPixels = 112;     // two vectors of channels of so many stay in L1,
constexpr std::int64_t kPixels3x3 = 224;  // or, for the sake of the rows above and below, in L2
constexpr std::int64_t kMostParts = 16, kTasks = 16;
constexpr std::int64_t kPixelsOfAPart = 1568;  // fewer are not worth a copy of the weights' gradient

template <class T, class P>
class FusedGradient final : public TiledKernel<T, P> {
 public:
  FusedGradient(const Team& team, const ConvolutionShape& shape)
      : Base(team, shape, shape.kernel == 1 ? kPixels : kPixels3x3, shape.out_channels),
        parts_(std::clamp<std::int64_t>(shape.input.n * shape.input.pixels() / kPixelsOfAPart, 1,
                                        std::min(tiling_.tiles(), kMostParts))) {}

  std::size_t workspace_bytes() const override { return memory(nullptr).bytes; }

  void run(const Operation& operation, void* workspace) override {
    const auto& o = std::get<op::NormConvolutionGradient>(operation);
    const Memory m = memory(workspace);
    const Folded folded = this->fold(o.affine, m.scale, m.shift);
    const PartialSums sums{m.sums, parts_, shape_.input.c};
    const std::int64_t groups = groups_of_pairs(), tasks = parts_ * groups;
#pragma omp parallel num_threads(team_.threads)
    {
      pack(o.w.data, m.weights);
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
        for (std::int64_t i = part * tiling_.tiles() / parts_; i < (part + 1) * tiling_.tiles() / parts_; ++i) {
          const Tile tile = tile_at(tiling_, i);
          const Source from = gradient_tile(o.dy, tile, scratch);
          for (std::int64_t pair = begin; pair < end; ++pair) {
            Wanted wanted = next_pair(o, i, pair, begin, end);
            work_on_pair(o, folded, m, tile, from, pair, part, sums, scratch, wanted);
          }
        }
      }
      add_weight_sums(m, o.dw.data);
    }
    finish_affine_gradient(sums, o);
  }

 private:
  using Base = TiledKernel<T, P>;
  using Base::in_, Base::out_, Base::taps_, Base::team_, Base::shape_, Base::tiling_, Base::reach_, Base::kDepth;

  struct Scratch {  // of one thread, for a tile
    P *z, *dy;      // with neighbours
    float* dz;
    P *z_pairs, *dy_pairs;  // for products of bf16: the same, pixels in pairs
  };
  struct Memory {
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
    return quotient_up(in_, kPair);
  }
  std::int64_t vectors_of(std::int64_t pair) const {
    return std::min<std::int64_t>(kPair, in_ - pair * kPair);
  }
  // Pairs are shared out where parts alone would not keep every thread busy. Every group reads ∂L/∂y once.
  std::int64_t groups_of_pairs() const {
    const std::int64_t least = quotient_up(pairs(), 4);  // at most four pairs in one
    return std::min(pairs(), std::max(least, kTasks / parts_));
  }
  // Groups of kDepth pixels in a row of a tile, and what a tap further right reaches beyond.
  std::int64_t pixel_groups(std::int64_t width) const {
    return quotient_up(width, kDepth) + tiling_.halo;
  }
  std::int64_t paired_stride() const {
    return pixel_groups(tiling_.tile_width) * kDepth * kGroup;
  }
  std::int64_t paired_plane() const {
    return (tiling_.tile_rows + 2 * tiling_.halo) * paired_stride();
  }
  std::int64_t parities() const {  // taps begin at even columns of a tile, and some at odd ones
    return 1 + tiling_.halo;
  }

  Memory memory(void* workspace) const {
    Pieces p(workspace);
    Memory m{};
    m.weights = p.take<P>(shape_.weights());
    m.scale = p.take<float>(shape_.input.c);
    m.shift = p.take<float>(shape_.input.c);
    m.sums = p.take<double>(parts_ * 2 * shape_.input.c);
    m.weight_sums = p.take<float>(parts_ * shape_.weights());
    m.scratch = p.take<std::byte>(team_.threads * take_scratch(nullptr).second);
    m.bytes = p.bytes();
    return m;
  }
  // One thread's, and its bytes.
  std::pair<Scratch, std::size_t> take_scratch(void* base) const {
    Pieces p(base);
    Scratch s{};
    s.z = p.take<P>(kPair * tiling_.plane());
    s.dz = p.take<float>(kPair * tiling_.numbers());
    s.dy = p.take<P>(out_ * tiling_.plane());
    if (kDepth > 1) {
      s.z_pairs = p.take<P>(kPair * parities() * paired_plane());
      s.dy_pairs = p.take<P>(out_ * paired_plane());
    }
    return {s, p.bytes()};
  }

  // Weights are packed by the threads of a team together, and ready after it:
  // (O, I, k, k) to [I / pair][tap turned round][O / kDepth][pair][lanes][kDepth].
  void pack(const float* w, P* packed) const {
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
            row[i * kDepth] = Base::packed_weight(from[i * taps_ + tap]);
          }
        }
      }
    }
  }

  // What the pair after this one reads and writes, of this tile or the next, while this one is multiplied; with the
  // last pairs of a tile ∂L/∂y of the next.
  Wanted next_pair(const op::NormConvolutionGradient& o, std::int64_t index, std::int64_t pair, std::int64_t begin,
                   std::int64_t end) const {
    const bool last = pair + 1 == end;
    if (last && index + 1 >= tiling_.tiles()) {
      return {};
    }
    const Tile tile = tile_at(tiling_, last ? index + 1 : index);
    const std::int64_t next = last ? begin : pair + 1, channel = next * kPair * kGroup, count = vectors_of(next);
    const std::int64_t products = taps_ * shape_.out_channels / kOutputs;
    const View &values = o.z.present() ? o.z : o.x, &s = o.s, &dy = o.dy;
    Wanted wanted{{at<T>(values, tiling_, tile, channel), count, values.block_stride, tile.pixels(), products},
                  {at<T>(s, tiling_, tile, channel), count, s.block_stride, tile.pixels(), products, true},
                  {}};
    if (index + 1 < tiling_.tiles()) {
      const Tile following = tile_at(tiling_, index + 1);
      const std::int64_t share = out_ * (pair - begin) / (end - begin),
                         until = out_ * (pair + 1 - begin) / (end - begin);
      if (until > share) {
        wanted.dy = {at<T>(dy, tiling_, following, share * kGroup), until - share, dy.block_stride, following.pixels(),
                     following.pixels() / (2 * kRun) + 1};
      }
    }
    return wanted;
  }

  Source gradient_tile(const View& dy, const Tile& tile, const Scratch& scratch) const {
    const std::int64_t inside = tiling_.halo * (tiling_.stride() + kGroup);
    for (std::int64_t v = 0; v < out_; ++v) {
      P* to = scratch.dy + v * tiling_.plane();
      cut(at<T>(dy, tiling_, tile, v * kGroup), tiling_, tile, to, [](Vector value) { return value; });
      if constexpr (kDepth > 1) {
        pair_pixels(to + inside, {tile.rows, tile.width, tiling_.stride()}, 0, pixel_groups(tile.width),
                    scratch.dy_pairs + v * paired_plane(), paired_stride());
      }
    }
    return {scratch.dy, kDepth > 1 ? ByPixels{scratch.dy_pairs, paired_stride(), paired_plane()}
                                   : ByPixels{scratch.dy + inside, tiling_.stride(), tiling_.plane()}};
  }

  // z of the vector v of a pair, with neighbours.
  void activation_tile(const op::NormConvolutionGradient& o, const Folded& folded, const Tile& tile,
                       std::int64_t channel, std::int64_t v, const Scratch& scratch) const {
    P* to = scratch.z + v * tiling_.plane();
    if (o.z.present()) {
      cut(at<T>(o.z, tiling_, tile, channel), tiling_, tile, to, [](Vector value) { return value; });
    } else {
      const AffineOf<Vector> f = folded.at(channel);
      cut(at<T>(o.x, tiling_, tile, channel), tiling_, tile, to, [&](Vector value) { return f.forward(value); });
    }
    if constexpr (kDepth > 1) {
      const std::int64_t halo = tiling_.halo;
      for (std::int64_t parity = 0; parity < parities(); ++parity) {
        pair_pixels(to, {tile.rows + 2 * halo, tile.width + 2 * halo, tiling_.stride()}, parity,
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
      return {scratch.z + row * tiling_.stride() + column * kGroup, tiling_.stride(), tiling_.plane()};
    }
  }

  float* weight_sums(const Memory& m, std::int64_t part, std::int64_t pair) const {
    return m.weight_sums + part * shape_.weights() + pair * kPair * kGroup * taps_ * shape_.out_channels;
  }

  void work_on_pair(const op::NormConvolutionGradient& o, const Folded& folded, const Memory& m, const Tile& tile,
                    const Source& dy, std::int64_t pair, std::int64_t part, const PartialSums& sums,
                    const Scratch& scratch, Wanted& wanted) const {
    const bool accumulate = o.mode == GradMode::kAccumulate;
    const std::int64_t first = pair * kPair * kGroup;
    with_vectors(vectors_of(pair), [&](auto vectors) {
      for (int v = 0; v < vectors; ++v) {
        activation_tile(o, folded, tile, first + v * kGroup, v, scratch);
      }
      const std::int64_t groups = quotient_up(tile.width, kDepth);
      for (std::int64_t tap = 0; tap < taps_; ++tap) {
        const ByPixels by = activation_at(tap, scratch), from = dy.pixels;
        float* to = weight_sums(m, part, pair) + tap * shape_.out_channels * vectors * kGroup;
        for (std::int64_t c = 0; c < shape_.out_channels; c += kOutputs, to += kOutputs * vectors * kGroup) {
          sum_over_pixels<vectors>(from.data + c / kGroup * from.plane + c % kGroup * kDepth, from.stride, by.data,
                                   {tile.rows, groups, by.stride}, by.plane, to);
          wanted.x.step();
          wanted.s.step();
        }
      }
      convolve_tile<vectors>(dy.padded, {tile.rows, tile.width, tiling_.stride()}, {reach_.data(), taps_ * out_},
                             m.weights + first * taps_ * shape_.out_channels, scratch.dz, tiling_.numbers(), wanted.dy);
      for (int v = 0; v < vectors; ++v) {
        const std::int64_t channel = first + v * kGroup;
        affine_gradient_line(Line<T, kGroup>{at<T>(o.x, tiling_, tile, channel)},
                             Line<float, kGroup>{scratch.dz + v * tiling_.numbers()},
                             Line<T, kGroup>{at<T>(o.s, tiling_, tile, channel)}, tile.pixels(),
                             group_at(folded, channel), accumulate, sums.at(part, 0, channel),
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
  void add_weight_sums(const Memory& m, float* dw) const {
#pragma omp for
    for (std::int64_t o = 0; o < shape_.out_channels; ++o) {
      for (std::int64_t pair = 0; pair < pairs(); ++pair) {
        const std::int64_t first = pair * kPair * kGroup, lanes = vectors_of(pair) * kGroup;
        for (std::int64_t tap = 0; tap < taps_; ++tap) {
          double totals[kPair * kGroup] = {};
          for (std::int64_t part = 0; part < parts_; ++part) {
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

  std::int64_t parts_;
};

}  // namespace

std::unique_ptr<Kernel> make_norm_convolution(const Team& team, const op::NormConvolutionGradient& o,
                                              std::string* why_not) {
  return make_fused<FusedGradient>(team, o, why_not);
}

}  // namespace densetree::cpu

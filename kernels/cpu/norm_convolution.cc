// Batch norm, ReLU and a convolution in one pass over slabs, tile by tile (kernels/cpu/norm_tiles.h): the tile's input
// channels are normalised into memory that stays in cache and multiplied, and the statistics taken of what was written.
// z does not exist as a whole, unless the caller wants it kept.
#include <omp.h>

#include "kernels/core/pieces.h"
#include "kernels/cpu/norm_tiles.h"
#include "kernels/cpu/partial_sums.h"

namespace densetree::cpu {
namespace {

constexpr std::int64_t kTileBytes = std::int64_t{1} << 18;  // of the input: what half an L2 holds
constexpr std::int64_t kMostParts = 64;

template <class T, class P>
class FusedForward final : public TiledKernel<T, P> {
 public:
  FusedForward(const Team& team, const ConvolutionShape& shape)
      : Base(team, shape, std::max<std::int64_t>(1, kTileBytes / static_cast<std::int64_t>(sizeof(P)) / shape.input.c),
             shape.input.c),
        parts_(std::min(tiling_.tiles(), kMostParts)) {}

  std::size_t workspace_bytes() const override { return memory(nullptr).bytes; }

  void run(const Operation& operation, void* workspace) override {
    const auto& o = std::get<op::NormConvolution>(operation);
    const View &x = o.x, &y = o.y;
    const Memory m = memory(workspace);
    const Folded folded = this->fold(o.affine, m.scale, m.shift);
    const PartialSums sums{m.sums, parts_, shape_.out_channels};
#pragma omp parallel num_threads(team_.threads)
    {
      pack(o.w.data, m.weights);
      P* z = m.tiles + omp_get_thread_num() * in_ * tiling_.plane();
#pragma omp for schedule(dynamic)
      for (std::int64_t part = 0; part < parts_; ++part) {
        std::fill_n(sums.at(part, 0, 0), 2 * shape_.out_channels, 0.0);
        for (std::int64_t i = part * tiling_.tiles() / parts_; i < (part + 1) * tiling_.tiles() / parts_; ++i) {
          const Tile tile = tile_at(tiling_, i);
          normalize_tile(x, folded, tile, o.z, z);
          Ahead ahead = next_input(x, i + 1, tile);
          multiply_tile(z, m.weights, tile, y, ahead);
          for (std::int64_t v = 0; o.statistics.present() && v < out_; ++v) {
            sum_line<false>(Line<T, kGroup>{at<T>(y, tiling_, tile, v * kGroup)}, {}, tile.pixels(),
                            sums.at(part, 0, v * kGroup), sums.at(part, 1, v * kGroup));
          }
        }
      }
    }
    if (o.statistics.present()) {
      finish_statistics(sums, y.count(), o.eps, o.statistics);
    }
  }

 private:
  using Base = TiledKernel<T, P>;
  using Base::in_, Base::out_, Base::taps_, Base::team_, Base::shape_, Base::tiling_, Base::reach_, Base::kDepth;

  struct Memory {
    P *weights, *tiles;
    float *scale, *shift;
    double* sums;
    std::size_t bytes;
  };
  Memory memory(void* workspace) const {
    Pieces p(workspace);
    Memory m{};
    m.weights = p.take<P>(shape_.weights());
    m.scale = p.take<float>(shape_.input.c);
    m.shift = p.take<float>(shape_.input.c);
    m.sums = p.take<double>(parts_ * 2 * shape_.out_channels);
    m.tiles = p.take<P>(team_.threads * in_ * tiling_.plane());
    m.bytes = p.bytes();
    return m;
  }

  // Weights are packed by the threads of a team together, and ready after it:
  // (O, I, k, k) to [O / pair][tap][I / kDepth][pair][lanes][kDepth].
  void pack(const float* w, P* packed) const {
    const std::int64_t inputs = shape_.input.c, outputs = quotient_up(out_, kPair);
#pragma omp for
    for (std::int64_t block = 0; block < outputs; ++block) {
      const std::int64_t first = block * kPair * kGroup;
      const std::int64_t lanes = std::min(kPair * kGroup, shape_.out_channels - first);
      P* to = packed + first * inputs * taps_;
      for (std::int64_t o = 0; o < lanes; ++o) {
        const float* from = w + (first + o) * inputs * taps_;
        for (std::int64_t i = 0; i < inputs; ++i) {
          for (std::int64_t tap = 0; tap < taps_; ++tap) {
            to[((tap * inputs + i) / kDepth * lanes + o) * kDepth + i % kDepth] =
                Base::packed_weight(from[i * taps_ + tap]);
          }
        }
      }
    }
  }

  // z of a tile and its neighbours, all input channels; kept, too, where the caller wants it.
  void normalize_tile(const View& x, const Folded& folded, const Tile& tile, const View& kept, P* z) const {
    for (std::int64_t v = 0; v < in_; ++v, z += tiling_.plane()) {
      const AffineOf<Vector> f = folded.at(v * kGroup);
      cut(at<T>(x, tiling_, tile, v * kGroup), tiling_, tile, z, [&](Vector value) { return f.forward(value); });
      if (kept.data != nullptr) {
        T* to = at<T>(kept, tiling_, tile, v * kGroup);
        const P* inside = z + tiling_.halo * (tiling_.stride() + kGroup);
        for (std::int64_t r = 0; r < tile.rows; ++r, to += tile.width * kGroup, inside += tiling_.stride()) {
          for (std::int64_t p = 0; p < tile.width * kGroup; p += kGroup) {
            V::store(V::load(inside + p), to + p);
          }
        }
      }
    }
  }

  // The next tile's input, while this one is multiplied.
  Ahead next_input(const View& x, std::int64_t next, const Tile& tile) const {
    if (next >= tiling_.tiles()) {
      return {};
    }
    const Tile wanted = tile_at(tiling_, next);
    const std::int64_t products = (tile.pixels() / (2 * kRun) + 1) * quotient_up(out_, kPair);
    return {at<T>(x, tiling_, wanted, 0), in_, x.block_stride, wanted.pixels(), products};
  }

  void multiply_tile(const P* z, const P* weights, const Tile& tile, const View& y, Ahead& ahead) const {
    const std::int64_t vector_stride = y.block_stride;
    for (std::int64_t v = 0; v < out_; v += kPair) {
      with_vectors(std::min<std::int64_t>(kPair, out_ - v), [&](auto vectors) {
        convolve_tile<vectors>(z, {tile.rows, tile.width, tiling_.stride()}, {reach_.data(), taps_ * in_},
                               weights + v * kGroup * shape_.input.c * taps_, at<T>(y, tiling_, tile, v * kGroup),
                               vector_stride, ahead);
      });
    }
  }

  std::int64_t parts_;
};

}  // namespace

std::unique_ptr<Kernel> make_norm_convolution(const Team& team, const op::NormConvolution& o, std::string* why_not) {
  return make_fused<FusedForward>(team, o, why_not);
}

}  // namespace densetree::cpu

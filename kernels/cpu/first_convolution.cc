// The forward pass of a network's first convolution in fp64: few input channels, planar, a large kernel.
//
// Everything a network computes depends on this one layer, and no other rounds as much: the vendor library adds its 147
// products one after the other in fp32. Measured on small DenseNets, that alone made up four fifths of the distance of
// gradients from float64, and it decided which side of a ReLU the closest values fell on. The layer has 1.4 % of a
// training step's arithmetic, so fp64 costs little here. Gradients are the vendor library's.
#include <omp.h>

#include <algorithm>

#include "kernels/core/pieces.h"
#include "kernels/cpu/convolutions.h"
#include "kernels/cpu/simd.h"

namespace densetree::cpu {
namespace {

constexpr int kPixels = 8;  // output pixels computed at once
constexpr int kPart = 8;    // channels in one vector
using V = Simd<kPart>;
using Doubles = V::Double;

// T is what activations are made of.
template <class T>
class FirstConvolution final : public Kernel {
 public:
  FirstConvolution(const Team& team, const ConvolutionShape& shape) : team_(team), shape_(shape) {
    row_ = std::max(shape.input.w + 2 * shape.padding,
                    (rounded_up(shape.output().w, kPixels) - 1) * shape.stride + shape.kernel);
    window_ = rounded_up(shape.input.c * shape.kernel * row_, kPart);
  }

  std::string implementation() const override { return "own sums in fp64"; }
  std::size_t workspace_bytes() const override { return memory(nullptr).bytes; }

  void run(const Operation& operation, void* workspace) override {
    const auto& o = std::get<op::Convolution>(operation);
    const View &x = o.x, &y = o.y;
    const Memory m = memory(workspace);
    pack(o.w.data, m.packed);
#pragma omp parallel for collapse(2) schedule(static) num_threads(team_.threads)
    for (std::int64_t n = 0; n < y.n; ++n) {
      for (std::int64_t row = 0; row < y.h; ++row) {
        double* window = m.windows + omp_get_thread_num() * window_;
        cut_window(x, n, row, window);
        for (std::int64_t first = 0; first < y.padded_channels(); first += team_.lanes) {
          const double* weights = m.packed + first * taps();
          T* to = y.as<T>() + y.offset(n, first, row * y.w);
          team_.lanes == 16 ? output_row<2>(window, weights, y.w, to) : output_row<1>(window, weights, y.w, to);
        }
      }
    }
  }

 private:
  std::int64_t taps() const {
    return shape_.input.c * shape_.kernel * shape_.kernel;
  }
  std::int64_t padded_outputs() const {
    return rounded_up(shape_.out_channels, team_.lanes);
  }
  struct Memory {
    double *packed, *windows;
    std::size_t bytes;
  };
  Memory memory(void* workspace) const {
    Pieces p(workspace);
    Memory m{};
    m.packed = p.take<double>(padded_outputs() * taps());
    m.windows = p.take<double>(team_.threads * window_);
    m.bytes = p.bytes();
    return m;
  }

  // (O, I, kH, kW) to [O / lanes][I][kH][kW][lanes], zeros beyond O.
  void pack(const float* w, double* packed) const {
    for (std::int64_t o = 0; o < padded_outputs(); ++o) {
      for (std::int64_t tap = 0; tap < taps(); ++tap) {
        packed[(o / team_.lanes * taps() + tap) * team_.lanes + o % team_.lanes] =
            o < shape_.out_channels ? to_float(rounded_to<T>(w[o * taps() + tap])) : 0;
      }
    }
  }

  // The input rows under one output row, [I][kH][row_], with the padding around them.
  void cut_window(const View& x, std::int64_t n, std::int64_t row, double* window) const {
    for (std::int64_t c = 0; c < x.c; ++c) {
      for (std::int64_t k = 0; k < shape_.kernel; ++k, window += row_) {
        const std::int64_t from = row * shape_.stride - shape_.padding + k;
        std::fill_n(window, row_, 0.0);
        if (from >= 0 && from < x.h) {
          std::transform(x.as<T>() + x.offset(n, c, from * x.w), x.as<T>() + x.offset(n, c, from * x.w) + x.w,
                         window + shape_.padding, [](T value) { return to_float(value); });
        }
      }
    }
  }

  // kParts vectors of channels for each pixel of a row.
  template <int kParts>
  void output_row(const double* window, const double* weights, std::int64_t width, T* to) const {
    const std::int64_t rows = shape_.input.c * shape_.kernel, kernel = shape_.kernel, stride = shape_.stride;
    for (std::int64_t begin = 0; begin < width; begin += kPixels) {
      Doubles sums[kPixels][kParts] = {};
      const auto* w = reinterpret_cast<const Doubles*>(weights);
      for (std::int64_t row = 0; row < rows; ++row) {
        const double* x = window + row * row_ + begin * stride;
        for (std::int64_t k = 0; k < kernel; ++k, ++x, w += kParts) {
          for (int p = 0; p < kPixels; ++p) {
            for (int part = 0; part < kParts; ++part) {
              sums[p][part] += w[part] * x[p * stride];
            }
          }
        }
      }
      for (int p = 0; p < std::min<std::int64_t>(kPixels, width - begin); ++p) {
        for (int part = 0; part < kParts; ++part) {
          V::store(V::narrow(sums[p][part]), to + ((begin + p) * kParts + part) * kPart);
        }
      }
    }
  }

  Team team_;
  ConvolutionShape shape_;
  std::int64_t row_ = 0, window_ = 0;  // numbers in a row of a window, and in all of it
};

}  // namespace

std::unique_ptr<Kernel> make_first_convolution(const Team& team, const op::Convolution& o) {
  if (o.shape.precision == Precision::kBFloat16) {
    return std::make_unique<FirstConvolution<BFloat16>>(team, o.shape);
  }
  return std::make_unique<FirstConvolution<float>>(team, o.shape);
}

}  // namespace densetree::cpu

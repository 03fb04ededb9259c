// The forward pass of a network's first convolution in fp64: few input channels, planar, a large kernel.
//
// Everything a network computes depends on this one layer, and no other rounds as much: the vendor library adds its 147
// products one after the other in fp32. Measured on small DenseNets, that alone made up four fifths of the distance of
// gradients from float64, and it decided which side of a ReLU the closest values fell on. The layer has 1.4 % of a
// training step's arithmetic, so fp64 costs little here. Backward is the vendor library's.
#include <omp.h>

#include <algorithm>

#include "kernels/core/error.h"
#include "kernels/cpu/cpu_device.h"
#include "kernels/cpu/lanes.h"

namespace densetree {
namespace {

constexpr int kPixels = 8;     // output pixels computed at once
constexpr int kPart = 8;       // channels in one vector
using Doubles = cpu::Double8;  // kPart of them

std::size_t aligned(std::size_t bytes) {
  constexpr std::size_t kAlignment = 64;
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

// T is what activations are made of.
template <class T>
class FirstConvolution final : public Convolution {
 public:
  FirstConvolution(const ConvolutionShape& shape, std::unique_ptr<Convolution> vendor, std::int64_t lanes, int threads)
      : shape_(shape), vendor_(std::move(vendor)), lanes_(lanes), threads_(threads) {
    const std::int64_t tiles = (shape.output().w + kPixels - 1) / kPixels;
    row_ = std::max(shape.input.w + 2 * shape.padding, (tiles * kPixels - 1) * shape.stride + shape.kernel);
  }

  Implementation implementation() const override { return {"own sums in fp64", vendor_->implementation().backward}; }
  std::size_t workspace_bytes() const override {
    return std::max(vendor_->workspace_bytes(), packed_bytes() + threads_ * window_bytes());
  }

  void forward(const View& x, const float* w, const View& y, void* workspace) override {
    check(x.shape() == shape_.input && x.layout == Layout::kPlanar && x.whole && x.dtype == kType,
          "{}: its input is ({}, {}, {}, {}) {}{}", shape_, x.n, x.c, x.h, x.w, name_of(x.layout),
          x.whole ? "" : ", a slice");
    check(y.shape() == shape_.output() && y.block == lanes_ && y.whole && y.dtype == kType,
          "{}: its output is ({}, {}, {}, {}) {}{}", shape_, y.n, y.c, y.h, y.w, name_of(y.layout),
          y.whole ? "" : ", a slice");
    auto* packed = static_cast<double*>(workspace);
    pack(w, packed);
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads_)
    for (std::int64_t n = 0; n < y.n; ++n) {
      for (std::int64_t row = 0; row < y.h; ++row) {
        auto* window = reinterpret_cast<double*>(static_cast<char*>(workspace) + packed_bytes() +
                                                 omp_get_thread_num() * window_bytes());
        cut_window(x, n, row, window);
        for (std::int64_t first = 0; first < y.padded_channels(); first += lanes_) {
          const double* weights = packed + first * taps();
          T* to = y.as<T>() + y.offset(n, first, row * y.w);
          lanes_ == 16 ? output_row<2>(window, weights, y.w, to) : output_row<1>(window, weights, y.w, to);
        }
      }
    }
  }

  void backward_data(const View& dy, const float* w, const View& dx, void* workspace) override {
    vendor_->backward_data(dy, w, dx, workspace);
  }
  void backward_weights(const View& x, const View& dy, float* dw, void* workspace) override {
    vendor_->backward_weights(x, dy, dw, workspace);
  }

 private:
  static constexpr DType kType = std::is_same_v<T, float> ? DType::kFloat32 : DType::kBFloat16;

  std::int64_t taps() const {
    return shape_.input.c * shape_.kernel * shape_.kernel;
  }
  std::int64_t padded_outputs() const {
    return (shape_.out_channels + lanes_ - 1) / lanes_ * lanes_;
  }
  std::size_t packed_bytes() const {
    return aligned(padded_outputs() * taps() * sizeof(double));
  }
  std::size_t window_bytes() const {
    return aligned(shape_.input.c * shape_.kernel * row_ * sizeof(double));
  }

  // (O, I, kH, kW) to [O / lanes][I][kH][kW][lanes], zeros beyond O.
  void pack(const float* w, double* packed) const {
    for (std::int64_t o = 0; o < padded_outputs(); ++o) {
      for (std::int64_t tap = 0; tap < taps(); ++tap) {
        packed[(o / lanes_ * taps() + tap) * lanes_ + o % lanes_] =
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
          cpu::Group<kPart>::store(__builtin_convertvector(sums[p][part], cpu::Float8),
                                   to + ((begin + p) * kParts + part) * kPart);
        }
      }
    }
  }

  ConvolutionShape shape_;
  std::unique_ptr<Convolution> vendor_;
  std::int64_t lanes_, row_ = 0;
  int threads_;
};

}  // namespace

std::unique_ptr<Convolution> make_first_convolution(const ConvolutionShape& shape, std::unique_ptr<Convolution> vendor,
                                                    std::int64_t lanes, int threads) {
  if (shape.precision == Precision::kBFloat16) {
    return std::make_unique<FirstConvolution<BFloat16>>(shape, std::move(vendor), lanes, threads);
  }
  return std::make_unique<FirstConvolution<float>>(shape, std::move(vendor), lanes, threads);
}

}  // namespace densetree

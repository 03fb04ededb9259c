// Every operation that a device computes, as a value: what it reads, what it writes, and its numbers.
//
// Conventions
//  - x, y are values; dx, dy the gradients of the loss with respect to them. Per-channel arrays have as many elements
//    as their tensor has channels.
//  - `operands` lists what an operation touches, and how; everything that walks over operations (lifetimes, binding,
//    timing, printing) goes by it. Operands that begin as {} may be left out, and take no part then.
//  - Numbers are computed in fp32 with reductions in fp64, in an order that does not depend on the number of threads.
//  - Which shapes, types and counts fit together is said once, in kernels/check_operands.cc.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "kernels/core/adam_step.h"
#include "kernels/core/convolution_shape.h"
#include "kernels/core/image_transform.h"
#include "kernels/core/integer.h"
#include "kernels/core/loss_kind.h"
#include "kernels/core/operand.h"

namespace densetree {

namespace op {

// uint8 grey images (N, source, source) to y (N, 3, H, W): sampled bilinearly at `transforms`, scaled to [0, 1],
// contrast changed, normalised per channel.
struct ImagesToInput {
  static constexpr std::string_view kName = "images to input";
  Array<std::uint8_t> images;
  std::int64_t source;               // side of the images in pixels
  Array<ImageTransform> transforms;  // N
  InputNormalization normalization = {};
  Tensor y;
  static void operands(auto& o, auto&& f) {
    f(Access::kRead, o.images, o.transforms);
    f(Access::kWrite, o.y);
  }
};

// ---- Convolution ---------------------------------------------------------------------------------
// Without bias. Weights are fp32 in torch's order (O, I, kH, kW), in every precision.

// A pass by its places: the tensors on the side of the convolution's input and of its output, and the weights. Each may
// be a gradient.
struct Places {
  const Tensor &x, &y;
  const Array<float>& w;
};

struct Convolution {
  static constexpr std::string_view kName = "convolution";
  ConvolutionShape shape;
  Tensor x;
  Array<float> w;
  Tensor y;
  Places places() const { return {x, y, w}; }
  static void operands(auto& o, auto&& f) {
    f(Access::kRead, o.x, o.w);
    f(Access::kWrite, o.y);
  }
};

struct ConvolutionWeightGradient {
  static constexpr std::string_view kName = "convolution weight gradient";
  ConvolutionShape shape;
  Tensor x, dy;
  Array<float> dw;
  Places places() const { return {x, dy, dw}; }
  static void operands(auto& o, auto&& f) {
    f(Access::kRead, o.x, o.dy);
    f(Access::kWrite, o.dw);
  }
};

// A device may refuse it for the network's input: nobody asks for the gradient of an image.
struct ConvolutionDataGradient {
  static constexpr std::string_view kName = "convolution data gradient";
  ConvolutionShape shape;
  Tensor dy;
  Array<float> w;
  Tensor dx;
  Places places() const { return {dx, dy, w}; }
  static void operands(auto& o, auto&& f) {
    f(Access::kRead, o.dy, o.w);
    f(Access::kWrite, o.dx);
  }
};

// ---- Batch normalisation, factored ---------------------------------------------------------------
// BN(x) = γ·x̂ + β with x̂ = (x − mean)·rstd. x̂ depends on the feature alone, so its statistics are taken once, where
// the feature is produced, and every consumer shares them (docs/storage.md). In backward each consumer adds γ·dz to
// S = ∂L/∂x̂ and to two sums; one NormalizeGradient per feature then gives ∂L/∂x.

struct Statistics {  // per channel
  Array<float> mean;
  Array<float> variance;  // biased
  Array<float> rstd;      // 1/sqrt(variance + eps)
  bool present() const { return mean.present(); }
  static void operands(auto& o, Access access, auto&& f) { f(access, o.mean, o.variance, o.rstd); }
};

struct GradientSums {    // per channel, in fp64: what cancels between consumers must not be rounded
  Array<double> s;       // Σ S over images and pixels
  Array<double> s_xhat;  // Σ S·x̂
  bool present() const { return s.present(); }
  static void operands(auto& o, Access access, auto&& f) { f(access, o.s, o.s_xhat); }
};

struct Affine {  // per channel
  Array<float> mean, rstd, gamma, beta;
  bool present() const { return mean.present(); }
  static void operands(auto& o, Access access, auto&& f) { f(access, o.mean, o.rstd, o.gamma, o.beta); }
};

// The statistics of x over images and pixels. Where y is present, y = x in the same pass.
struct ChannelStatistics {
  static constexpr std::string_view kName = "channel statistics";
  Tensor x;
  float eps;
  Statistics statistics;
  Tensor y = {};
  static void operands(auto& o, auto&& f) {
    f(Access::kRead, o.x);
    f(Access::kWrite, o.statistics, o.y);
  }
};

// running = (1 − momentum)·running + momentum·batch, the variance unbiased with count = N·H·W.
struct UpdateRunning {
  static constexpr std::string_view kName = "update running";
  Statistics batch;
  std::int64_t count;
  float momentum;
  Array<float> mean, variance;
  static void operands(auto& o, auto&& f) {
    f(Access::kRead, o.batch);
    f(Access::kAdd, o.mean, o.variance);
  }
};

// rstd = 1/sqrt(variance + eps), for evaluation with running statistics.
struct ReciprocalStd {
  static constexpr std::string_view kName = "reciprocal std";
  Array<float> variance;
  float eps;
  Array<float> rstd;
  static void operands(auto& o, auto&& f) {
    f(Access::kRead, o.variance);
    f(Access::kWrite, o.rstd);
  }
};

// y = max(0, γ·x̂ + β). Zeros in y's padding.
struct AffineRelu {
  static constexpr std::string_view kName = "affine relu";
  Tensor x;
  Affine affine;
  Tensor y;
  static void operands(auto& o, auto&& f) {
    f(Access::kRead, o.x, o.affine);
    f(Access::kWrite, o.y);
  }
};

// From dy: dz = dy where the clamp let through; dγ = Σ dz·x̂ and dβ = Σ dz; S += γ·dz, s += γ·dβ, s_xhat += γ·dγ, or =
// with kOverwrite.
struct AffineReluGradient {
  static constexpr std::string_view kName = "affine relu gradient";
  Tensor dy, x;
  Affine affine;
  GradMode mode = GradMode::kOverwrite;
  Tensor s;
  GradientSums sums;
  Array<float> dgamma, dbeta;
  static void operands(auto& o, auto&& f) {
    f(Access::kRead, o.dy, o.x, o.affine);
    f(access_of(o.mode), o.s, o.sums);
    f(Access::kWrite, o.dgamma, o.dbeta);
  }
};

// dx = rstd·(S − s/M − x̂·s_xhat/M), M = N·H·W, or dx += with kAccumulate. With kOverwrite zeros in its padding, and dx
// may be S itself.
struct NormalizeGradient {
  static constexpr std::string_view kName = "normalize gradient";
  Tensor s, x;
  Statistics statistics;
  GradientSums sums;
  GradMode mode = GradMode::kOverwrite;
  Tensor dx;
  static void operands(auto& o, auto&& f) {
    f(Access::kRead, o.s, o.x, o.statistics, o.sums);
    f(access_of(o.mode), o.dx);
  }
};

// Batch norm, ReLU and a convolution in one: y = conv(z), z = max(0, γ·x̂ + β), with z made on the way into the product
// and the statistics of y taken on the way out, so that z need not exist (Jung et al. 2018).
struct NormConvolution {
  static constexpr std::string_view kName = "norm convolution";
  ConvolutionShape shape;
  Tensor x;
  Affine affine;
  Array<float> w;
  Tensor y;
  float eps;
  Statistics statistics = {};  // of y, where somebody needs them
  Tensor z = {};               // a whole tensor, where z is kept for backward to read
  void leave_out_what_stays() { statistics = {}; }
  Places places() const { return {x, y, w}; }
  static void operands(auto& o, auto&& f) {
    f(Access::kRead, o.x, o.affine, o.w);
    f(Access::kWrite, o.y, o.statistics, o.z);
  }
};

// What ConvolutionWeightGradient, ConvolutionDataGradient and AffineReluGradient would give. z is what forward kept;
// where it is not present, it is made again on the way.
struct NormConvolutionGradient {
  static constexpr std::string_view kName = "norm convolution gradient";
  ConvolutionShape shape;
  Tensor x;
  Affine affine;
  Array<float> w;
  Tensor dy;
  Tensor z = {};
  GradMode mode = GradMode::kOverwrite;
  Tensor s;
  GradientSums sums;
  Array<float> dw, dgamma, dbeta;
  Places places() const { return {x, dy, w}; }
  static void operands(auto& o, auto&& f) {
    f(Access::kRead, o.x, o.affine, o.w, o.dy, o.z);
    f(access_of(o.mode), o.s, o.sums);
    f(Access::kWrite, o.dw, o.dgamma, o.dbeta);
  }
};

// ---- Copies --------------------------------------------------------------------------------------

// y = x in y's layout; zeros in y's padding.
struct Copy {
  static constexpr std::string_view kName = "copy";
  Tensor x, y;
  static void operands(auto& o, auto&& f) {
    f(Access::kRead, o.x);
    f(Access::kWrite, o.y);
  }
};

// y += x.
struct Add {
  static constexpr std::string_view kName = "add";
  Tensor x, y;
  static void operands(auto& o, auto&& f) {
    f(Access::kRead, o.x);
    f(Access::kAdd, o.y);
  }
};

// y = 0 and its padding; memory = 0. One of the two is enough.
struct Clear {
  static constexpr std::string_view kName = "clear";
  Tensor y = {};
  Array<std::byte> memory = {};
  static void operands(auto& o, auto&& f) { f(Access::kWrite, o.y, o.memory); }
};

// ---- Pooling -------------------------------------------------------------------------------------
struct Window {
  int kernel = 1, stride = 1, padding = 0;
  Shape output(const Shape& input) const {
    const auto pooled = [&](std::int64_t size) { return (size + 2 * padding - kernel) / stride + 1; };
    return {input.n, input.c, pooled(input.h), pooled(input.w)};
  }
};

// Ignores padding. argmax: which of the window's inputs won (the first in row order on a tie), argmax_bytes(y) bytes in
// the device's own order; not present where no backward follows.
struct MaxPool {
  static constexpr std::string_view kName = "max pool";
  Window window;
  Tensor x, y;
  Array<std::uint8_t> argmax = {};
  static void operands(auto& o, auto&& f) {
    f(Access::kRead, o.x);
    f(Access::kWrite, o.y, o.argmax);
  }
};
inline std::int64_t argmax_bytes(const Shape& y) {
  return y.n * rounded_up(y.c, 16) * y.pixels();
}

struct MaxPoolGradient {
  static constexpr std::string_view kName = "max pool gradient";
  Window window;
  Tensor dy;
  Array<std::uint8_t> argmax;
  Tensor dx;
  static void operands(auto& o, auto&& f) {
    f(Access::kRead, o.dy, o.argmax);
    f(Access::kWrite, o.dx);
  }
};

// Mean over kernel×kernel without overlap; remainder rows and columns are dropped as torch does.
struct AveragePool {
  static constexpr std::string_view kName = "average pool";
  int kernel = 1;
  Tensor x, y;
  static void operands(auto& o, auto&& f) {
    f(Access::kRead, o.x);
    f(Access::kWrite, o.y);
  }
};

struct AveragePoolGradient {
  static constexpr std::string_view kName = "average pool gradient";
  int kernel = 1;
  Tensor dy, dx;
  static void operands(auto& o, auto&& f) {
    f(Access::kRead, o.dy);
    f(Access::kWrite, o.dx);
  }
};

// y (N, C, 1, 1), planar fp32: the mean over pixels.
struct GlobalAveragePool {
  static constexpr std::string_view kName = "global average pool";
  Tensor x, y;
  static void operands(auto& o, auto&& f) {
    f(Access::kRead, o.x);
    f(Access::kWrite, o.y);
  }
};

struct GlobalAveragePoolGradient {
  static constexpr std::string_view kName = "global average pool gradient";
  Tensor dy, dx;
  static void operands(auto& o, auto&& f) {
    f(Access::kRead, o.dy);
    f(Access::kWrite, o.dx);
  }
};

// ---- Classifier and loss: tensors (N, K, 1, 1), planar fp32 ------------------------------------------

// y[N][L] = x[N][K]·wᵀ + b, w[L][K].
struct Linear {
  static constexpr std::string_view kName = "linear";
  Tensor x;
  Array<float> w, b;
  Tensor y;
  static void operands(auto& o, auto&& f) {
    f(Access::kRead, o.x, o.w, o.b);
    f(Access::kWrite, o.y);
  }
};

struct LinearGradient {
  static constexpr std::string_view kName = "linear gradient";
  Tensor x;
  Array<float> w;
  Tensor dy;
  Tensor dx = {};
  Array<float> dw, db;
  static void operands(auto& o, auto&& f) {
    f(Access::kRead, o.x, o.w, o.dy);
    f(Access::kWrite, o.dx, o.dw, o.db);
  }
};

// loss = Σ term·weight / M over logits z and targets y in {0, 1}; NaN targets are missing: they carry no loss and no
// gradient, and M counts the others. positive_weights, per label, weighs the terms of positives where it is present.
struct Loss {
  static constexpr std::string_view kName = "loss";
  LossKind kind = LossKind::kMse;
  Tensor z;
  Array<float> y;
  Array<float> positive_weights = {};
  Array<double> loss;  // one number
  Tensor dz = {};
  static void operands(auto& o, auto&& f) {
    f(Access::kRead, o.z, o.y, o.positive_weights);
    f(Access::kWrite, o.loss, o.dz);
  }
};

// ---- Optimiser -----------------------------------------------------------------------------------
// g = Σ g over all ranks.
struct AllReduce {
  static constexpr std::string_view kName = "all-reduce";
  Array<float> g;
  static void operands(auto& o, auto&& f) { f(Access::kAdd, o.g); }
};

// norm = sqrt(Σ g²).
struct L2Norm {
  static constexpr std::string_view kName = "l2 norm";
  Array<float> g;
  Array<double> norm;  // one number
  static void operands(auto& o, auto&& f) {
    f(Access::kRead, o.g);
    f(Access::kWrite, o.norm);
  }
};

// Adam (Kingma & Ba 2015) over all parameters in one pass. Gradients are clipped where the norm is present and the
// scalars say so.
struct Adam {
  static constexpr std::string_view kName = "adam";
  Array<AdamScalars> scalars;
  Array<double> norm = {};
  Array<float> g, m, v, w;
  static void operands(auto& o, auto&& f) {
    f(Access::kRead, o.scalars, o.norm, o.g);
    f(Access::kAdd, o.m, o.v, o.w);
  }
};

}  // namespace op

using Operation =
    std::variant<op::ImagesToInput, op::Convolution, op::ConvolutionWeightGradient, op::ConvolutionDataGradient,
                 op::ChannelStatistics, op::UpdateRunning, op::ReciprocalStd, op::AffineRelu, op::AffineReluGradient,
                 op::NormalizeGradient, op::NormConvolution, op::NormConvolutionGradient, op::Copy, op::Add, op::Clear,
                 op::MaxPool, op::MaxPoolGradient, op::AveragePool, op::AveragePoolGradient, op::GlobalAveragePool,
                 op::GlobalAveragePoolGradient, op::Linear, op::LinearGradient, op::Loss, op::AllReduce, op::L2Norm,
                 op::Adam>;

namespace detail {
template <class T, class F>
void visit_operand(Access access, T& part, F& f) {
  if constexpr (requires { T::operands(part, access, f); }) {  // several arrays in one
    T::operands(part, access, [&](Access a, auto&... arrays) { (visit_operand(a, arrays, f), ...); });
  } else if (part.present()) {
    f(access, part);
  }
}
}  // namespace detail

// Calls f(Access, Tensor or Array<T>) for each operand that is present.
template <class Op, class F>
void for_each_operand(Op& operation, F&& f) {
  if constexpr (requires { operation.index(); }) {
    std::visit([&](auto& o) { for_each_operand(o, f); }, operation);
  } else {
    operation.operands(operation,
                       [&](Access access, auto&... parts) { (detail::visit_operand(access, parts, f), ...); });
  }
}

// The operation to run once more where its results were dropped: without those that are kept in every case.
Operation recomputed(Operation operation);

std::string_view name_of(const Operation& operation);  // "max pool"
// Of a convolution and its gradients, alone or behind batch norm.
std::optional<ConvolutionShape> convolution_shape(const Operation& operation);
// "(16, 64, 112, 112) -> (16, 64, 56, 56)": tensors read and written, or where there are none, the elements of arrays;
// of convolutions their shape.
std::string describe(const Operation& operation);

}  // namespace densetree

// The arithmetic of factored batch normalisation for one element of one channel (kernels/operations.h explains it).
#pragma once

#include <cmath>
#include <type_traits>

#include "kernels/core/host_device.h"

namespace densetree {

// T is float, or a vector of floats where several channels are computed at once (kernels/cpu/lanes.h).

// max(0, γ·x̂ + β), with x̂ = (x − mean)·rstd, folded into one multiply-add.
template <class T>
struct AffineOf {
  T mean, scale, shift, gamma;  // scale = γ·rstd, shift = β − mean·scale

  DT_HD T centered(T x) const { return x - mean; }  // x̂/rstd
  DT_HD T forward(T x) const {
    const T z = x * scale + shift;
    return z <= T{} ? T{} : z;  // a NaN stays one
  }
  // dy where the clamp let x through, else 0.
  DT_HD T backward(T x, T dy) const { return x * scale + shift <= T{} ? T{} : dy; }
};

struct ChannelAffine : AffineOf<float> {
  ChannelAffine() = default;
  DT_HD ChannelAffine(float mean_, float rstd, float gamma_, float beta_)
      : AffineOf{mean_, gamma_ * rstd, std::fma(-mean_, gamma_ * rstd, beta_), gamma_} {}
};

// a·b − c with the product unrounded: one instruction where there are fused multiply-adds, else by way of double.
template <class T>
DT_HD T product_less(T a, T b, T c) {
#if defined(__CUDA_ARCH__) || defined(__FMA__)
  if constexpr (std::is_same_v<T, float>) {
    return std::fma(a, b, -c);
  } else {
    return a * b - c;  // which the compiler contracts
  }
#else
  if constexpr (std::is_same_v<T, float>) {
    return static_cast<float>(static_cast<double>(a) * b - c);
  } else {
    using Wide [[gnu::vector_size(2 * sizeof(T))]] = double;
    return __builtin_convertvector(
        __builtin_convertvector(a, Wide) * __builtin_convertvector(b, Wide) - __builtin_convertvector(c, Wide), T);
  }
#endif
}

// ∂L/∂x = rstd·(S − mean(S) − x̂·mean(S·x̂)).
// The means come in fp64; what fp32 leaves of mean(S) is kept beside it, because the gradients of a channel have to
// add up to zero: a network whose shift β cannot matter must see no gradient for β, or Adam would move it. It is less
// than half of the result's last place: rounded twice, it would be lost.
template <class T>
struct NormalizeGradientOf {
  T mean, rstd, mean_s, rest, slope;  // rest = rstd·(mean(S) − its fp32), slope = rstd·mean(S·x̂)

  DT_HD T operator()(T x, T s) const { return product_less(rstd, s - (x - mean) * slope - mean_s, rest); }
};

struct ChannelNormalizeGradient : NormalizeGradientOf<float> {
  ChannelNormalizeGradient() = default;
  DT_HD ChannelNormalizeGradient(float mean_, float rstd_, double mean_s_, double mean_s_xhat)
      : NormalizeGradientOf{mean_, rstd_, static_cast<float>(mean_s_),
                            static_cast<float>(rstd_ * (mean_s_ - static_cast<float>(mean_s_))),
                            static_cast<float>(rstd_ * mean_s_xhat)} {}
};

}  // namespace densetree

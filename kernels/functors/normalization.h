// The arithmetic of factored batch normalisation for one element of one channel (kernels/device.h explains it).
#pragma once

#include "kernels/core/host_device.h"

namespace densetree {

// One channel's z = γ·x̂ + β, with x̂ = (x − mean)·rstd, folded into one multiply-add.
struct ChannelAffine {
  float mean, scale, shift, gamma;  // scale = γ·rstd, shift = β − mean·scale

  ChannelAffine() = default;
  DT_HD ChannelAffine(float mean_, float rstd, float gamma_, float beta_)
      : mean(mean_),
        scale(gamma_ * rstd),
        shift(static_cast<float>(double{beta_} - double{mean_} * scale)),
        gamma(gamma_) {}

  DT_HD float centered(float x) const { return x - mean; }  // x̂/rstd
  DT_HD float forward(float x, bool relu) const {
    const float z = x * scale + shift;
    return relu && z <= 0.0f ? 0.0f : z;  // a NaN stays one
  }
  // dy where the clamp let x through, else 0.
  DT_HD float backward(float x, float dy, bool relu) const { return relu && x * scale + shift <= 0.0f ? 0.0f : dy; }
};

// One channel's ∂L/∂x = rstd·(S − mean(S) − x̂·mean(S·x̂)).
// The means come in fp64; what fp32 leaves of mean(S) is kept beside it, because the gradients of a channel have to
// add up to zero: a network whose shift β cannot matter must see no gradient for β, or Adam would move it.
struct ChannelNormalizeGradient {
  float mean, rstd, mean_s, rest, slope;  // rest = rstd·(mean(S) − its fp32), slope = rstd·mean(S·x̂)

  ChannelNormalizeGradient() = default;
  DT_HD ChannelNormalizeGradient(float mean_, float rstd_, double mean_s_, double mean_s_xhat)
      : mean(mean_),
        rstd(rstd_),
        mean_s(static_cast<float>(mean_s_)),
        rest(static_cast<float>(rstd_ * (mean_s_ - static_cast<float>(mean_s_)))),
        slope(static_cast<float>(rstd_ * mean_s_xhat)) {}

  DT_HD float operator()(float x, float s) const { return rstd * (s - (x - mean) * slope - mean_s) - rest; }
};

}  // namespace densetree

// The arithmetic of factored batch normalisation for one element of one channel (kernels/device.h explains it).
#pragma once

#include "kernels/core/host_device.h"

namespace densetree {

// One channel's x̂ = (x − mean)·rstd and z = γ·x̂ + β.
struct ChannelAffine {
  float mean, rstd, gamma, beta;

  DT_HD float normalized(float x) const { return (x - mean) * rstd; }
  DT_HD float forward(float x, bool relu) const {
    const float z = gamma * normalized(x) + beta;
    return relu && !(z > 0.0f) ? 0.0f : z;
  }
  // dy where the clamp let x through, else 0.
  DT_HD float backward(float x, float dy, bool relu) const {
    return relu && !(gamma * normalized(x) + beta > 0.0f) ? 0.0f : dy;
  }
};

// One channel's ∂L/∂x = rstd·(S − mean(S) − x̂·mean(S·x̂)).
struct ChannelNormalizeGradient {
  float mean, rstd, mean_s, mean_s_xhat;

  DT_HD float operator()(float x, float s) const { return rstd * (s - mean_s - (x - mean) * rstd * mean_s_xhat); }
};

}  // namespace densetree

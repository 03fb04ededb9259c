// Adam for one parameter (Kingma & Ba 2015, algorithm 1; decoupled decay as in Loshchilov & Hutter 2019).
#pragma once

#include <cmath>

#include "kernels/core/host_device.h"
#include "kernels/device.h"

namespace densetree {

// Everything that is the same for all parameters of one step.
struct AdamUpdate {
  float beta1, rest1, beta2, rest2;              // rest = 1 − β, rounded once: 1 − 0.999f would be off by 1e-5
  float decay, step_size, root_correction, eps;  // 1 − lr·weight_decay, lr/(1 − β1ᵗ), 1/sqrt(1 − β2ᵗ)

  explicit AdamUpdate(const AdamStep& s)
      : beta1(static_cast<float>(s.beta1)),
        rest1(static_cast<float>(1 - s.beta1)),
        beta2(static_cast<float>(s.beta2)),
        rest2(static_cast<float>(1 - s.beta2)),
        decay(static_cast<float>(1 - s.lr * s.weight_decay)),
        step_size(static_cast<float>(s.lr / (1 - std::pow(s.beta1, static_cast<double>(s.step))))),
        root_correction(static_cast<float>(1 / std::sqrt(1 - std::pow(s.beta2, static_cast<double>(s.step))))),
        eps(static_cast<float>(s.eps)) {}

  DT_HD void operator()(float g, float& m, float& v, float& w) const {
    m = beta1 * m + rest1 * g;
    v = beta2 * v + rest2 * g * g;
    w = decay * w - step_size * (m / (sqrtf(v) * root_correction + eps));
  }
};

// The factor on gradients that keeps their norm within clip_norm; 1 when clipping is off.
DT_HD inline float clip_factor(double clip_norm, const double* norm) {
  return clip_norm > 0 && *norm > clip_norm ? static_cast<float>(clip_norm / *norm) : 1.0f;
}

}  // namespace densetree

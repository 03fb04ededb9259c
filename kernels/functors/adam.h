// Adam for one parameter (Kingma & Ba 2015, algorithm 1; decoupled decay as in Loshchilov & Hutter 2019).
#pragma once

#include <cmath>

#include "kernels/core/host_device.h"
#include "kernels/device.h"

namespace densetree {

// Everything that is the same for all parameters of one step.
struct AdamUpdate {
  float beta1, beta2, eps, decay;    // decay = 1 − lr·weight_decay
  float step_size, root_correction;  // lr/(1 − β1ᵗ), 1/sqrt(1 − β2ᵗ)

  explicit AdamUpdate(const AdamStep& s)
      : beta1(s.beta1),
        beta2(s.beta2),
        eps(s.eps),
        decay(1.0f - s.lr * s.weight_decay),
        step_size(static_cast<float>(s.lr / (1.0 - std::pow(double{s.beta1}, static_cast<double>(s.step))))),
        root_correction(
            static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(double{s.beta2}, static_cast<double>(s.step))))) {}

  DT_HD void operator()(float g, float& m, float& v, float& w) const {
    m = beta1 * m + (1.0f - beta1) * g;
    v = beta2 * v + (1.0f - beta2) * g * g;
    w = decay * w - step_size * m / (sqrtf(v) * root_correction + eps);
  }
};

// The factor on gradients that keeps their norm within clip_norm; 1 when clipping is off.
DT_HD inline float clip_factor(float clip_norm, const double* norm) {
  return clip_norm > 0 && *norm > clip_norm ? static_cast<float>(clip_norm / *norm) : 1.0f;
}

}  // namespace densetree

// Adam for one parameter (Kingma & Ba 2015, algorithm 1; decoupled decay as in Loshchilov & Hutter 2019).
#pragma once

#include <cmath>

#include "kernels/core/adam_step.h"
#include "kernels/core/host_device.h"

namespace densetree {

// One parameter's step with gradient g.
DT_HD inline void adam_update(const AdamScalars& s, float g, float& m, float& v, float& w) {
  m = s.beta1 * m + s.rest1 * g;
  v = s.beta2 * v + s.rest2 * g * g;
  w = s.decay * w - s.step_size * (m / (sqrtf(v) * s.root_correction + s.eps));
}

// The factor on gradients that keeps their norm within clip_norm; 1 when clipping is off or the norm is null.
DT_HD inline float clip_factor(double clip_norm, const double* norm) {
  return clip_norm > 0 && norm && *norm > clip_norm ? static_cast<float>(clip_norm / *norm) : 1.0f;
}

}  // namespace densetree

#include "kernels/core/adam_step.h"

#include <cmath>

#include "kernels/core/error.h"

namespace densetree {

AdamScalars::AdamScalars(const AdamStep& s)
    : beta1(static_cast<float>(s.beta1)),
      rest1(static_cast<float>(1 - s.beta1)),
      beta2(static_cast<float>(s.beta2)),
      rest2(static_cast<float>(1 - s.beta2)),
      decay(static_cast<float>(1 - s.lr * s.weight_decay)),
      step_size(static_cast<float>(s.lr / (1 - std::pow(s.beta1, static_cast<double>(s.step))))),
      root_correction(static_cast<float>(1 / std::sqrt(1 - std::pow(s.beta2, static_cast<double>(s.step))))),
      eps(static_cast<float>(s.eps)),
      clip_norm(s.clip_norm) {
  check(s.step >= 1, "adam: step {} is not counted from 1", s.step);
}

}  // namespace densetree

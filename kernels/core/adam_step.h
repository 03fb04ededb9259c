// The numbers of a step of Adam (Kingma and Ba, arXiv 1412.6980; decoupled decay: arXiv 1711.05101).
#pragma once

#include <cstdint>

namespace densetree {

struct AdamStep {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  double weight_decay = 0;  // decoupled (AdamW): w -= lr·weight_decay·w
  std::int64_t step = 1;    // counts from 1
  double clip_norm = 0;     // 0: off. Gradients are scaled by min(1, clip_norm / norm)
};

// What a step of Adam is to all parameters alike. It lies in device memory, so that work which is captured once and run
// every step takes each step's own.
struct AdamScalars {
  float beta1, rest1, beta2, rest2;              // rest = 1 − β, rounded once: 1 − 0.999f would be off by 1e-5
  float decay, step_size, root_correction, eps;  // 1 − lr·weight_decay, lr/(1 − β1ᵗ), 1/sqrt(1 − β2ᵗ)
  double clip_norm;

  explicit AdamScalars(const AdamStep& step);  // throws Error where steps are not counted from 1
};

}  // namespace densetree

// Loss terms of one logit and their derivatives (docs/method.md §1), evaluated in fp64: there are only N·L of them.
#pragma once

#include <cmath>

#include "kernels/core/host_device.h"

namespace densetree {

DT_HD inline double sigmoid_of(double z) {
  return z >= 0 ? 1.0 / (1.0 + exp(-z)) : exp(z) / (1.0 + exp(z));
}

struct LossTerm {
  double value, gradient;  // of the term, not yet divided by the number of terms
};

// (sigmoid(z) − y)²
DT_HD inline LossTerm mse_term(double z, double y) {
  const double s = sigmoid_of(z);
  return {(s - y) * (s - y), 2 * (s - y) * s * (1 - s)};
}

// −y·log sigmoid(z) − (1 − y)·log(1 − sigmoid(z)) = max(z, 0) − z·y + log(1 + exp(−|z|))
DT_HD inline LossTerm bce_term(double z, double y) {
  return {(z > 0 ? z : 0.0) - z * y + log1p(exp(z < 0 ? z : -z)), sigmoid_of(z) - y};
}

// 0 where the target is missing, the positive weight where it is positive, else 1.
DT_HD inline double target_weight(float y, const float* positive_weights, long label) {
  if (y != y) {  // NaN
    return 0;
  }
  return positive_weights && y > 0.5f ? positive_weights[label] : 1.0;
}

}  // namespace densetree

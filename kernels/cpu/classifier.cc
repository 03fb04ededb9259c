// The classifier and its losses.
#include <cmath>

#include "kernels/cpu/operations.h"
#include "kernels/functors/loss.h"

namespace densetree::cpu {

void compute(const Team& team, const op::Linear& o, void*) {
  const std::int64_t n = o.x.n, k = o.x.c, l = o.y.c;
  const float *x = o.x.as<float>(), *w = o.w.data;
  float* y = o.y.as<float>();
#pragma omp parallel for collapse(2) schedule(static) num_threads(team.threads)
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < l; ++j) {
      double sum = o.b[j];
      for (std::int64_t c = 0; c < k; ++c) {
        sum += double{x[i * k + c]} * double{w[j * k + c]};
      }
      y[i * l + j] = static_cast<float>(sum);
    }
  }
}

void compute(const Team& team, const op::LinearGradient& o, void*) {
  const std::int64_t n = o.x.n, k = o.x.c, l = o.dy.c;
  const float *x = o.x.as<float>(), *dy = o.dy.as<float>(), *w = o.w.data;
  float *dx = o.dx.as<float>(), *dw = o.dw.data;
#pragma omp parallel for schedule(static) num_threads(team.threads)
  for (std::int64_t j = 0; j < l; ++j) {
    double bias = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      bias += dy[i * l + j];
    }
    o.db[j] = static_cast<float>(bias);
    for (std::int64_t c = 0; c < k; ++c) {
      double sum = 0;
      for (std::int64_t i = 0; i < n; ++i) {
        sum += double{dy[i * l + j]} * double{x[i * k + c]};
      }
      dw[j * k + c] = static_cast<float>(sum);
    }
  }
  if (!dx) {
    return;
  }
#pragma omp parallel for schedule(static) num_threads(team.threads)
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t c = 0; c < k; ++c) {
      double sum = 0;
      for (std::int64_t j = 0; j < l; ++j) {
        sum += double{dy[i * l + j]} * double{w[j * k + c]};
      }
      dx[i * k + c] = static_cast<float>(sum);
    }
  }
}

void compute(const Team&, const op::Loss& o, void*) {
  const std::int64_t n = o.z.n, l = o.z.c;
  const float *z = o.z.as<float>(), *y = o.y.data;
  float* dz = o.dz.as<float>();
  const auto term = [&](std::int64_t i) {
    return o.kind == LossKind::kMse ? mse_term(z[i], y[i]) : bce_term(z[i], y[i]);
  };
  std::int64_t present = 0;
  for (std::int64_t i = 0; i < n * l; ++i) {
    present += !std::isnan(y[i]);
  }
  const double scale = present > 0 ? 1.0 / static_cast<double>(present) : 0.0;
  double sum = 0;
  for (std::int64_t i = 0; i < n * l; ++i) {
    const double weight = target_weight(y[i], o.positive_weights.data, i % l);
    const LossTerm t = weight > 0 ? term(i) : LossTerm{0, 0};
    sum += weight * t.value;
    if (dz) {
      dz[i] = static_cast<float>(weight * t.gradient * scale);
    }
  }
  *o.loss.data = sum * scale;
}

}  // namespace densetree::cpu

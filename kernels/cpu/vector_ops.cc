// Operations on dense float arrays: the classifier, losses, and the optimiser.
#include <cmath>

#include "kernels/core/error.h"
#include "kernels/cpu/cpu_device.h"
#include "kernels/functors/adam.h"
#include "kernels/functors/loss.h"

namespace densetree {

void CpuDevice::linear(const float* x, const float* w, const float* b, std::int64_t n, std::int64_t k, std::int64_t l,
                       float* y) {
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads_)
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < l; ++j) {
      double sum = b[j];
      for (std::int64_t c = 0; c < k; ++c) {
        sum += double{x[i * k + c]} * double{w[j * k + c]};
      }
      y[i * l + j] = static_cast<float>(sum);
    }
  }
}

void CpuDevice::linear_backward(const float* x, const float* w, const float* dy, std::int64_t n, std::int64_t k,
                                std::int64_t l, float* dx, float* dw, float* db) {
#pragma omp parallel for schedule(static) num_threads(threads_)
  for (std::int64_t j = 0; j < l; ++j) {
    double bias = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      bias += dy[i * l + j];
    }
    db[j] = static_cast<float>(bias);
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
#pragma omp parallel for schedule(static) num_threads(threads_)
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

void CpuDevice::loss(LossKind kind, const float* z, const float* y, const float* positive_weights, std::int64_t n,
                     std::int64_t l, double* loss, float* dz) {
  const auto term = [&](std::int64_t i) {
    return kind == LossKind::kMse ? mse_term(z[i], y[i]) : bce_term(z[i], y[i]);
  };
  std::int64_t present = 0;
  for (std::int64_t i = 0; i < n * l; ++i) {
    present += !std::isnan(y[i]);
  }
  const double scale = present > 0 ? 1.0 / static_cast<double>(present) : 0.0;
  double sum = 0;
  for (std::int64_t i = 0; i < n * l; ++i) {
    const double weight = target_weight(y[i], positive_weights, i % l);
    const LossTerm t = weight > 0 ? term(i) : LossTerm{0, 0};
    sum += weight * t.value;
    if (dz) {
      dz[i] = static_cast<float>(weight * t.gradient * scale);
    }
  }
  *loss = sum * scale;
}

void CpuDevice::l2_norm(const float* g, std::int64_t n, double* norm, void* workspace) {
  // A fixed number of parts, so that the sum does not depend on the number of threads.
  constexpr std::int64_t kParts = 16;
  auto* partial = static_cast<double*>(workspace);
#pragma omp parallel for schedule(static) num_threads(threads_)
  for (std::int64_t part = 0; part < kParts; ++part) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t i = part * n / kParts; i < (part + 1) * n / kParts; ++i) {
      sum += double{g[i]} * double{g[i]};
    }
    partial[part] = sum;
  }
  double sum = 0;
  for (std::int64_t part = 0; part < kParts; ++part) {
    sum += partial[part];
  }
  *norm = std::sqrt(sum);
}

void CpuDevice::adam(const AdamScalars* scalars, const double* norm, std::int64_t n, const float* g, float* m, float* v,
                     float* w) {
  const AdamScalars s = *scalars;
  const float factor = clip_factor(s.clip_norm, norm);
#pragma omp parallel for simd schedule(static) num_threads(threads_)
  for (std::int64_t i = 0; i < n; ++i) {
    adam_update(s, factor * g[i], m[i], v[i], w[i]);
  }
}

}  // namespace densetree

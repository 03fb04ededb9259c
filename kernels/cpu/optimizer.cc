// The optimiser: the norm of a gradient, and Adam.
#include <cmath>

#include "kernels/cpu/operations.h"
#include "kernels/functors/adam.h"

namespace densetree::cpu {
namespace {

// A fixed number of parts, so that the sum does not depend on the number of threads.
constexpr std::int64_t kParts = 16;

}  // namespace

std::size_t scratch_bytes(const Team&, const op::L2Norm&) {
  return kParts * sizeof(double);
}

void compute(const Team& team, const op::L2Norm& o, void* workspace) {
  const float* g = o.g.data;
  const std::int64_t n = o.g.count;
  auto* partial = static_cast<double*>(workspace);
#pragma omp parallel for schedule(static) num_threads(team.threads)
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
  *o.norm.data = std::sqrt(sum);
}

void compute(const Team& team, const op::Adam& o, void*) {
  const std::int64_t n = o.w.count;
  const AdamScalars s = *o.scalars.data;
  const float factor = clip_factor(s.clip_norm, o.norm.data);
  const float* g = o.g.data;
  float *m = o.m.data, *v = o.v.data, *w = o.w.data;
#pragma omp parallel for simd schedule(static) num_threads(team.threads)
  for (std::int64_t i = 0; i < n; ++i) {
    adam_update(s, factor * g[i], m[i], v[i], w[i]);
  }
}

}  // namespace densetree::cpu

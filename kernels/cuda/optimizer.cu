// Adam over all parameters at once.
#include "kernels/cuda/launch.h"
#include "kernels/cuda/operations.h"
#include "kernels/functors/adam.h"

namespace densetree::cuda {
namespace {

__global__ void adam_kernel(const AdamScalars* scalars, const double* norm, std::int64_t n, const float* g, float* m,
                            float* v, float* w) {
  const AdamScalars s = *scalars;
  const float factor = clip_factor(s.clip_norm, norm);
  for (std::int64_t i = first_index(); i < n; i += index_step()) {
    adam_update(s, factor * g[i], m[i], v[i], w[i]);
  }
}

}  // namespace

void compute(const Stream& stream, const op::Adam& o, void*) {
  const std::int64_t n = o.w.count;
  launch(stream, o.kName, adam_kernel, grid_over(n, stream), o.scalars.data, o.norm.data, n, o.g.data, o.m.data,
         o.v.data, o.w.data);
}

}  // namespace densetree::cuda

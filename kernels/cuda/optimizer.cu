// Adam over all parameters at once.
#include "kernels/cuda/launch.h"
#include "kernels/cuda/operations.h"
#include "kernels/functors/adam.h"

namespace densetree::cuda {
namespace {

__global__ void adam_kernel(op::Adam o) {
  const AdamScalars s = *o.scalars.data;
  const float factor = clip_factor(s.clip_norm, o.norm.data);
  const float* g = o.g.data;
  float *m = o.m.data, *v = o.v.data, *w = o.w.data;
  for (std::int64_t i = first_index(); i < o.w.count; i += index_step()) {
    adam_update(s, factor * g[i], m[i], v[i], w[i]);
  }
}

}  // namespace

void compute(const Stream& stream, const op::Adam& o, void*) {
  launch(stream, o.kName, adam_kernel, grid_over(o.w.count, stream), o);
}

}  // namespace densetree::cuda

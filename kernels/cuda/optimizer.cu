// Adam over all parameters at once.
#include "kernels/cuda/cuda_operations.h"
#include "kernels/cuda/launch.h"
#include "kernels/functors/adam.h"

namespace densetree {
namespace {

using namespace cuda;

__global__ void adam_kernel(AdamUpdate update, double clip_norm, const double* norm, std::int64_t n, const float* g,
                            float* m, float* v, float* w) {
  const float factor = clip_factor(clip_norm, norm);
  for (std::int64_t i = first_index(); i < n; i += index_step()) {
    update(factor * g[i], m[i], v[i], w[i]);
  }
}

}  // namespace

void CudaDevice::adam(const AdamStep& step, const double* norm, std::int64_t n, const float* g, float* m, float* v,
                      float* w) {
  const char* const operation = "adam";
  require(step.step >= 1, operation, "steps count from 1");
  require(n > 0, operation, "there must be a parameter");
  require(step.clip_norm <= 0 || norm != nullptr, operation, "clipping needs the norm of the gradients");
  launch(stream_, operation, adam_kernel, grid_over(n, stream_), AdamUpdate(step), step.clip_norm, norm, n, g, m, v, w);
}

}  // namespace densetree

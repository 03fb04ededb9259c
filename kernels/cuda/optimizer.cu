// Adam over all parameters at once.
#include "kernels/cuda/cuda_operations.h"
#include "kernels/cuda/launch.h"
#include "kernels/functors/adam.h"

namespace densetree {
namespace {

using namespace cuda;

__global__ void adam_kernel(const AdamScalars* scalars, const double* norm, std::int64_t n, const float* g, float* m,
                            float* v, float* w) {
  const AdamScalars s = *scalars;
  const float factor = clip_factor(s.clip_norm, norm);
  for (std::int64_t i = first_index(); i < n; i += index_step()) {
    adam_update(s, factor * g[i], m[i], v[i], w[i]);
  }
}

}  // namespace

void CudaDevice::adam(const AdamScalars* scalars, const double* norm, std::int64_t n, const float* g, float* m,
                      float* v, float* w) {
  const char* const operation = "adam";
  require(n > 0, operation, "there must be a parameter");
  launch(stream_, operation, adam_kernel, grid_over(n, stream_), scalars, norm, n, g, m, v, w);
}

}  // namespace densetree

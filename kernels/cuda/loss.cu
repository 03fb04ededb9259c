// Losses over the logits of a batch.
#include <cub/block/block_reduce.cuh>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/operations.h"
#include "kernels/functors/loss.h"

namespace densetree::cuda {
namespace {

// One block, since a batch has a few thousand logits: first it counts the targets that are present, which every
// gradient is divided by, then it adds up the terms.
__global__ void loss_kernel(op::Loss o) {
  using Count = cub::BlockReduce<unsigned long long, kThreads>;
  using Sum = cub::BlockReduce<double, kThreads>;
  __shared__ union {
    typename Count::TempStorage count;
    typename Sum::TempStorage sum;
  } temporary;
  __shared__ double shared_scale;
  const std::int64_t n = o.z.n, l = o.z.c;
  const float *z = o.z.as<float>(), *y = o.y.data;
  float* dz = o.dz.as<float>();

  unsigned long long mine = 0;
  for (std::int64_t i = threadIdx.x; i < n * l; i += kThreads) {
    mine += isnan(y[i]) ? 0 : 1;
  }
  const unsigned long long present = Count(temporary.count).Sum(mine);
  if (threadIdx.x == 0) {
    shared_scale = present > 0 ? 1.0 / static_cast<double>(present) : 0.0;
  }
  __syncthreads();  // the scale is there, and `temporary` is free again
  const double scale = shared_scale;

  double sum = 0;
  for (std::int64_t i = threadIdx.x; i < n * l; i += kThreads) {
    const double weight = target_weight(y[i], o.positive_weights.data, i % l);
    LossTerm term{0, 0};
    if (weight > 0) {
      term = o.kind == LossKind::kMse ? mse_term(z[i], y[i]) : bce_term(z[i], y[i]);
    }
    sum += weight * term.value;
    if (dz) {
      dz[i] = static_cast<float>(weight * term.gradient * scale);
    }
  }
  const double total = Sum(temporary.sum).Sum(sum);
  if (threadIdx.x == 0) {
    *o.loss.data = total * scale;
  }
}

}  // namespace

void compute(const Stream& stream, const op::Loss& o, void*) {
  launch(stream, o.kName, loss_kernel, Grid{dim3(1), dim3(kThreads)}, o);
}

}  // namespace densetree::cuda

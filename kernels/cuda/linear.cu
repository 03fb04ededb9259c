// The classifier: y = x·wᵀ + b for x (N, K), w (L, K). With L of a dozen labels this is a few million
// multiplications, so plain kernels with fp64 sums in a fixed order serve.
#include <cub/block/block_reduce.cuh>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/operations.h"

namespace densetree::cuda {
namespace {

constexpr int kDotThreads = 128;

// Block (label, image) computes one element of y.
__global__ void linear_kernel(op::Linear o) {
  using Reduce = cub::BlockReduce<double, kDotThreads>;
  __shared__ typename Reduce::TempStorage temporary;
  const std::int64_t k = o.x.c, l = o.y.c, label = blockIdx.x % l, image = blockIdx.x / l;
  const float *x = o.x.as<float>() + image * k, *w = o.w.data + label * k;
  double sum = 0;
  for (std::int64_t i = threadIdx.x; i < k; i += kDotThreads) {
    sum += double{x[i]} * double{w[i]};
  }
  const double total = Reduce(temporary).Sum(sum);
  if (threadIdx.x == 0) {
    o.y.as<float>()[image * l + label] = static_cast<float>(total + o.b[label]);
  }
}

// A thread computes one element of dw; the one with the first column of a label computes db beside it.
__global__ void linear_weights_kernel(op::LinearGradient o) {
  const std::int64_t k = o.x.c, l = o.dy.c;
  const float *x = o.x.as<float>(), *dy = o.dy.as<float>();
  for (std::int64_t i = first_index(); i < l * k; i += index_step()) {
    const std::int64_t label = i / k, column = i % k;
    double weight = 0, bias = 0;
    for (std::int64_t image = 0; image < o.x.n; ++image) {
      const double gradient = dy[image * l + label];
      weight += gradient * double{x[image * k + column]};
      bias += gradient;
    }
    o.dw[i] = static_cast<float>(weight);
    if (column == 0) {
      o.db[label] = static_cast<float>(bias);
    }
  }
}

// A thread computes one element of dx.
__global__ void linear_data_kernel(op::LinearGradient o) {
  const std::int64_t n = o.x.n, k = o.x.c, l = o.dy.c;
  const float *w = o.w.data, *dy = o.dy.as<float>();
  for (std::int64_t i = first_index(); i < n * k; i += index_step()) {
    const std::int64_t image = i / k, column = i % k;
    double sum = 0;
    for (std::int64_t label = 0; label < l; ++label) {
      sum += double{dy[image * l + label]} * double{w[label * k + column]};
    }
    o.dx.as<float>()[i] = static_cast<float>(sum);
  }
}

}  // namespace

void compute(const Stream& stream, const op::Linear& o, void*) {
  const std::int64_t elements = o.y.n * o.y.c;
  require(elements < INT32_MAX, o.kName, "a grid has fewer than 2^31 blocks; use a smaller batch", {o.y});
  launch(stream, o.kName, linear_kernel, Grid{dim3(static_cast<unsigned>(elements)), dim3(kDotThreads)}, o);
}

void compute(const Stream& stream, const op::LinearGradient& o, void*) {
  launch(stream, o.kName, linear_weights_kernel, grid_over(o.dw.count, stream), o);
  if (o.dx.present()) {
    launch(stream, o.kName, linear_data_kernel, grid_over(o.x.n * o.x.c, stream), o);
  }
}

}  // namespace densetree::cuda

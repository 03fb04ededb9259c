// The classifier: y = x·wᵀ + b for x (N, K), w (L, K). With L of a dozen labels this is a few million
// multiplications, so plain kernels with fp64 sums in a fixed order serve.
#include <cub/block/block_reduce.cuh>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/operations.h"

namespace densetree::cuda {
namespace {

constexpr int kDotThreads = 128;

// Block (label, image) computes one element of y.
__global__ void linear_kernel(const float* x, const float* w, const float* b, std::int64_t k, std::int64_t l,
                              float* y) {
  using Reduce = cub::BlockReduce<double, kDotThreads>;
  __shared__ typename Reduce::TempStorage temporary;
  const std::int64_t label = blockIdx.x % l, image = blockIdx.x / l;
  double sum = 0;
  for (std::int64_t i = threadIdx.x; i < k; i += kDotThreads) {
    sum += double{x[image * k + i]} * double{w[label * k + i]};
  }
  const double total = Reduce(temporary).Sum(sum);
  if (threadIdx.x == 0) {
    y[image * l + label] = static_cast<float>(total + b[label]);
  }
}

// A thread computes one element of dw; the one with the first column of a label computes db beside it.
__global__ void linear_weights_kernel(const float* x, const float* dy, std::int64_t n, std::int64_t k, std::int64_t l,
                                      float* dw, float* db) {
  for (std::int64_t i = first_index(); i < l * k; i += index_step()) {
    const std::int64_t label = i / k, column = i % k;
    double weight = 0, bias = 0;
    for (std::int64_t image = 0; image < n; ++image) {
      const double gradient = dy[image * l + label];
      weight += gradient * double{x[image * k + column]};
      bias += gradient;
    }
    dw[i] = static_cast<float>(weight);
    if (column == 0) {
      db[label] = static_cast<float>(bias);
    }
  }
}

// A thread computes one element of dx.
__global__ void linear_data_kernel(const float* w, const float* dy, std::int64_t n, std::int64_t k, std::int64_t l,
                                   float* dx) {
  for (std::int64_t i = first_index(); i < n * k; i += index_step()) {
    const std::int64_t image = i / k, column = i % k;
    double sum = 0;
    for (std::int64_t label = 0; label < l; ++label) {
      sum += double{dy[image * l + label]} * double{w[label * k + column]};
    }
    dx[i] = static_cast<float>(sum);
  }
}

}  // namespace

void compute(const Stream& stream, const op::Linear& o, void*) {
  const std::int64_t n = o.x.n, k = o.x.c, l = o.y.c;
  require(n * l < INT32_MAX, o.kName, "CUDA grids hold fewer than 2^31 elements of y; use a smaller batch", {o.y});
  launch(stream, o.kName, linear_kernel, Grid{dim3(static_cast<unsigned>(n * l)), dim3(kDotThreads)}, o.x.as<float>(),
         o.w.data, o.b.data, k, l, o.y.as<float>());
}

void compute(const Stream& stream, const op::LinearGradient& o, void*) {
  const std::int64_t n = o.x.n, k = o.x.c, l = o.dy.c;
  launch(stream, o.kName, linear_weights_kernel, grid_over(l * k, stream), o.x.as<float>(), o.dy.as<float>(), n, k, l,
         o.dw.data, o.db.data);
  if (o.dx.present()) {
    launch(stream, o.kName, linear_data_kernel, grid_over(n * k, stream), o.w.data, o.dy.as<float>(), n, k, l,
           o.dx.as<float>());
  }
}

}  // namespace densetree::cuda

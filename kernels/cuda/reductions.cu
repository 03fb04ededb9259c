// Sums over images and pixels, in fp64 and in a fixed order, without atomics: the same input gives the same bits.
//
// First, up to kSlots blocks share the rows; each adds up its own per channel and leaves one partial sum in the
// workspace. Then one block per channel adds that channel's partials (CUB) and derives what was asked for. How rows
// fall to blocks and threads depends on the shape alone.
#include <cub/block/block_reduce.cuh>

#include "kernels/cuda/cuda_operations.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/pixels.h"
#include "kernels/functors/normalization.h"
#include "kernels/functors/statistics.h"

namespace densetree {
namespace {

using namespace cuda;

constexpr std::int64_t kSlots = 512;  // enough blocks to fill the largest GPUs
constexpr int kFinishThreads = 128;

// The two sums that every reduction over a feature takes.
struct Sums {
  double first = 0, second = 0;

  DT_HD Sums operator+(const Sums& other) const { return {first + other.first, second + other.second}; }
};

// Adds the sums of the threads of a block that have the same channels, in the order of threadIdx.y, and writes them
// to partial[channel][slot]. Every thread of the block has to come here.
template <int kWidth>
__device__ void leave_partials(const Sums (&sums)[kWidth], std::int64_t channel, std::int64_t channels, Sums* partial) {
  __shared__ double shared[2 * kWidth * kThreads];
  const unsigned thread = threadIdx.y * blockDim.x + threadIdx.x, threads = blockDim.x * blockDim.y;
  for (int i = 0; i < kWidth; ++i) {
    shared[(2 * i) * threads + thread] = sums[i].first;
    shared[(2 * i + 1) * threads + thread] = sums[i].second;
  }
  __syncthreads();
  if (threadIdx.y != 0 || channel >= channels) {
    return;
  }
  for (int i = 0; i < kWidth; ++i) {
    Sums total;
    for (unsigned y = 0; y < blockDim.y; ++y) {
      const unsigned other = y * blockDim.x + threadIdx.x;
      total = total + Sums{shared[(2 * i) * threads + other], shared[(2 * i + 1) * threads + other]};
    }
    partial[(channel + i) * gridDim.y + blockIdx.y] = total;
  }
}

// Σx and Σx² of the rows; copies them to y where y is given.
template <class T, int kWidth, bool kCopy>
__global__ void statistics_kernel(Pixels x, Pixels y, Sums* partial) {
  const std::int64_t channel = first_channel<kWidth>();
  Sums sums[kWidth];
  if (channel < x.channels) {
    for (std::int64_t row = first_row(); row < x.rows; row += row_step()) {
      const Floats<kWidth> value = load<T, kWidth>(x, row, channel);
      for (int i = 0; i < kWidth; ++i) {
        const double v = value.v[i];
        sums[i].first += v;
        sums[i].second += v * v;
      }
      if constexpr (kCopy) {
        store<T>(y, row, channel, value);
      }
    }
  }
  leave_partials(sums, channel, x.channels, partial);
}

// S (+)= γ·dz, and the partial sums Σ dz·(x − mean) and Σ dz.
template <class T, int kWidth>
__global__ void affine_relu_backward_kernel(Pixels dy, Pixels x, Affine affine, bool relu, bool accumulate, Pixels s,
                                            Sums* partial) {
  const std::int64_t channel = first_channel<kWidth>();
  Sums sums[kWidth];
  if (channel < x.channels) {
    ChannelAffine f[kWidth];
    for (int i = 0; i < kWidth; ++i) {
      const std::int64_t c = channel + i;
      f[i] = {affine.mean[c], affine.rstd[c], affine.gamma[c], affine.beta[c]};
    }
    for (std::int64_t row = first_row(); row < x.rows; row += row_step()) {
      const Floats<kWidth> value = load<T, kWidth>(x, row, channel), gradient = load<T, kWidth>(dy, row, channel);
      Floats<kWidth> to = accumulate ? load<T, kWidth>(s, row, channel) : Floats<kWidth>{};
      for (int i = 0; i < kWidth; ++i) {
        const float dz = f[i].backward(value.v[i], gradient.v[i], relu);
        sums[i].first += double{dz} * double{f[i].centered(value.v[i])};
        sums[i].second += double{dz};
        to.v[i] += f[i].gamma * dz;
      }
      store<T>(s, row, channel, to);
    }
  }
  leave_partials(sums, channel, x.channels, partial);
}

// Block c adds the partials of channel c and hands the total to finish.
template <class Finish>
__global__ void finish_kernel(const Sums* partial, int slots, Finish finish) {
  using Reduce = cub::BlockReduce<Sums, kFinishThreads>;
  __shared__ typename Reduce::TempStorage temporary;
  const std::int64_t channel = blockIdx.x;
  Sums sums;
  for (int slot = static_cast<int>(threadIdx.x); slot < slots; slot += kFinishThreads) {
    sums = sums + partial[channel * slots + slot];
  }
  const Sums total = Reduce(temporary).Sum(sums);
  if (threadIdx.x == 0) {
    finish(channel, total);
  }
}

struct FinishStatistics {
  double count;
  float eps;
  Statistics out;

  __device__ void operator()(std::int64_t c, const Sums& total) const {
    const ChannelStatistics statistics = statistics_of(total.first, total.second, count, eps);
    out.mean[c] = statistics.mean;
    out.variance[c] = statistics.variance;
    out.rstd[c] = statistics.rstd;
  }
};

struct FinishAffineBackward {
  Affine affine;
  bool accumulate;
  GradientSums sums;
  float *dgamma, *dbeta;

  __device__ void operator()(std::int64_t c, const Sums& total) const {
    const double dg = total.first * affine.rstd[c], db = total.second;
    dgamma[c] = static_cast<float>(dg);
    dbeta[c] = static_cast<float>(db);
    sums.s[c] = (accumulate ? sums.s[c] : 0.0) + affine.gamma[c] * db;
    sums.s_xhat[c] = (accumulate ? sums.s_xhat[c] : 0.0) + affine.gamma[c] * dg;
  }
};

// Σg² of a block's share, to partial[block].
__global__ void square_sum_kernel(const float* g, std::int64_t n, double* partial) {
  using Reduce = cub::BlockReduce<double, kThreads>;
  __shared__ typename Reduce::TempStorage temporary;
  double sum = 0;
  for (std::int64_t i = first_index(); i < n; i += index_step()) {
    sum += double{g[i]} * double{g[i]};
  }
  const double total = Reduce(temporary).Sum(sum);
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = total;
  }
}

__global__ void finish_norm_kernel(const double* partial, int slots, double* norm) {
  using Reduce = cub::BlockReduce<double, kFinishThreads>;
  __shared__ typename Reduce::TempStorage temporary;
  double sum = 0;
  for (int slot = static_cast<int>(threadIdx.x); slot < slots; slot += kFinishThreads) {
    sum += partial[slot];
  }
  const double total = Reduce(temporary).Sum(sum);
  if (threadIdx.x == 0) {
    *norm = sqrt(total);
  }
}

template <class Finish>
void finish_channels(const Stream& stream, const char* operation, std::int64_t channels, const Grid& grid,
                     const Sums* partial, const Finish& finish) {
  launch(stream, operation, finish_kernel<Finish>, Grid{dim3(static_cast<unsigned>(channels)), dim3(kFinishThreads)},
         partial, grid.blocks.y, finish);
}

// Statistics of x, and a copy to y where y is given.
void take_statistics(const Stream& stream, const char* operation, const Pixels& x, const Pixels* y, float eps,
                     const Statistics& statistics, void* workspace) {
  auto* partial = static_cast<Sums*>(workspace);
  Grid grid;
  with_type_and_width(operation, {x, y ? *y : x}, [&](auto element, auto width) {
    using T = typename decltype(element)::Type;
    grid = grid_over_rows(x.rows, x.channels, width, kSlots);
    launch(stream, operation, y ? statistics_kernel<T, width, true> : statistics_kernel<T, width, false>, grid, x,
           y ? *y : Pixels{}, partial);
  });
  finish_channels(stream, operation, x.channels, grid, partial,
                  FinishStatistics{static_cast<double>(x.rows), eps, statistics});
}

}  // namespace

std::size_t CudaDevice::reduction_bytes(std::int64_t c) const {
  return static_cast<std::size_t>(kSlots * c) * sizeof(Sums);
}

void CudaDevice::channel_statistics(const View& x, float eps, const Statistics& statistics, void* workspace) {
  const char* const operation = "channel_statistics";
  take_statistics(stream_, operation, pixels_of(x, operation), nullptr, eps, statistics, workspace);
}

void CudaDevice::copy_with_statistics(const View& x, const View& y, float eps, const Statistics& statistics,
                                      void* workspace) {
  const char* const operation = "copy_with_statistics";
  require_same_shape(operation, {x, y});
  const Pixels to = pixels_of(y, operation);
  take_statistics(stream_, operation, pixels_of(x, operation), &to, eps, statistics, workspace);
}

void CudaDevice::affine_relu_backward(const View& dy, const View& x, const Affine& affine, bool relu, GradMode mode,
                                      const View& s, const GradientSums& sums, float* dgamma, float* dbeta,
                                      void* workspace) {
  const char* const operation = "affine_relu_backward";
  require_same_shape(operation, {dy, x, s});
  const Pixels gradient = pixels_of(dy, operation), value = pixels_of(x, operation), to = pixels_of(s, operation);
  const bool accumulate = mode == GradMode::kAccumulate;
  auto* partial = static_cast<Sums*>(workspace);
  Grid grid;
  with_type_and_width(operation, {gradient, value, to}, [&](auto element, auto width) {
    using T = typename decltype(element)::Type;
    grid = grid_over_rows(value.rows, value.channels, width, kSlots);
    launch(stream_, operation, affine_relu_backward_kernel<T, width>, grid, gradient, value, affine, relu, accumulate,
           to, partial);
  });
  finish_channels(stream_, operation, value.channels, grid, partial,
                  FinishAffineBackward{affine, accumulate, sums, dgamma, dbeta});
}

void CudaDevice::l2_norm(const float* g, std::int64_t n, double* norm, void* workspace) {
  const char* const operation = "l2_norm";
  require(n > 0, operation, "there must be a gradient");
  auto* partial = static_cast<double*>(workspace);
  const std::int64_t blocks = std::min((n + kThreads - 1) / kThreads, kSlots);
  launch(stream_, operation, square_sum_kernel, Grid{dim3(static_cast<unsigned>(blocks)), dim3(kThreads)}, g, n,
         partial);
  launch(stream_, operation, finish_norm_kernel, Grid{dim3(1), dim3(kFinishThreads)}, partial, blocks, norm);
}

}  // namespace densetree

// Sums over images and pixels, in fp64 and in a fixed order, without atomics: the same input gives the same bits.
//
// First, as many blocks as are resident at once share the rows; each adds up its own per channel and leaves one partial
// sum in the workspace. Then one block per channel adds that channel's partials (CUB) and derives what was asked for.
// How rows fall to blocks and threads depends on the shape and the number of multiprocessors alone.
#include <cub/block/block_reduce.cuh>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/pixels.h"
#include "kernels/functors/normalization.h"
#include "kernels/functors/statistics.h"

namespace densetree::cuda {
namespace {

constexpr std::int64_t kSlots = 512;  // blocks that share the rows, at most: enough to fill the largest GPUs
constexpr int kFinishThreads = 128;
// Resident blocks per multiprocessor, and rows that a thread loads before it computes. These were the fastest of those
// tried on an H200 (docs/gpu.md); registers must allow the blocks. Backward with four channels per thread fits twice,
// which gained more than 16-byte accesses lose.
constexpr int kStatisticsBlocks = 2, kBackwardBlocks = 2;
constexpr int kRows = 4, kBackwardWidth = 4;

// The two sums that every reduction over a feature takes.
struct Sums {
  double first = 0, second = 0;

  DT_HD Sums operator+(const Sums& other) const { return {first + other.first, second + other.second}; }
};

// Adds the sums of the threads of a block that have the same channels, in the order of threadIdx.y, and writes them
// to partial[channel][slot]. Every thread of the block has to come here: each adds up some of the columns.
template <int kWidth>
__device__ void leave_partials(const Sums (&sums)[kWidth], std::int64_t channels, Sums* partial) {
  __shared__ double shared[2 * kWidth * kThreads];
  const unsigned wide = blockDim.x, threads = blockDim.x * blockDim.y, thread = threadIdx.y * wide + threadIdx.x;
  for (int i = 0; i < kWidth; ++i) {
    shared[(2 * i) * threads + thread] = sums[i].first;
    shared[(2 * i + 1) * threads + thread] = sums[i].second;
  }
  __syncthreads();
  for (unsigned column = thread; column < 2 * kWidth * wide; column += threads) {
    const unsigned which = column / wide;  // 2·i for the first sum of element i, 2·i + 1 for the second
    double total = 0;
    for (unsigned y = 0; y < blockDim.y; ++y) {
      total += shared[which * threads + y * wide + column % wide];
    }
    const std::int64_t channel = (std::int64_t{blockIdx.x} * wide + column % wide) * kWidth + which / 2;
    if (channel < channels) {
      Sums& to = partial[channel * gridDim.y + blockIdx.y];
      (which % 2 == 0 ? to.first : to.second) = total;
    }
  }
}

// Σx and Σx² of the rows; copies them to y where y is given.
template <class T, int kWidth, bool kCopy>
__global__ void __launch_bounds__(kThreads, resident(kStatisticsBlocks))
    statistics_kernel(Pixels x, Pixels y, Sums* partial) {
  const std::int64_t channel = first_channel<kWidth>(), step = row_step();
  Sums sums[kWidth];
  if (channel < x.channels) {
    Cursor<T, kWidth> from(x, first_row(), step, channel), to(kCopy ? y : x, first_row(), step, channel);
    for (std::int64_t row = first_row(); row < x.rows; row += kRows * step) {
      Packed<T, kWidth> value[kRows];
      for (int k = 0; k < kRows; ++k) {
        if (row + k * step < x.rows) {
          value[k] = from.load(k);
        }
      }
      for (int k = 0; k < kRows; ++k) {
        if (row + k * step < x.rows) {
          for (int i = 0; i < kWidth; ++i) {
            const double v = to_float(value[k].v[i]);
            sums[i].first += v;
            sums[i].second += v * v;
          }
          if constexpr (kCopy) {
            to.store(k, value[k]);
          }
        }
      }
      from.advance(kRows);
      to.advance(kRows);
    }
  }
  leave_partials(sums, x.channels, partial);
}

// Type of a sum over kRows rows, which is then added to a sum in fp64: conversions to fp64 and additions in it are slow
// on many GPUs, and for products of bf16 values four terms lose nothing that matters in fp32.
template <class T>
using RowSum = std::conditional_t<std::is_same_v<T, BFloat16>, float, double>;

// S (+)= γ·dz, and the partial sums Σ dz·(x − mean) and Σ dz.
template <class T, int kWidth, bool kAccumulate>
__global__ void __launch_bounds__(kThreads, resident(kBackwardBlocks))
    affine_relu_gradient_kernel(Pixels dy, Pixels x, op::Affine affine, Pixels s, Sums* partial) {
  const std::int64_t channel = first_channel<kWidth>(), step = row_step();
  Sums sums[kWidth];
  if (channel < x.channels) {
    ChannelAffine f[kWidth];
    for (int i = 0; i < kWidth; ++i) {
      const std::int64_t c = channel + i;
      f[i] = {affine.mean[c], affine.rstd[c], affine.gamma[c], affine.beta[c]};
    }
    Cursor<T, kWidth> values(x, first_row(), step, channel), gradients(dy, first_row(), step, channel),
        to(s, first_row(), step, channel);
    for (std::int64_t row = first_row(); row < x.rows; row += kRows * step) {
      Packed<T, kWidth> value[kRows], gradient[kRows], result[kRows];
      for (int k = 0; k < kRows; ++k) {
        value[k] = gradient[k] = result[k] = {};  // rows that are not there add nothing
        if (row + k * step < x.rows) {
          value[k] = values.load(k);
          gradient[k] = gradients.load(k);
          if constexpr (kAccumulate) {
            result[k] = to.load(k);
          }
        }
      }
      for (int i = 0; i < kWidth; ++i) {
        RowSum<T> first = 0, second = 0;
        for (int k = 0; k < kRows; ++k) {
          const float v = to_float(value[k].v[i]), dz = f[i].backward(v, to_float(gradient[k].v[i]));
          first += RowSum<T>{dz} * RowSum<T>{f[i].centered(v)};
          second += RowSum<T>{dz};
          from_float((kAccumulate ? to_float(result[k].v[i]) : 0.0f) + f[i].gamma * dz, result[k].v[i]);
        }
        sums[i].first += first;
        sums[i].second += second;
      }
      for (int k = 0; k < kRows; ++k) {
        if (row + k * step < x.rows) {
          to.store(k, result[k]);
        }
      }
      values.advance(kRows);
      gradients.advance(kRows);
      to.advance(kRows);
    }
  }
  leave_partials(sums, x.channels, partial);
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
  op::Statistics out;

  __device__ void operator()(std::int64_t c, const Sums& total) const {
    const ChannelStatistics statistics = statistics_of(total.first, total.second, count, eps);
    out.mean[c] = statistics.mean;
    out.variance[c] = statistics.variance;
    out.rstd[c] = statistics.rstd;
  }
};

struct FinishAffineGradient {
  op::Affine affine;
  bool accumulate;
  op::GradientSums sums;
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

// As many blocks as are resident at once, but no more than there is workspace for.
Grid reduction_grid(const Pixels& x, int width, int blocks, const Stream& stream) {
  return grid_over_rows(x.rows, x.channels, width, std::min<std::int64_t>(blocks * stream.multiprocessors, kSlots));
}

template <class Finish>
void finish_channels(const Stream& stream, std::string_view operation, std::int64_t channels, const Grid& grid,
                     const Sums* partial, const Finish& finish) {
  launch(stream, operation, finish_kernel<Finish>, Grid{dim3(static_cast<unsigned>(channels)), dim3(kFinishThreads)},
         partial, grid.blocks.y, finish);
}

}  // namespace

std::size_t reduction_bytes(std::int64_t channels) {
  return static_cast<std::size_t>(kSlots * channels) * sizeof(Sums);
}

void compute(const Stream& stream, const op::ChannelStatistics& o, void* workspace) {
  const bool copies = o.y.present();
  const Pixels x = pixels_of(o.x, o.kName), y = copies ? pixels_of(o.y, o.kName) : x;
  auto* partial = static_cast<Sums*>(workspace);
  Grid grid;
  with_type_and_width({x, y}, [&](auto element, auto width) {
    using T = typename decltype(element)::Type;
    grid = reduction_grid(x, width, kStatisticsBlocks, stream);
    launch(stream, o.kName, copies ? statistics_kernel<T, width, true> : statistics_kernel<T, width, false>, grid, x, y,
           partial);
  });
  finish_channels(stream, o.kName, x.channels, grid, partial,
                  FinishStatistics{static_cast<double>(x.rows), o.eps, o.statistics});
}

void compute(const Stream& stream, const op::AffineReluGradient& o, void* workspace) {
  const Pixels gradient = pixels_of(o.dy, o.kName), value = pixels_of(o.x, o.kName), to = pixels_of(o.s, o.kName);
  const bool accumulate = o.mode == GradMode::kAccumulate;
  auto* partial = static_cast<Sums*>(workspace);
  Grid grid;
  with_type_and_width<kBackwardWidth>({gradient, value, to}, [&](auto element, auto width) {
    using T = typename decltype(element)::Type;
    grid = reduction_grid(value, width, kBackwardBlocks, stream);
    launch(stream, o.kName,
           accumulate ? affine_relu_gradient_kernel<T, width, true> : affine_relu_gradient_kernel<T, width, false>,
           grid, gradient, value, o.affine, to, partial);
  });
  finish_channels(stream, o.kName, value.channels, grid, partial,
                  FinishAffineGradient{o.affine, accumulate, o.sums, o.dgamma.data, o.dbeta.data});
}

void compute(const Stream& stream, const op::L2Norm& o, void* workspace) {
  auto* partial = static_cast<double*>(workspace);
  const std::int64_t blocks = std::min(quotient_up(o.g.count, kThreads), kSlots);
  launch(stream, o.kName, square_sum_kernel, Grid{dim3(static_cast<unsigned>(blocks)), dim3(kThreads)}, o.g.data,
         o.g.count, partial);
  launch(stream, o.kName, finish_norm_kernel, Grid{dim3(1), dim3(kFinishThreads)}, partial, blocks, o.norm.data);
}

}  // namespace densetree::cuda

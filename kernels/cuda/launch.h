// How kernels are launched: on which stream, over which grid, and how a thread finds its work. For .cu files only.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <utility>

#include "kernels/core/integer.h"
#include "kernels/cuda/check.h"
#include "kernels/cuda/launch_kernel.h"
#include "kernels/cuda/stream.h"

namespace densetree::cuda {

inline constexpr int kThreads = 256;  // per block, at most

// For __launch_bounds__: this many resident blocks of kThreads per multiprocessor. Turing has room for 1024 threads.
__host__ __device__ constexpr int resident(int blocks) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
  return blocks < 1024 / kThreads ? blocks : 1024 / kThreads;
#else
  return blocks;
#endif
}

struct Grid {
  dim3 blocks, threads;
};

// ---- One-dimensional work: a thread takes elements first_index(), first_index() + index_step(), … ----------------
inline Grid grid_over(std::int64_t elements, const Stream& stream) {
  const std::int64_t wanted = quotient_up(elements, kThreads), full = std::int64_t{8} * stream.multiprocessors;
  return {dim3(static_cast<unsigned>(std::min(wanted, full))), dim3(kThreads)};
}

// ---- Rows of pixels: a thread keeps its channels and takes rows first_row(), first_row() + row_step(), … ----------
// At most max_blocks blocks share the work. threads.x · width channels lie side by side, so neighbouring threads read
// neighbouring addresses; `widest` is the most that threads.x may be.
inline Grid grid_over_rows(std::int64_t rows, std::int64_t channels, int width, std::int64_t max_blocks,
                           std::int64_t widest = kThreads) {
  const std::int64_t groups = quotient_up(channels, width), parts = quotient_up(groups, widest);
  const std::int64_t across = quotient_up(groups, parts), down = kThreads / across;
  return {dim3(static_cast<unsigned>(quotient_up(groups, across)),
               static_cast<unsigned>(std::min(quotient_up(rows, down), std::max<std::int64_t>(max_blocks / parts, 1)))),
          dim3(static_cast<unsigned>(across), static_cast<unsigned>(down))};
}

inline Grid grid_over_rows(std::int64_t rows, std::int64_t channels, int width, const Stream& stream) {
  return grid_over_rows(rows, channels, width, std::int64_t{8} * stream.multiprocessors);
}

// Queues kernel(args…). Throws Error naming the operation when the launch is refused.
template <class... Parameters, class... Arguments>
void launch(const Stream& stream, std::string_view operation, void (*kernel)(Parameters...), const Grid& grid,
            Arguments&&... arguments) {
  check_cuda(cudaSetDevice(stream.device), operation, stream.device);
  launch_kernel(kernel, grid.blocks, grid.threads, stream.handle,
                static_cast<Parameters>(std::forward<Arguments>(arguments))...);
  check_cuda(cudaGetLastError(), operation, stream.device);
}

__device__ inline std::int64_t first_index() {
  return std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
}
__device__ inline std::int64_t index_step() {
  return std::int64_t{gridDim.x} * blockDim.x;
}

template <int kWidth>
__device__ inline std::int64_t first_channel() {
  return first_index() * kWidth;
}
__device__ inline std::int64_t first_row() {
  return std::int64_t{blockIdx.y} * blockDim.y + threadIdx.y;
}
__device__ inline std::int64_t row_step() {
  return std::int64_t{gridDim.y} * blockDim.y;
}

}  // namespace densetree::cuda

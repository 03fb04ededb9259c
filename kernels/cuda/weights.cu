#include "kernels/cuda/weights.h"

#include <cuda_bf16.h>

#include "kernels/cuda/launch.h"

namespace densetree::cuda {
namespace {

// to[m][c][r] = from[m][r][c] for `matrices` matrices of rows × columns.
template <class From, class To>
__global__ void transpose_kernel(const From* from, std::int64_t matrices, std::int64_t rows, std::int64_t columns,
                                 To* to) {
  for (std::int64_t i = first_index(); i < matrices * rows * columns; i += index_step()) {
    const std::int64_t matrix = i / (rows * columns), within = i % (rows * columns);
    const std::int64_t column = within / rows, row = within % rows;
    to[i] = static_cast<To>(static_cast<float>(from[(matrix * rows + row) * columns + column]));
  }
}

void require_float(DType type, const char* operation) {
  require(type == DType::kFloat32 || type == DType::kBFloat16, operation, "interleaved weights are fp32 or bf16");
}

}  // namespace

void interleave_weights(const Stream& stream, const ConvolutionShape& shape, const float* plain, DType type,
                        void* interleaved) {
  const char* const operation = "interleave_weights";
  require_float(type, operation);
  const Grid grid = grid_over(shape.weights(), stream);
  const std::int64_t window = shape.kernel * shape.kernel;
  if (type == DType::kBFloat16) {
    launch(stream, operation, transpose_kernel<float, __nv_bfloat16>, grid, plain, shape.out_channels, shape.input.c,
           window, static_cast<__nv_bfloat16*>(interleaved));
  } else {
    launch(stream, operation, transpose_kernel<float, float>, grid, plain, shape.out_channels, shape.input.c, window,
           static_cast<float*>(interleaved));
  }
}

void deinterleave_weights(const Stream& stream, const ConvolutionShape& shape, DType type, const void* interleaved,
                          float* plain) {
  const char* const operation = "deinterleave_weights";
  require_float(type, operation);
  const Grid grid = grid_over(shape.weights(), stream);
  const std::int64_t window = shape.kernel * shape.kernel;
  if (type == DType::kBFloat16) {
    launch(stream, operation, transpose_kernel<__nv_bfloat16, float>, grid,
           static_cast<const __nv_bfloat16*>(interleaved), shape.out_channels, window, shape.input.c, plain);
  } else {
    launch(stream, operation, transpose_kernel<float, float>, grid, static_cast<const float*>(interleaved),
           shape.out_channels, window, shape.input.c, plain);
  }
}

}  // namespace densetree::cuda

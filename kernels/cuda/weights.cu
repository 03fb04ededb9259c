#include "kernels/cuda/weights.h"

#include "kernels/cuda/launch.h"

namespace densetree::cuda {
namespace {

// to[m][c][r] = from[m][r][c] for `matrices` matrices of rows × columns.
__global__ void transpose_kernel(const float* from, std::int64_t matrices, std::int64_t rows, std::int64_t columns,
                                 float* to) {
  for (std::int64_t i = first_index(); i < matrices * rows * columns; i += index_step()) {
    const std::int64_t matrix = i / (rows * columns), within = i % (rows * columns);
    const std::int64_t column = within / rows, row = within % rows;
    to[i] = from[(matrix * rows + row) * columns + column];
  }
}

}  // namespace

void interleave_weights(const Stream& stream, const ConvolutionShape& shape, const float* plain, float* interleaved) {
  launch(stream, "interleave_weights", transpose_kernel, grid_over(shape.weights(), stream), plain, shape.out_channels,
         shape.input.c, shape.kernel * shape.kernel, interleaved);
}

void deinterleave_weights(const Stream& stream, const ConvolutionShape& shape, const float* interleaved, float* plain) {
  launch(stream, "deinterleave_weights", transpose_kernel, grid_over(shape.weights(), stream), interleaved,
         shape.out_channels, shape.kernel * shape.kernel, shape.input.c, plain);
}

}  // namespace densetree::cuda

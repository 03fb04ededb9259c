#include "kernels/cuda/weights.h"

#include <cuda_bf16.h>

#include "kernels/cuda/launch.h"

namespace densetree::cuda {
namespace {

// (O, I, window) to (O, window, pitch): zeros where there is no input channel.
template <class To>
__global__ void interleave_kernel(const float* plain, std::int64_t outputs, std::int64_t inputs, std::int64_t window,
                                  std::int64_t pitch, To* to) {
  for (std::int64_t i = first_index(); i < outputs * window * pitch; i += index_step()) {
    const std::int64_t output = i / (window * pitch), tap = i / pitch % window, input = i % pitch;
    to[i] = static_cast<To>(input < inputs ? plain[(output * inputs + input) * window + tap] : 0.0f);
  }
}

// And back: what lies where there is no input channel is left out.
template <class From>
__global__ void deinterleave_kernel(const From* from, std::int64_t outputs, std::int64_t inputs, std::int64_t window,
                                    std::int64_t pitch, float* plain) {
  for (std::int64_t i = first_index(); i < outputs * inputs * window; i += index_step()) {
    const std::int64_t output = i / (inputs * window), input = i / window % inputs, tap = i % window;
    plain[i] = static_cast<float>(from[(output * window + tap) * pitch + input]);
  }
}

void require_float(DType type, const char* operation) {
  require(type == DType::kFloat32 || type == DType::kBFloat16, operation, "interleaved weights are fp32 or bf16");
}

}  // namespace

void interleave_weights(const Stream& stream, const ConvolutionShape& shape, const float* plain, DType type,
                        std::int64_t pitch, void* interleaved) {
  const char* const operation = "interleave_weights";
  require_float(type, operation);
  const std::int64_t window = shape.kernel * shape.kernel;
  const Grid grid = grid_over(shape.out_channels * window * pitch, stream);
  if (type == DType::kBFloat16) {
    launch(stream, operation, interleave_kernel<__nv_bfloat16>, grid, plain, shape.out_channels, shape.input.c, window,
           pitch, static_cast<__nv_bfloat16*>(interleaved));
  } else {
    launch(stream, operation, interleave_kernel<float>, grid, plain, shape.out_channels, shape.input.c, window, pitch,
           static_cast<float*>(interleaved));
  }
}

void deinterleave_weights(const Stream& stream, const ConvolutionShape& shape, DType type, std::int64_t pitch,
                          const void* interleaved, float* plain) {
  const char* const operation = "deinterleave_weights";
  require_float(type, operation);
  const Grid grid = grid_over(shape.weights(), stream);
  const std::int64_t window = shape.kernel * shape.kernel;
  if (type == DType::kBFloat16) {
    launch(stream, operation, deinterleave_kernel<__nv_bfloat16>, grid, static_cast<const __nv_bfloat16*>(interleaved),
           shape.out_channels, shape.input.c, window, pitch, plain);
  } else {
    launch(stream, operation, deinterleave_kernel<float>, grid, static_cast<const float*>(interleaved),
           shape.out_channels, shape.input.c, window, pitch, plain);
  }
}

}  // namespace densetree::cuda

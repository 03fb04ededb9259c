// Convolution weights between torch's order (O, I, kH, kW) in fp32, in which everybody keeps them, and what the vendor
// libraries multiply: the order that interleaved activations want, (O, kH, kW, pitch) with pitch >= I, in the
// activations' type. The two orders are the same for 1×1 kernels. Both functions are queued on the stream.
#pragma once

#include "kernels/cuda/stream.h"
#include "kernels/device.h"

namespace densetree::cuda {

// `type` is that of `interleaved`, fp32 or bf16 (rounded to nearest even); beyond I are zeros.
void interleave_weights(const Stream& stream, const ConvolutionShape& shape, const float* plain, DType type,
                        std::int64_t pitch, void* interleaved);
// What lies beyond I is not read.
void deinterleave_weights(const Stream& stream, const ConvolutionShape& shape, DType type, std::int64_t pitch,
                          const void* interleaved, float* plain);

}  // namespace densetree::cuda

// Convolution weights between torch's order (O, I, kH, kW), in which everybody keeps them, and the order that
// interleaved activations want, (O, kH, kW, I). Both are queued on the stream; sizes in elements.
#pragma once

#include "kernels/cuda/stream.h"
#include "kernels/device.h"

namespace densetree::cuda {

void interleave_weights(const Stream& stream, const ConvolutionShape& shape, const float* plain, float* interleaved);
void deinterleave_weights(const Stream& stream, const ConvolutionShape& shape, const float* interleaved, float* plain);

}  // namespace densetree::cuda

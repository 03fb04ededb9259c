// The network's input on CUDA. Its pixels have room for 8 channels, of which the images fill 3 and zeros the rest: they
// begin on 16-byte boundaries, and tensor cores take 8 channels as they lie. (Otherwise cuDNN makes such a copy in each
// pass, in a workspace of its size.)
#pragma once

#include "kernels/device.h"

namespace densetree::cuda {

inline constexpr std::int64_t kInputPitch = 8;

// Elements from one pixel of a convolution's input to the next.
inline std::int64_t pitch_of(const ConvolutionShape& shape) {
  return shape.input_use == Use::kInput ? kInputPitch : shape.input.c;
}

// What the libraries are told: where tensor cores multiply, the network's input has all the channels there is room for,
// and their weights are zeros. In fp32 that would be 8/3 of the work.
inline ConvolutionShape library_shape(ConvolutionShape shape) {
  if (shape.input_use == Use::kInput && shape.precision != Precision::kFloat32) {
    shape.input.c = kInputPitch;
  }
  return shape;
}

}  // namespace densetree::cuda

// The network's input on CUDA: NHWC with 8 channels per pixel, of which 3 are the image's and 5 are zero. Tensor-core
// convolutions need a multiple of 8 channels; without the padding cuDNN copies the input to such a tensor in its
// workspace in every pass.
#pragma once

#include "kernels/device.h"

namespace densetree::cuda {

inline constexpr std::int64_t kInputPitch = 8;
inline constexpr Layout kInputLayout = Layout::kBlocked8;

// Elements from one pixel of a convolution's input to the next.
inline std::int64_t pitch_of(const ConvolutionShape& shape) {
  return shape.input_use == Use::kInput ? kInputPitch : shape.input.c;
}

// The shape that cuDNN is given. Convolutions on tensor cores take all 8 channels of the input, with zero weights for
// the last 5. In fp32, which has no tensor cores, they take 3: 8 would be 8/3 of the work.
inline ConvolutionShape library_shape(ConvolutionShape shape) {
  if (shape.input_use == Use::kInput && shape.precision != Precision::kFloat32) {
    shape.input.c = kInputPitch;
  }
  return shape;
}

}  // namespace densetree::cuda

// What a convolution is made of: its shape, precision, and what its operands are for.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/core/names.h"
#include "kernels/core/view.h"

namespace densetree {

// What a tensor is for decides its layout; each device has its own answer.
enum class Use : std::uint8_t {
  kInput,    // network input
  kSpatial,  // input or output of a convolution with a kernel larger than 1×1
  kStack,    // channels that are sliced, and input or output of 1×1 convolutions
};

// What convolutions and their operands are made of. Master weights, statistics, sums and the classifier are fp32 or
// better in every one of them.
enum class Precision : std::uint8_t {
  kFloat32,        // true fp32
  kTensorFloat32,  // fp32 in memory, products of inputs rounded to TF32 (10-bit mantissa), summed in fp32
  kBFloat16,       // activations and their gradients in bf16, summed in fp32
};
constexpr Names<Precision, 3> names(Precision) {
  return {"precision",
          {{Precision::kFloat32, "fp32"}, {Precision::kTensorFloat32, "tf32"}, {Precision::kBFloat16, "bf16"}}};
}
DType element_type(Precision precision);  // of activations and their gradients

struct ConvolutionShape {
  Shape input;  // (N, C, H, W)
  std::int64_t out_channels = 0, kernel = 1, stride = 1, padding = 0;
  Use input_use = Use::kStack, output_use = Use::kStack;
  bool training = true;  // false: forward only
  Precision precision = Precision::kFloat32;

  Shape output() const {
    return {input.n, out_channels, (input.h + 2 * padding - kernel) / stride + 1,
            (input.w + 2 * padding - kernel) / stride + 1};
  }
  std::int64_t weights() const { return out_channels * input.c * kernel * kernel; }
  // Throws Error where a number makes no sense: an empty input, a kernel or stride below 1, negative padding.
  void validate() const;
  std::string describe() const;  // "conv 3x3 stride 1 (16, 128, 56, 56) -> 32"
};

}  // namespace densetree

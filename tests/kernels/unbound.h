// Operations whose operands have no memory yet, as a tape makes them: enough to ask a device whether it takes them.
#pragma once

#include "kernels/device.h"

namespace densetree::test {

// Channels from `begin` on of a stack of `of` channels.
struct InStack {
  std::int64_t begin = 0, of = 0;
};

inline op::NormConvolution unbound_norm_convolution(const Device& device, const ConvolutionShape& shape, InStack x,
                                                    InStack y) {
  StorageId next = 0;
  const auto placed = [&](auto operand) {
    operand.storage = next++;
    return operand;
  };
  const auto array = [&](std::int64_t count) { return placed(densetree::Array<float>(nullptr, count)); };
  const auto stack = [&](Shape whole, InStack in) {
    const std::int64_t channels = whole.c;
    whole.c = in.of;
    const DType type = element_type(shape.precision);
    return placed(densetree::Tensor(make_view(nullptr, whole, device.layout(Use::kStack), type)))
        .slice(in.begin, channels);
  };
  const std::int64_t c = shape.input.c;
  return {.shape = shape,
          .x = stack(shape.input, x),
          .affine = {array(c), array(c), array(c), array(c)},
          .w = array(shape.weights()),
          .y = stack(shape.output(), y),
          .eps = 1e-5f};
}

}  // namespace densetree::test

#include "kernels/operations.h"

#include <cmath>

#include "kernels/core/error.h"

namespace densetree {

std::int64_t Tensor::first_channel() const {
  const auto elements = static_cast<std::int64_t>(start / size_of(dtype));
  return (block_stride == 0 ? 0 : elements / block_stride * block) + first;
}

Tensor Tensor::slice(std::int64_t begin, std::int64_t count) const {
  Tensor part(View::slice(begin, count));
  part.storage = storage;
  part.start = start + static_cast<std::size_t>((first + begin) / block * block_stride) * size_of(dtype);
  return part;
}

AdamScalars::AdamScalars(const AdamStep& s)
    : beta1(static_cast<float>(s.beta1)),
      rest1(static_cast<float>(1 - s.beta1)),
      beta2(static_cast<float>(s.beta2)),
      rest2(static_cast<float>(1 - s.beta2)),
      decay(static_cast<float>(1 - s.lr * s.weight_decay)),
      step_size(static_cast<float>(s.lr / (1 - std::pow(s.beta1, static_cast<double>(s.step))))),
      root_correction(static_cast<float>(1 / std::sqrt(1 - std::pow(s.beta2, static_cast<double>(s.step))))),
      eps(static_cast<float>(s.eps)),
      clip_norm(s.clip_norm) {
  check(s.step >= 1, "adam: step {} is not counted from 1", s.step);
}

std::string_view name_of(const Operation& operation) {
  return std::visit([](const auto& o) { return o.kName; }, operation);
}

std::optional<ConvolutionShape> convolution_shape(const Operation& operation) {
  return std::visit(
      [](const auto& o) -> std::optional<ConvolutionShape> {
        if constexpr (requires { o.shape.out_channels; }) {
          return o.shape;
        } else {
          return std::nullopt;
        }
      },
      operation);
}

std::string describe(const Operation& operation) {
  if (const auto shape = convolution_shape(operation)) {
    return shape->describe();
  }
  std::string from, to;
  for_each_operand(operation, [&]<class T>(Access access, const T& operand) {
    if constexpr (std::is_same_v<T, Tensor>) {
      std::string& text = access == Access::kRead ? from : to;
      text += fmt::format("{}{}", text.empty() ? "" : ", ", operand.shape());
    }
  });
  return from.empty() || to.empty() ? from + to : from + " -> " + to;
}

}  // namespace densetree

#include "kernels/operations.h"

#include <cmath>

#include "kernels/core/error.h"

namespace densetree {

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

Operation recomputed(Operation operation) {
  std::visit(
      [](auto& o) {
        if constexpr (requires { o.leave_out_what_stays(); }) {
          o.leave_out_what_stays();
        }
      },
      operation);
  return operation;
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
  struct Sides {
    std::string from, to;
    void add(Access access, const std::string& what) {
      std::string& side = access == Access::kRead ? from : to;
      side += (side.empty() ? "" : ", ") + what;
    }
    std::string text() const { return from.empty() || to.empty() ? from + to : from + " -> " + to; }
  };
  Sides tensors, arrays;
  for_each_operand(operation, [&]<class T>(Access access, const T& operand) {
    if constexpr (std::is_same_v<T, Tensor>) {
      tensors.add(access, operand.shape().describe());
    } else {
      arrays.add(access, fmt::format("{}", operand.count));
    }
  });
  const std::string text = tensors.text();
  return text.empty() ? arrays.text() : text;
}

}  // namespace densetree

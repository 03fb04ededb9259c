#include "kernels/operations.h"

#include "kernels/core/error.h"

namespace densetree {

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

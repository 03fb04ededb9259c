#include "bench/operation_cost.h"

#include <fmt/format.h>

namespace densetree::bench {

std::string kind_of(const Operation& operation) {
  std::string kind(name_of(operation));
  if (const auto shape = convolution_shape(operation)) {
    kind += fmt::format(" {0}x{0}", shape->kernel);
  }
  const bool accumulates = std::visit(
      [](const auto& o) {
        if constexpr (requires { o.mode; }) {
          return o.mode == GradMode::kAccumulate;
        }
        return false;
      },
      operation);
  return accumulates ? kind + " +=" : kind;
}

double bytes_of(const Operation& operation) {
  double bytes = 0;
  for_each_operand(operation, [&](Access access, const auto& operand) {
    bytes += static_cast<double>(operand.bytes()) * (access == Access::kAdd ? 2 : 1);
  });
  return bytes;
}

// A fused gradient computes two products.
double flops_of(const Operation& operation) {
  const auto shape = convolution_shape(operation);
  const double products = std::holds_alternative<op::NormConvolutionGradient>(operation) ? 2 : 1;
  return shape ? products * 2.0 * static_cast<double>(shape->weights()) *
                     static_cast<double>(shape->output().n * shape->output().pixels())
               : 0;
}

}  // namespace densetree::bench

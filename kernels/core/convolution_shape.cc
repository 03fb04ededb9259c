#include "kernels/core/convolution_shape.h"

#include "kernels/core/error.h"

namespace densetree {

DType element_type(Precision precision) {
  return precision == Precision::kBFloat16 ? DType::kBFloat16 : DType::kFloat32;
}

std::string ConvolutionShape::describe() const {
  return fmt::format("conv {}x{} stride {} {} -> {}", kernel, kernel, stride, input, out_channels);
}

void ConvolutionShape::validate() const {
  check(input.n > 0 && input.c > 0 && input.h > 0 && input.w > 0 && out_channels > 0 && kernel > 0 && stride > 0 &&
            padding >= 0,
        "{} padding {}: sizes, kernel and stride must be positive and padding not negative", *this, padding);
  check(input.h + 2 * padding >= kernel && input.w + 2 * padding >= kernel, "{}: the output is empty", *this);
}

}  // namespace densetree

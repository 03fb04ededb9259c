#include "kernels/core/convolution_shape.h"

#include "kernels/core/error.h"

namespace densetree {

const char* name_of(Precision precision) {
  switch (precision) {
    case Precision::kFloat32:
      return "fp32";
    case Precision::kTensorFloat32:
      return "tf32";
    case Precision::kBFloat16:
      return "bf16";
  }
  fail("unknown precision {}", static_cast<int>(precision));
}

Precision parse_precision(const std::string& name) {
  for (const Precision precision : {Precision::kFloat32, Precision::kTensorFloat32, Precision::kBFloat16}) {
    if (name == name_of(precision)) {
      return precision;
    }
  }
  fail("precision '{}' is unknown; use fp32, tf32 or bf16", name);
}

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

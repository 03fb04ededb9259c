// What computes convolutions on the CPU, a kernel for each pass. prepare.cc has them in order.
#pragma once

#include <memory>
#include <string>

#include "kernels/core/error.h"
#include "kernels/cpu/operations.h"
#include "kernels/device.h"

namespace densetree::cpu {

// A pass by its places: the tensors on the side of a convolution's input and of its output, and the weights.
struct Places {
  const Tensor &x, &y;
  const Array<float>& w;
};
inline Places places_of(const op::Convolution& o) {
  return {o.x, o.y, o.w};
}
inline Places places_of(const op::ConvolutionWeightGradient& o) {
  return {o.x, o.dy, o.dw};
}
inline Places places_of(const op::ConvolutionDataGradient& o) {
  return {o.dx, o.dy, o.w};
}
inline Places places_of(const op::NormConvolution& o) {
  return {o.x, o.y, o.w};
}
inline Places places_of(const op::NormConvolutionGradient& o) {
  return {o.x, o.dy, o.w};
}

inline DType type_of(Precision precision) {
  return precision == Precision::kBFloat16 ? DType::kBFloat16 : DType::kFloat32;
}

// Throws Error where x or y is not a whole tensor of the convolution's shape, type and layout.
inline void check_places(const Team& team, const ConvolutionShape& shape, const Places& places) {
  const auto check_place = [&](const char* name, const View& view, const Shape& wanted, Use use) {
    check(view.shape() == wanted && view.layout == team.layout(use) && view.whole &&
              view.dtype == type_of(shape.precision),
          "{}: its {} is ({}, {}, {}, {}) {} {}{}", shape, name, view.n, view.c, view.h, view.w, name_of(view.dtype),
          name_of(view.layout), view.whole ? "" : ", a slice");
  };
  check_place("input", places.x, shape.input, shape.input_use);
  check_place("output", places.y, shape.output(), shape.output_use);
}

// In fp64: planar input to channels in blocks (kernels/cpu/first_convolution.cc).
std::unique_ptr<Kernel> make_first_convolution(const Team& team, const op::Convolution& o);

// Of bf16, in fp32 (kernels/cpu/widened_convolution.cc).
std::unique_ptr<Kernel> make_widened_convolution(const Team& team, const op::Convolution& o);
std::unique_ptr<Kernel> make_widened_convolution(const Team& team, const op::ConvolutionWeightGradient& o);
std::unique_ptr<Kernel> make_widened_convolution(const Team& team, const op::ConvolutionDataGradient& o);

// By the vendor's library (kernels/cpu/onednn_convolution.cc).
std::unique_ptr<Kernel> make_onednn_convolution(const Team& team, const op::Convolution& o);
std::unique_ptr<Kernel> make_onednn_convolution(const Team& team, const op::ConvolutionWeightGradient& o);
std::unique_ptr<Kernel> make_onednn_convolution(const Team& team, const op::ConvolutionDataGradient& o);

// With batch norm and ReLU in one (kernels/cpu/norm_convolution.cc and norm_convolution_gradient.cc), or null where the
// shape has no such form, and the reason in *why_not. `pairs`: bf16 is multiplied in pairs, which is fast where the
// processor has an instruction for it, and else widened.
std::unique_ptr<Kernel> make_norm_convolution(const Team& team, const op::NormConvolution& o, bool pairs,
                                              std::string* why_not);
std::unique_ptr<Kernel> make_norm_convolution(const Team& team, const op::NormConvolutionGradient& o, bool pairs,
                                              std::string* why_not);

}  // namespace densetree::cpu

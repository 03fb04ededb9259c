// What computes convolutions on the CPU, a kernel for each pass. prepare.cc has them in order.
#pragma once

#include <memory>
#include <string>

#include "kernels/cpu/operations.h"
#include "kernels/device.h"

namespace densetree::cpu {

// In fp64: planar input to channels in blocks (kernels/cpu/first_convolution.cc).
std::unique_ptr<Kernel> make_first_convolution(const Team& team, const op::Convolution& o);

// Of a pass alone: op::Convolution, op::ConvolutionWeightGradient or op::ConvolutionDataGradient. Of bf16, in fp32
// (kernels/cpu/widened_convolution.cc), and by the vendor's library (kernels/cpu/onednn_convolution.cc).
template <class Op>
std::unique_ptr<Kernel> make_widened_convolution(const Team& team, const Op& o);
template <class Op>
std::unique_ptr<Kernel> make_onednn_convolution(const Team& team, const Op& o);

// With batch norm and ReLU in one (kernels/cpu/norm_convolution.cc and norm_convolution_gradient.cc), or null where the
// shape has no such form, and the reason in *why_not.
std::unique_ptr<Kernel> make_norm_convolution(const Team& team, const op::NormConvolution& o, std::string* why_not);
std::unique_ptr<Kernel> make_norm_convolution(const Team& team, const op::NormConvolutionGradient& o,
                                              std::string* why_not);

}  // namespace densetree::cpu

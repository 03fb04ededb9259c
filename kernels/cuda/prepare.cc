// Which kernel runs an operation on CUDA.
#include "kernels/cuda/check.h"
#include "kernels/cuda/convolutions.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/operations.h"
#include "kernels/implementations.h"

namespace densetree {
namespace cuda {
namespace {

template <class Op>
std::unique_ptr<Kernel> direct(ConvolutionContext& context, const Op& o, std::string*) {
  return std::make_unique<DirectKernel<Op, Stream>>(context.stream(), o);
}

template <class Op>
std::unique_ptr<Kernel> product(ConvolutionContext& context, const Op& o, std::string* why_not) {
  return make_product(context, o, why_not);
}

template <class Op>
std::unique_ptr<Kernel> spatial(ConvolutionContext& context, const Op& o, std::string* why_not) {
  return make_spatial(context, o, why_not);
}

// Of operations that have no list of their own.
template <class Op>
constexpr Implementation<Op, ConvolutionContext> kList[] = {{"own", direct<Op>}};

template <>
constexpr Implementation<op::Convolution, ConvolutionContext> kList<op::Convolution>[] = {
    {"cuBLASLt", product<op::Convolution>}, {"cuDNN", spatial<op::Convolution>}};
template <>
constexpr Implementation<op::ConvolutionWeightGradient, ConvolutionContext> kList<op::ConvolutionWeightGradient>[] = {
    {"cuBLASLt", product<op::ConvolutionWeightGradient>}, {"cuDNN", spatial<op::ConvolutionWeightGradient>}};
template <>
constexpr Implementation<op::ConvolutionDataGradient, ConvolutionContext> kList<op::ConvolutionDataGradient>[] = {
    {"cuBLASLt", product<op::ConvolutionDataGradient>}, {"cuDNN", spatial<op::ConvolutionDataGradient>}};
template <>
constexpr Implementation<op::NormConvolution, ConvolutionContext> kList<op::NormConvolution>[] = {
    {"fused", make_fused}};
template <>
constexpr Implementation<op::NormConvolutionGradient, ConvolutionContext> kList<op::NormConvolutionGradient>[] = {
    {"fused", make_fused_gradient}};

}  // namespace

std::unique_ptr<Kernel> prepare(ConvolutionContext& context, const Operation& operation, Refusals* refusals) {
  return std::visit(
      [&]<class Op>(const Op& o) { return first_of<Op, ConvolutionContext>(kList<Op>, context, o, refusals); },
      operation);
}

}  // namespace cuda

std::unique_ptr<Kernel> CudaDevice::make_kernel(const Operation& operation, std::vector<Refusal>* refusals) {
  for_each_operand(operation, [&]<class T>(Access, const T& operand) {
    if constexpr (std::is_same_v<T, Tensor>) {
      cuda::require(operand.count() < INT32_MAX, name_of(operation),
                    "CUDA kernels count fewer than 2^31 pixels; use a smaller batch", {operand});
    }
  });
  activate("preparing an operation");
  return cuda::prepare(*convolutions_, operation, refusals);
}

}  // namespace densetree

// Which kernel runs an operation on CUDA.
#include "kernels/cuda/convolutions.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/operations.h"
#include "kernels/implementations.h"

namespace densetree {
namespace cuda {
namespace {

constexpr Implementation<ConvolutionPass, ConvolutionContext> kConvolution[] = {{"cuBLASLt", make_product},
                                                                                {"cuDNN", make_spatial}};
constexpr Implementation<op::NormConvolution, ConvolutionContext> kFused[] = {{"fused", make_fused}};
constexpr Implementation<op::NormConvolutionGradient, ConvolutionContext> kFusedGradient[] = {
    {"fused", make_fused_gradient}};

}  // namespace

std::unique_ptr<Kernel> prepare(ConvolutionContext& context, const op::NormConvolution& o, Refusals* refusals) {
  return first_of<op::NormConvolution, ConvolutionContext>(kFused, context, o, refusals);
}
std::unique_ptr<Kernel> prepare(ConvolutionContext& context, const op::NormConvolutionGradient& o, Refusals* refusals) {
  return first_of<op::NormConvolutionGradient, ConvolutionContext>(kFusedGradient, context, o, refusals);
}
std::unique_ptr<Kernel> prepare(ConvolutionContext& context, const ConvolutionPass& pass, Refusals* refusals) {
  return first_of<ConvolutionPass, ConvolutionContext>(kConvolution, context, pass, refusals);
}

}  // namespace cuda

std::unique_ptr<Kernel> CudaDevice::make_kernel(const Operation& operation, std::vector<Refusal>* refusals) {
  return std::visit(
      [&]<class Op>(const Op& o) -> std::unique_ptr<Kernel> {
        if constexpr (requires { o.places(); }) {
          activate("preparing a convolution");
          return cuda::prepare(convolutions(), o, refusals);
        } else {
          return std::make_unique<DirectKernel<Op, cuda::Stream>>(stream_, o);
        }
      },
      operation);
}

cuda::ConvolutionContext& CudaDevice::convolutions() {
  if (!convolutions_) {
    convolutions_ = std::make_unique<cuda::ConvolutionContext>(stream_);
  }
  return *convolutions_;
}

}  // namespace densetree

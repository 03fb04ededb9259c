// Convolutions on CUDA: which kind serves a shape, the handles, and checks of operands.
#include "kernels/core/error.h"
#include "kernels/cuda/check.h"
#include "kernels/cuda/convolutions.h"
#include "kernels/cuda/cuda_operations.h"

namespace densetree {
namespace cuda {

cudnnHandle_t ConvolutionContext::cudnn() {
  if (!cudnn_) {
    activate();
    const std::string what = fmt::format("starting cuDNN on cuda:{}", stream_.device);
    cudnnHandle_t handle = nullptr;
    check_cudnn(cudnnCreate(&handle), what);
    cudnn_.reset(handle);
    check_cudnn(cudnnSetStream(handle, stream_.handle), what);
  }
  return cudnn_.get();
}

cublasLtHandle_t ConvolutionContext::cublas() {
  if (!cublas_) {
    activate();
    cublasLtHandle_t handle = nullptr;
    check_cublas(cublasLtCreate(&handle), fmt::format("starting cuBLASLt on cuda:{}", stream_.device));
    cublas_.reset(handle);
  }
  return cublas_.get();
}

std::size_t ConvolutionContext::gemm_workspace() const {
  int major = 0;
  check_cuda(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, stream_.device), "make_convolution",
             stream_.device);
  return gemm_workspace_bytes(major);
}

void ConvolutionContext::activate() const {
  check_cuda(cudaSetDevice(stream_.device), "convolution", stream_.device);
}

CheckedConvolution::CheckedConvolution(std::shared_ptr<ConvolutionContext> context, const ConvolutionShape& shape,
                                       std::size_t packed_weights)
    : context_(std::move(context)), shape_(shape), packed_bytes_((packed_weights + 255) / 256 * 256) {}

void CheckedConvolution::forward(const View& x, const float* w, const View& y, void* workspace) {
  check_operands(x, w, y, workspace);
  context_->activate();
  run_forward(x.data, w, y.data, workspace);
}

void CheckedConvolution::backward_data(const View& dy, const float* w, const View& dx, void* workspace) {
  check_backward(dx, w, dy, workspace);
  context_->activate();
  run_backward_data(dy.data, w, dx.data, workspace);
}

void CheckedConvolution::backward_weights(const View& x, const View& dy, float* dw, void* workspace) {
  check_backward(x, dw, dy, workspace);
  context_->activate();
  run_backward_weights(x.data, dy.data, dw, workspace);
}

void CheckedConvolution::check_backward(const View& x, const float* w, const View& y, const void* workspace) const {
  check(shape_.training, "{}: prepared for inference, backward is not there", shape_);
  check_operands(x, w, y, workspace);
}

void CheckedConvolution::check_operands(const View& x, const float* w, const View& y, const void* workspace) const {
  const DType type = type_of(shape_);
  const auto is_aligned = [](const void* memory, std::uintptr_t bytes) {
    return reinterpret_cast<std::uintptr_t>(memory) % bytes == 0;
  };
  const auto fits = [&](const View& view, const Shape& shape, Layout layout) {
    return view.shape() == shape && view.layout == layout && view.whole && view.dtype == type &&
           is_aligned(view.data, 16);
  };
  const Layout input = shape_.input_use == Use::kInput ? Layout::kBlocked8 : Layout::kInterleaved;
  const auto text = [](const View& view) {
    return fmt::format("({}, {}, {}, {}) {} {}{} at {}", view.n, view.c, view.h, view.w, name_of(view.dtype),
                       name_of(view.layout), view.whole ? "" : ", a slice", view.data);
  };
  check(fits(x, shape_.input, input) && fits(y, shape_.output(), Layout::kInterleaved),
        "{} on cuda:{}: takes whole {} tensors on 16-byte boundaries, {} and interleaved; got {} and {}", shape_,
        context_->stream().device, name_of(type), name_of(input), text(x), text(y));
  check(is_aligned(w, 16) && is_aligned(workspace, 256),
        "{} on cuda:{}: weights begin on a 16-byte and the workspace on a 256-byte boundary; got {} and {}", shape_,
        context_->stream().device, static_cast<const void*>(w), workspace);
}

}  // namespace cuda

std::unique_ptr<Convolution> CudaDevice::make_convolution(const ConvolutionShape& shape) {
  shape.validate();
  const std::string refused = why_not(shape.precision);
  check(refused.empty(), "{} in {}: {}", shape, name_of(shape.precision), refused);
  activate("make_convolution");
  return cuda::is_product(shape) ? cuda::make_product_convolution(convolutions(), shape)
                                 : cuda::make_spatial_convolution(convolutions(), shape);
}

std::unique_ptr<NormConvolution> CudaDevice::make_norm_convolution(const ConvolutionShape& shape, ChannelSlice x,
                                                                   ChannelSlice y, std::string* why_not) {
  shape.validate();
  const std::string refused = this->why_not(shape.precision);
  check(refused.empty(), "{} in {}: {}", shape, name_of(shape.precision), refused);
  activate("make_norm_convolution");
  return cuda::make_fused_norm_convolution(*this, convolutions(), shape, x, y, why_not);
}

const std::shared_ptr<cuda::ConvolutionContext>& CudaDevice::convolutions() {
  if (!convolutions_) {
    convolutions_ = std::make_shared<cuda::ConvolutionContext>(stream_);
  }
  return convolutions_;
}

}  // namespace densetree

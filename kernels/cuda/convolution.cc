// Convolutions on CUDA: the handles, and checks of operands.
#include "kernels/core/error.h"
#include "kernels/cuda/check.h"
#include "kernels/cuda/convolutions.h"
#include "kernels/cuda/network_input.h"

namespace densetree::cuda {

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
  check_cuda(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, stream_.device),
             "preparing a convolution", stream_.device);
  return gemm_workspace_bytes(major);
}

void ConvolutionContext::activate() const {
  check_cuda(cudaSetDevice(stream_.device), "convolution", stream_.device);
}

void PassKernel::run(const Operation& operation, void* workspace) {
  const auto run_with = [&](const Tensor& x, const Array<float>& w, const Tensor& y) {
    check_operands(x, w.data, y, workspace);
    context_.activate();
    run_pass(x.data, w.data, y.data, workspace);
  };
  switch (pass()) {
    case Pass::kForward: {
      const auto& o = std::get<op::Convolution>(operation);
      return run_with(o.x, o.w, o.y);
    }
    case Pass::kBackwardData: {
      const auto& o = std::get<op::ConvolutionDataGradient>(operation);
      return run_with(o.dx, o.w, o.dy);
    }
    case Pass::kBackwardWeights: {
      const auto& o = std::get<op::ConvolutionWeightGradient>(operation);
      return run_with(o.x, o.dw, o.dy);
    }
  }
}

void PassKernel::check_operands(const View& x, const float* w, const View& y, const void* workspace) const {
  const DType type = type_of(shape());
  const auto is_aligned = [](const void* memory, std::uintptr_t bytes) {
    return reinterpret_cast<std::uintptr_t>(memory) % bytes == 0;
  };
  const auto fits = [&](const View& view, const Shape& shape, Layout layout) {
    return view.shape() == shape && view.layout == layout && view.whole && view.dtype == type &&
           is_aligned(view.data, 16);
  };
  const Layout input = shape().input_use == Use::kInput ? kInputLayout : Layout::kInterleaved;
  const auto text = [](const View& view) {
    return fmt::format("({}, {}, {}, {}) {} {}{} at {}", view.n, view.c, view.h, view.w, name_of(view.dtype),
                       name_of(view.layout), view.whole ? "" : ", a slice", view.data);
  };
  check(fits(x, shape().input, input) && fits(y, shape().output(), Layout::kInterleaved),
        "{} on cuda:{}: takes whole {} tensors on 16-byte boundaries, {} and interleaved; got {} and {}", shape(),
        context_.stream().device, name_of(type), name_of(input), text(x), text(y));
  check(is_aligned(w, 16) && is_aligned(workspace, 256),
        "{} on cuda:{}: weights begin on a 16-byte and the workspace on a 256-byte boundary; got {} and {}", shape(),
        context_.stream().device, static_cast<const void*>(w), workspace);
}

}  // namespace densetree::cuda

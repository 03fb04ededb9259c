// Convolutions on CUDA: the handles, and what every pass does first.
#include "kernels/core/error.h"
#include "kernels/cuda/check.h"
#include "kernels/cuda/convolutions.h"

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
  const op::Places places = std::visit(
      [&](const auto& o) -> op::Places {
        if constexpr (std::is_constructible_v<ConvolutionPass, decltype(o)>) {
          if (ConvolutionPass(o).pass == pass()) {
            return o.places();
          }
        }
        fail("{}: prepared for its {} pass, and asked for a {}", shape(), name_of(pass()), o.kName);
      },
      operation);
  const auto is_aligned = [](const void* memory, std::uintptr_t boundary) {
    return reinterpret_cast<std::uintptr_t>(memory) % boundary == 0;
  };
  const void *x = places.x.data, *w = places.w.data, *y = places.y.data, *scratch = workspace;
  check(is_aligned(x, 16) && is_aligned(w, 16) && is_aligned(y, 16) && is_aligned(scratch, 256),
        "{} on cuda:{}: tensors and weights begin on a 16-byte boundary and the workspace on a 256-byte one; got {}, "
        "{}, {} and {}",
        shape(), context_.stream().device, x, w, y, scratch);
  context_.activate();
  run_pass(places.x.data, places.w.data, places.y.data, workspace);
}

}  // namespace densetree::cuda

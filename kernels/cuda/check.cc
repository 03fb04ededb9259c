#include "kernels/cuda/check.h"

#include "kernels/core/error.h"

namespace densetree::cuda {

void check_cuda(cudaError_t status, std::string_view operation, int device) {
  check(status == cudaSuccess, "{} on cuda:{}: CUDA says {} ({})", operation, device, cudaGetErrorString(status),
        cudaGetErrorName(status));
}

void require(bool ok, std::string_view operation, const char* rule, std::initializer_list<View> views) {
  if (ok) {
    return;
  }
  std::string got;
  for (const View& v : views) {
    got += fmt::format("{}{} {} {}", got.empty() ? "; got " : ", ", v.shape(), name_of(v.dtype), name_of(v.layout));
  }
  fail("{}: {}{}", operation, rule, got);
}

}  // namespace densetree::cuda

#include "kernels/cuda/check.h"

#include "kernels/core/error.h"

namespace densetree::cuda {

void check_cuda(cudaError_t status, const char* operation, int device) {
  check(status == cudaSuccess, "{} on cuda:{}: CUDA says {} ({})", operation, device, cudaGetErrorString(status),
        cudaGetErrorName(status));
}

void require(bool ok, const char* operation, const char* rule, std::initializer_list<View> views) {
  if (ok) {
    return;
  }
  std::string got;
  for (const View& v : views) {
    got += fmt::format("{}({}, {}, {}, {}) {} {}", got.empty() ? "; got " : ", ", v.n, v.c, v.h, v.w, name_of(v.dtype),
                       name_of(v.layout));
  }
  fail("{}: {}{}", operation, rule, got);
}

void require_same_shape(const char* operation, std::initializer_list<View> views) {
  bool same = true;
  for (const View& view : views) {
    same = same && view.shape() == views.begin()->shape();
  }
  require(same, operation, "shapes must agree", views);
}

}  // namespace densetree::cuda

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
    got += fmt::format("{}({}, {}, {}, {}) {} {}", got.empty() ? "; got " : ", ", v.n, v.c, v.h, v.w, name_of(v.dtype),
                       name_of(v.layout));
  }
  fail("{}: {}{}", operation, rule, got);
}

void require_same_shape(std::string_view operation, std::initializer_list<View> views) {
  bool same = true;
  for (const View& view : views) {
    same = same && view.shape() == views.begin()->shape();
  }
  require(same, operation, "shapes must agree", views);
}

void require_matrices(std::string_view operation, std::initializer_list<View> views) {
  for (const View& v : views) {
    require(v.data && v.n > 0 && v.c > 0 && v.pixels() == 1 && v.layout == Layout::kPlanar && v.whole &&
                v.dtype == DType::kFloat32,
            operation, "this must be a whole tensor (N, C, 1, 1) in planar fp32, and not empty", {v});
  }
}

}  // namespace densetree::cuda
